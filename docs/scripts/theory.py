"""Make the figures of docs/theory.md, as SVG and PNG: `uv run python docs/scripts/theory.py [STORE] [--check]`.

Networks come from trainings of the repository's sweeps in STORE (`runs` by default), which are done now if they are
missing: half a minute for the digits, three minutes for FashionMNIST. FashionMNIST is left as it is where Debian's package
dataset-fashion-mnist is not installed. With --check nothing is written: the data of all figures but that of FashionMNIST are
computed again and compared with docs/images/theory/data.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from matplotlib.figure import Figure
from theory_figures import curves, drawings_curves, drawings_pictures, drawings_plane, networks, pictures, plane, record
from theory_figures.plane import Arrays
from theory_figures.style import Theme, save

from experiments.store.store import Store

FOLDER = Path(__file__).parents[1] / "images" / "theory"


@dataclass(frozen=True)
class Shown:
    """A figure: its name, its data and how they are drawn.

    recorded: the data that are compared with the record; None for all, and few for trained networks, since another CPU
    rounds differently and then trains another network. tolerance: relative, and absolute for numbers near 0.
    """

    name: str
    data: Arrays
    draw: Callable[[Arrays, Theme], Figure]
    recorded: tuple[str, ...] | None = None
    tolerance: float = 1e-4


def figures(store: Store) -> Iterator[Shown]:
    """Compute the data of every figure."""
    yield Shown("field", plane.field(), drawings_plane.field)
    yield Shown("solvers", curves.solvers(), drawings_curves.solvers)
    yield Shown("slope", curves.slope(), drawings_curves.slope)
    yield Shown("schedules", curves.schedules(), drawings_curves.schedules)
    yield Shown("guidance", plane.guidance(), drawings_plane.guidance)
    yield from _of_digits(networks.digits(store))


def figures_of_fashion(store: Store) -> Iterator[Shown]:
    """Compute the data of the figure of FashionMNIST, if that is installed; of all figures, only this one takes minutes."""
    fashion = networks.fashion(store)
    if fashion is not None:
        yield Shown("denoising_fashion", pictures.denoising(fashion), drawings_pictures.denoising, ("sigma",))


def _of_digits(digits: networks.Trained) -> Iterator[Shown]:
    images, _ = digits.data.split("train")
    sigma_data = digits.data.sigma_data
    yield Shown("preconditioning", curves.preconditioning(images, sigma_data), drawings_curves.preconditioning)
    yield Shown("targets", curves.targets(images, sigma_data), drawings_pictures.targets)
    noise = curves.training_noise(*pictures.losses(digits), digits.training.config)
    yield Shown("training_noise", noise, drawings_curves.training_noise, tolerance=0.15)
    slope = pictures.slope_of_digits(digits)
    yield Shown("slope_digits", slope, drawings_pictures.slope_digits, ("sigma",))
    yield Shown("denoising_digits", pictures.denoising(digits), drawings_pictures.denoising, ("sigma",))
    yield Shown("neighbours", pictures.neighbours(digits), drawings_pictures.neighbours, ())


def main() -> None:
    """Write the figures and their record, or compare with the record."""
    parser = argparse.ArgumentParser(description="Make the figures of docs/theory.md.")
    parser.add_argument("store", type=Path, nargs="?", default=Path("runs"), help="the store with the trainings")
    parser.add_argument("--check", action="store_true", help="only compare the data with their record")
    options = parser.parse_args()
    store = Store(options.store)
    made = [*figures(store), *(figures_of_fashion(store) if not options.check else ())]
    records = {each.name: record.record_of(each.data, each.recorded, each.tolerance) for each in made}
    if options.check:
        problems = record.differences(records, record.read(FOLDER))
        sys.exit("\n".join(problems) or None)
    FOLDER.mkdir(parents=True, exist_ok=True)
    record.write(records, FOLDER)
    for each in made:
        save(partial(each.draw, each.data), each.name, FOLDER)


if __name__ == "__main__":
    main()
