"""The numbers of a task's progress in words, as every view shows them."""

from __future__ import annotations

from experiments.store.progress import TaskProgress
from experiments.wording import duration

IMAGES_IN = {"images": 1, "kimg": 1000}  # units of progress that are images


def share_text(progress: TaskProgress) -> str:
    """Return how much of a task is done in percent, or what it does that is not counted."""
    counted = f"{progress.share:.0%} of {progress.total:,.6g} {progress.unit}".strip() if progress.total else ""
    return ", ".join(filter(None, [progress.phase, counted]))


def done_text(progress: TaskProgress) -> str:
    """Return how much of a task is done in its unit."""
    return f"{progress.done:,.6g}/{progress.total:,.6g} {progress.unit}"


def loss_text(progress: TaskProgress) -> str:
    """Return the loss; "" where it is not known, or not a number."""
    loss = progress.loss
    return f"{loss:.4f}" if loss is not None and loss == loss else ""


def speed_text(progress: TaskProgress) -> str:
    """Return the images per second, or what else is counted, with its unit; "" while that is not known."""
    if not progress.rate:
        return ""
    if progress.unit not in IMAGES_IN:
        return f"{progress.rate:,.3g} {progress.unit}/s" if progress.unit else ""
    return f"{progress.rate * IMAGES_IN[progress.unit]:,.0f}"


def speed_words(progress: TaskProgress) -> str:
    """Return the speed with its unit; "" while that is not known."""
    speed = speed_text(progress)
    unit = "image/s" if speed == "1" else "images/s"
    return f"{speed} {unit}" if speed and progress.unit in IMAGES_IN else speed


def left_text(progress: TaskProgress) -> str:
    """Return the time that is left; "" while that is not known."""
    return duration(progress.left_s) if progress.left_s is not None else ""
