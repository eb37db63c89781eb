"""The numbers of a task's progress in words, as every view shows them."""

from __future__ import annotations

from experiments.store.progress import TaskProgress
from experiments.wording import duration


def share_text(progress: TaskProgress) -> str:
    """Return how much of a task is done in percent, or what it does that is not counted."""
    return progress.phase or f"{progress.share:.0%} of {progress.total:,.6g} {progress.unit}"


def done_text(progress: TaskProgress) -> str:
    """Return how much of a task is done in its unit."""
    return f"{progress.done:,.6g}/{progress.total:,.6g} {progress.unit}"


def loss_text(progress: TaskProgress) -> str:
    """Return the loss; "" where it is not known, or not a number."""
    loss = progress.loss
    return f"{loss:.4f}" if loss is not None and loss == loss else ""


def speed_text(progress: TaskProgress) -> str:
    """Return the images per second; "" while that is not known."""
    rate = progress.rate * (1000 if progress.unit == "kimg" else 1)
    return f"{rate:,.0f}" if rate else ""


def left_text(progress: TaskProgress) -> str:
    """Return the time that is left; "" while that is not known."""
    return duration(progress.left_s) if progress.left_s is not None else ""
