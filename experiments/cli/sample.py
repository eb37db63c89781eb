"""The command sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edm.config import Sampler
from edm.schedules import ScheduleName
from experiments.cli.options import AsJson, CellArgument, Device, DeviceName, StoreFolder
from experiments.cli.output import console_for, print_json, say, waiting
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console


NumImages = Annotated[int, typer.Option(help="The number of images; with --per-class, of each class.", min=1)]
Label = Annotated[
    str | None,
    typer.Option(
        help="The class to draw: its number, or its name, such as that of its folder. Where a name is the number of "
        "another class: number=3 or name=3. All classes in turn by default."
    ),
]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; 1 turns guidance off.")]
GuidanceInterval = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="Guide only the steps that start above LOW and at most at HIGH."),
]
SamplerName = Annotated[Sampler | None, typer.Option(help="Sampler.")]
NoiseSchedule = Annotated[ScheduleName | None, typer.Option(help="Noise schedule.")]
Steps = Annotated[int | None, typer.Option(help="Number of sampling steps.")]
Churn = Annotated[float | None, typer.Option(help="How much noise the stochastic samplers add.")]
Seed = Annotated[int | None, typer.Option(help="Noise seed.")]
Ema = Annotated[float | None, typer.Option(help="Use the power-function weight average of this relative width.")]
Resolution = Annotated[int | None, typer.Option(help="Pixels per side. By default as in training.")]
OutFile = Annotated[Path | None, typer.Option(help="The file to write. By default grid.png, and with --gif grid.gif.")]
Trajectory = Annotated[
    bool, typer.Option("--trajectory", help="Draw the denoising step by step: noisy states and denoised images.")
]
Gif = Annotated[bool, typer.Option("--gif", help="With --trajectory: write an animation.")]
PerClass = Annotated[bool, typer.Option("--per-class", help="Write one picture for each class.")]


def sample(
    cell: CellArgument,
    images: NumImages = 64,
    label: Label = None,
    guidance: Guidance = None,
    guidance_interval: GuidanceInterval = None,
    sampler: SamplerName = None,
    schedule: NoiseSchedule = None,
    steps: Steps = None,
    s_churn: Churn = None,
    seed: Seed = None,
    ema: Ema = None,
    resolution: Resolution = None,
    out: OutFile = None,
    trajectory: Trajectory = False,
    gif: Gif = False,
    per_class: PerClass = False,
    store: StoreFolder = DEFAULT_STORE,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw pictures from a finished training: a grid, a grid for each class, or the denoising step by step.

    Defaults come from the cell, whose evaluation need not have begun.
    """
    given = {"guidance": guidance, "guidance_interval": guidance_interval, "sampler": sampler, "schedule": schedule}
    given |= {"steps": steps, "s_churn": s_churn, "seed": seed, "ema": ema, "resolution": resolution}
    changes = {name: value for name, value in given.items() if value is not None}
    console = console_for(as_json)
    path = out or Path("grid.gif" if gif else "grid.png")
    drawn, paths = _draw(cell, changes, (images, label, per_class, trajectory, path, gif), store, device, console)
    if as_json:
        print_json({"drawn": drawn, "pictures": [str(path) for path in paths]})
    say(console, f"Drew {drawn}")
    for path in paths:
        say(console, f"Wrote {path}")


def _draw(
    cell: str,
    changes: dict[str, Any],
    wanted: tuple[int, str | None, bool, bool, Path, bool],
    store: Path,
    device: DeviceName | None,
    console: Console,
) -> tuple[str, list[Path]]:
    """Draw pictures; returns in words what was drawn, and the files."""
    from edm.config import FieldError
    from experiments.cli.views.progress import progress
    from experiments.inspection.explain import find
    from experiments.store.store import Store
    from experiments.sweep.tasks import own_training
    from experiments.trials.data_records import class_names, class_number, numbered_class

    place = Store(store)
    task = find(cell, place)
    images, label, per_class, trajectory, path, gif = wanted
    source = own_training(task).data
    number = None if label is None else class_number(label, source, place)
    with waiting(console, "loading torch"):
        from experiments.trials.extensions import require_loaded
        from experiments.trials.pictures import Request, choose_device, describe, draw_pictures, sampling_of
    require_loaded(task, place)
    try:
        sampling = sampling_of(task, changes)
    except FieldError as error:
        raise UserError(f"--{error.field.replace('_', '-')}: {error.problem}") from None
    names = class_names(source, place)
    chosen, request = (
        choose_device(device),
        Request(images, number, per_class, trajectory, path, gif, class_names=names),
    )
    with progress(console, "drawing", "images") as on_progress:
        paths = draw_pictures(task, sampling, request, place, chosen, on_progress)
    of_class = "" if number is None else f", class {numbered_class(number, names)}"
    return f"{describe(task, sampling)}{of_class}", paths
