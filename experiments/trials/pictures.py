"""Draws pictures from a finished training: a grid, a grid for each class, or denoising step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from edm.config import SamplingConfig
from edm.data.dataset import to_uint8
from edm.generate import draw, labels_of
from edm.pictures import Moment, save_animation, save_grid, save_trajectory
from edm.precondition import Denoiser
from experiments.errors import UserError
from experiments.store.files import replacing
from experiments.store.store import Store
from experiments.sweep.tasks import Evaluation, SweepTask, Training, own_training
from experiments.trials.assets import load_finished
from experiments.trials.data_records import file_part

BATCH = 64
TRAJECTORY_IMAGES, TRAJECTORY_COLUMNS = 6, 9
GIF_IMAGES, GIF_FRAMES = 10, 60


@dataclass(frozen=True)
class Request:
    """Says what to draw.

    images: number of images; with `per_class`, of each class, one page a class.
    label: the class to draw; None takes all classes in turn.
    gif: draw the trajectory as an animation.
    batch: images drawn at a time.
    class_names: of the network's classes by their numbers, for names of files; none where they are not known.
    """

    images: int
    label: int | None
    per_class: bool
    trajectory: bool
    out: Path
    gif: bool = False
    batch: int = BATCH
    class_names: tuple[str, ...] = ()


def choose_device(name: Literal["cpu", "cuda"] | None) -> torch.device:
    """Return a device by name; by default a GPU, if there is one. Raises UserError for "cuda" if torch sees no GPU."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise UserError("--device cuda: torch sees no GPU here; leave it out to draw on the CPU")
    return torch.device(name or ("cuda" if has_gpu else "cpu"))


def sampling_of(task: SweepTask, changes: dict[str, Any]) -> SamplingConfig:
    """Return how a cell samples (for a training, the defaults) with `changes`; raises FieldError if one is invalid."""
    sampling = task.sampling if isinstance(task, Evaluation) else SamplingConfig()
    return dataclasses.replace(sampling, **changes)


def draw_pictures(
    task: SweepTask,
    sampling: SamplingConfig,
    request: Request,
    store: Store,
    device: torch.device,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Draw the requested pictures, write them and return their paths; raises UserError if that is impossible."""
    training = own_training(task)
    _raise_if_impossible(training, sampling, request)
    model = load_finished(training, sampling.ema, store, device)
    guide = load_guide(task, sampling, store, device)
    _make_folder(request.out)  # where nothing can be drawn, none is left behind
    if request.trajectory:
        return [_draw_trajectory(model, guide, sampling, request)]
    pages = list(_pages(request, training.network.num_classes))
    done, total = 0, sum(len(labels) for labels, _ in pages)
    for labels, path in pages:
        images = []
        for part in torch.arange(len(labels), device=device).split(request.batch):
            images.append(to_uint8(draw(model, sampling, part, labels.to(device)[part], guide)).cpu())
            done += len(part)
            on_progress(done, total)
        _write_grid(torch.cat(images), path)
    return [path for _, path in pages]


def _make_folder(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: its folder cannot be made ({error.strerror}); choose another") from None


def describe(task: SweepTask, sampling: SamplingConfig) -> str:
    """Describe in a line what is drawn: the training, the sampler, the guidance and the average."""
    training = own_training(task)
    parts = [str(sampling.sampler), f"{sampling.steps} steps", f"guidance {sampling.guidance:g}"]
    if sampling.guide is not None and sampling.guidance != 1:
        parts.append(f"guided by {sampling.guide}")
    if sampling.ema is not None:
        parts.append(f"average of width {sampling.ema:g}")
    return f"training {training.signature} on {training.data.config.title}: {', '.join(parts)}"


def _require_suffix(out: Path, suffix: str) -> None:
    if out.suffix.lower() != suffix:
        what = "animations are GIF files" if suffix == ".gif" else "pictures are PNG files"
        raise UserError(f"--out {out}: {what}; name it {out.with_suffix(suffix).name}")


def _raise_if_impossible(training: Training, sampling: SamplingConfig, request: Request) -> None:
    _require_suffix(request.out, ".gif" if request.gif else ".png")
    if request.per_class and (request.label is not None or request.trajectory):
        raise UserError("--per-class: draws a grid of every class; leave --label and --trajectory out")
    if request.gif and not request.trajectory:
        raise UserError("--gif: animates the denoising; add --trajectory")
    classes, halvings = training.network.num_classes, training.network.halvings
    if request.label is not None and not 0 <= request.label < classes:
        labels = f"0 to {classes - 1}" if classes else "none: its data set has no classes"
        raise UserError(f"--label {request.label}: is not a class of this network; there are {labels}")
    if request.per_class and not classes:
        raise UserError("--per-class: the network's data set has no classes; leave it out")
    if sampling.ema is not None and not training.config.power_ema:
        raise UserError("--ema: this training kept no power-function averages; train with training.power_ema")
    if (sampling.resolution or 0) % 2**halvings:
        raise UserError(f"--resolution {sampling.resolution}: the network needs a multiple of {2**halvings}")
    if training.config.label_dropout == 0 and sampling.guidance != 1 and classes and sampling.guide is None:
        raise UserError("--guidance: this network never trained without labels (label_dropout 0); leave it at 1")
    if training.config.label_dropout == 1 and sampling.guidance != 0 and classes:
        raise UserError("--guidance: this network never trained with labels (label_dropout 1); give --guidance 0")


def load_guide(task: SweepTask, sampling: SamplingConfig, store: Store, device: torch.device) -> Denoiser | None:
    """Load the weaker network that guides a cell's, if its sampling has one."""
    if sampling.guide is None or sampling.guidance == 1:
        return None
    assert isinstance(task, Evaluation)  # the default sampling has no guide
    return load_finished(task.guide or task.training, sampling.guide.ema, store, device)


def _pages(request: Request, num_classes: int) -> Iterator[tuple[Int64[Tensor, " n"], Path]]:
    """Yield the labels of the images of each picture, and its path."""
    if request.per_class:
        for label in range(num_classes):
            part = file_part(label, request.class_names)
            file = f"{request.out.stem}-class-{part}{request.out.suffix}"
            yield torch.full((request.images,), label), request.out.with_name(file)
    elif request.label is not None:
        yield torch.full((request.images,), request.label), request.out
    else:
        yield labels_of(torch.arange(request.images), num_classes), request.out


def _write_grid(images: UInt8[Tensor, "n c h w"], path: Path) -> None:
    with replacing(path) as temporary:
        save_grid(images, temporary, columns=math.ceil(math.sqrt(len(images))))


def _draw_trajectory(model: Denoiser, guide: Denoiser | None, sampling: SamplingConfig, request: Request) -> Path:
    most, frames = (GIF_IMAGES, GIF_FRAMES) if request.gif else (TRAJECTORY_IMAGES, TRAJECTORY_COLUMNS)
    count = min(request.images, most)
    labels, path = next(_pages(dataclasses.replace(request, images=count, per_class=False), model.config.num_classes))
    moments, final = draw_moments(model, guide, sampling, labels, frames)
    write = save_animation if request.gif else save_trajectory
    with replacing(path) as temporary:
        write(moments, final, temporary)
    return path


def draw_moments(
    model: Denoiser, guide: Denoiser | None, sampling: SamplingConfig, labels: Int64[Tensor, " n"], most: int
) -> tuple[list[Moment], UInt8[Tensor, "n c h w"]]:
    """Draw the first images of the stream; return at most `most` steps, evenly spread, and the finished images."""
    shown = spread_steps(sampling.steps, most)
    moments: list[Moment] = []

    def on_step(step: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
        if step in shown:
            moments.append(Moment.of(sigma, x, denoised, model.sigma_data))

    device = next(model.parameters()).device
    final = draw(model, sampling, torch.arange(len(labels), device=device), labels.to(device), guide, on_step)
    return moments, to_uint8(final).cpu()


def spread_steps(steps: int, most: int) -> set[int]:
    """Return at most `most` of the numbers 0 to steps - 1, evenly spread, with the first and the last."""
    count = min(most, steps)
    return {round(i * (steps - 1) / max(count - 1, 1)) for i in range(count)}
