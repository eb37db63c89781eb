"""The command sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edm.config import Sampler
from edm.schedules import ScheduleName as NoiseSchedule
from experiments.cli.options import AsJson, CellArgument, StoreFolder
from experiments.cli.output import console_for, print_json, say, waiting
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

DeviceName = Literal["cpu", "cuda"]


def sample(
    cell: CellArgument,
    images: Annotated[int, typer.Option(help="The number of images; with --per-class, of each class.", min=1)] = 64,
    label: Annotated[int | None, typer.Option(help="The class to draw. All classes in turn by default.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 turns guidance off.")] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Guide only the steps that start above LOW and at most at HIGH."),
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="Sampler.")] = None,
    schedule: Annotated[NoiseSchedule | None, typer.Option(help="Noise schedule.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of sampling steps.")] = None,
    s_churn: Annotated[float | None, typer.Option(help="How much noise the stochastic samplers add.")] = None,
    seed: Annotated[int | None, typer.Option(help="Noise seed.")] = None,
    ema: Annotated[
        float | None, typer.Option(help="Use the power-function weight average of this relative width.")
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Pixels per side. By default as in training.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write. By default grid.png, and with --gif grid.gif.")
    ] = None,
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Draw the denoising step by step: noisy states and denoised images.")
    ] = False,
    gif: Annotated[bool, typer.Option("--gif", help="With --trajectory: write an animation.")] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="Write one picture for each class.")] = False,
    store: StoreFolder = DEFAULT_STORE,
    device: Annotated[DeviceName | None, typer.Option(help="A GPU by default, if there is one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw pictures from a finished training: a grid, a grid for each class, or the denoising step by step.

    Defaults come from the cell.
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
    wanted: tuple[int, int | None, bool, bool, Path, bool],
    store: Path,
    device: DeviceName | None,
    console: Console,
) -> tuple[str, list[Path]]:
    """Draw pictures; returns in words what was drawn, and the files."""
    from edm.config import FieldError
    from experiments.cli.views.progress import progress
    from experiments.inspection.lookup import find
    from experiments.store.store import Store

    place = Store(store)
    task = find(cell, place)
    with waiting(console, "loading torch"):
        from experiments.trials.extensions import require_loaded
        from experiments.trials.pictures import Request, choose_device, describe, draw_pictures, sampling_of
    require_loaded(task, place)
    try:
        sampling = sampling_of(task, changes)
    except FieldError as error:
        raise UserError(f"--{error.field.replace('_', '-')}: {error.problem}") from None
    chosen = choose_device(device)
    with progress(console, "drawing", "images") as on_progress:
        paths = draw_pictures(task, sampling, Request(*wanted), place, chosen, on_progress)
    return describe(task, sampling), paths
