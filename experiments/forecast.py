"""How long work will take, what it occupies and what it leaves on the disk; and whether a budget allows it."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edm.cost import num_parameters
from experiments.calibration import Probe
from experiments.errors import UserError
from experiments.planning import SEGMENT_IMAGES, Evaluation, Kind, Piece, Plan, Training
from experiments.sharing import Sharing, this_machine
from experiments.speeds import Speeds
from experiments.store import Store

START_UP_S = 25.0  # Ray, its workers and their imports
MACHINES = (1, 2, 4, 8, 16)  # that a plan is told of
HOUR_S = 3600.0
GIB = 2**30
UNIT_S = {"m": 60.0, "h": HOUR_S, "d": 24 * HOUR_S}

FLOAT_BYTES, DOUBLE_BYTES = 4, 8
CHECKPOINTS = 3  # the last two, and one that is being written
AVERAGES = 2  # of the power-function kind, in every snapshot
DISK_SPREAD = 1.2  # journals, pictures, buffers and headers are not counted


class Span(NamedTuple):
    """The least and the most that something may well be."""

    low: float
    high: float

    @classmethod
    def around(cls, middle: float, factor: float) -> Span:
        """Off by a factor either way."""
        return cls(middle / factor, middle * factor)


@dataclass(frozen=True)
class Forecast:
    """What is left of a plan takes, each with a range.

    wall_s: seconds of wall clock. work_s: of all trials. gpu_hours: hours of devices, or of trials where they have
    none. disk_gib: in the store, at its fullest. measured: whether any of it rests on measurements.
    """

    wall_s: float
    work_s: float
    gpu_hours: float
    disk_gib: float
    wall_span_s: Span
    work_span_s: Span
    gpu_hours_span: Span
    disk_span_gib: Span
    measured: bool
    on_gpus: bool


NOTHING = Span(0.0, 0.0)


def forecast(
    plan: Plan,
    pieces: Iterable[Piece | Probe],
    store: Store,
    speeds: Speeds | None = None,
    slots: int | None = None,
    machines: int | None = None,
) -> Forecast:
    """What `pieces` take on this machine, or on `machines` GPUs like its own, or machines where it has none.

    The wall clock is the larger of all work shared out and of the longest chain, and starting up. slots: trials side by
    side, by default as the plan's resources have it.
    """
    left = list(pieces)
    if not left:
        return Forecast(0.0, 0.0, 0.0, 0.0, *(NOTHING, NOTHING, NOTHING, NOTHING), measured=True, on_gpus=False)
    speeds = speeds or Speeds(store, plan)
    yard = _Yard(plan, store, slots, machines)
    spans = {p.signature: speeds.range(p) for p in left}
    middle = yard.taking(left, {p.signature: speeds.seconds(p) for p in left})
    low = yard.taking(left, {name: low for name, (low, _) in spans.items()})
    high = yard.taking(left, {name: high for name, (_, high) in spans.items()})
    disk = disk_gib(left, yard.at_once("training"))
    return Forecast(
        middle.wall_s,
        middle.work_s,
        middle.gpu_hours,
        disk,
        Span(low.wall_s, high.wall_s),
        Span(low.work_s, high.work_s),
        Span(low.gpu_hours, high.gpu_hours),
        Span.around(disk, DISK_SPREAD),
        measured=any(speeds.measured(p) for p in left if not isinstance(p, Probe)),
        on_gpus=yard.on_gpus,
    )


def forecasts(plan: Plan, pieces: Iterable[Piece | Probe], store: Store) -> dict[int | None, Forecast]:
    """The same here, under None, and on several numbers of GPUs or machines."""
    left, speeds = list(pieces), Speeds(store, plan)
    return {machines: forecast(plan, left, store, speeds, machines=machines) for machines in (None, *MACHINES)}


class _Taken(NamedTuple):
    wall_s: float
    work_s: float
    gpu_hours: float


class _Yard:
    """Where work is done: how much of it goes on side by side."""

    def __init__(self, plan: Plan, store: Store, slots: int | None, machines: int | None) -> None:
        resources = plan.sweep.resources
        here = this_machine(resources)
        self.on_gpus = here["GPU"] > 0
        self.copies = 1 if machines is None or self.on_gpus else machines
        gpus = here["GPU"] if machines is None or not self.on_gpus else float(machines)
        cores = here["CPU"] * (gpus / here["GPU"] if gpus else 1)  # as many for each GPU as here
        # what a plan asks for may be another machine's: it is to be told of all the same
        asked = resources.gpus if isinstance(resources.gpus, float | int) else 0.0
        total = {"CPU": max(cores, resources.cpus or 1.0), "GPU": max(gpus, asked)}
        self.sharing = Sharing(plan, resources, total, store)
        self.slots = slots
        self._slots: dict[Kind, int] = {
            "training": self.copies * self.sharing.slots("training"),
            "evaluation": self.copies * self.sharing.slots("evaluation"),
        }

    def at_once(self, kind: Kind) -> int:
        """Trials of a kind side by side."""
        return self.slots or self._slots[kind]

    def taking(self, left: Sequence[Piece | Probe], seconds: dict[str, float]) -> _Taken:
        """Seconds of wall clock and of work, and hours of devices."""
        work, occupied, shared = sum(seconds.values()), 0.0, 0.0
        for piece in left:
            share = self.sharing.of(piece)
            occupied += seconds[piece.signature] * (share.gpus or 1.0)
            at_once = self.slots or self.copies * self.sharing.at_once(share)
            shared += seconds[piece.signature] / at_once
        wall_s = max(shared, self._longest_chain(left, seconds)) + START_UP_S
        return _Taken(wall_s, work, occupied / HOUR_S)

    def _longest_chain(self, left: Sequence[Piece | Probe], seconds: dict[str, float]) -> float:
        """A training and its longest evaluation, which idle workers share in parts, unless it may stop early."""
        longest = max((seconds[p.signature] for p in left if not isinstance(p, Evaluation)), default=0.0)
        workers = self.at_once("evaluation")
        for piece in left:
            if isinstance(piece, Evaluation):
                before = max(seconds.get(training.signature, 0.0) for training in piece.stands_on)
                parts = 1 if piece.rivals else min(piece.num_segments, workers)
                longest = max(longest, before + seconds[piece.signature] / parts)
        return longest


# disk ---------------------------------------------------------------------------------------------


def disk_gib(pieces: Sequence[Piece | Probe], at_once: int) -> float:
    """What pieces need in the store at its fullest, with so many trainings side by side."""
    drawings: dict[str, Evaluation] = {}
    for piece in pieces:
        if isinstance(piece, Evaluation):
            known = drawings.setdefault(piece.drawing, piece)
            if piece.config.images > known.config.images:
                drawings[piece.drawing] = piece
    kept = sum(_kept_bytes(piece) for piece in pieces) + sum(map(_drawing_bytes, drawings.values()))
    passing = heapq.nlargest(at_once, (_passing_bytes(piece) for piece in pieces))
    return (kept + sum(passing)) / GIB


def disk_bytes(piece: Piece | Probe) -> int:
    """What one piece of work needs in the store while it is done."""
    drawn = _drawing_bytes(piece) if isinstance(piece, Evaluation) else 0
    return drawn + _kept_bytes(piece) + _passing_bytes(piece)


def _kept_bytes(piece: Piece | Probe) -> int:
    """What stays when a piece is done, but for the images' features, which others use as well."""
    if isinstance(piece, Training):
        weights, config = FLOAT_BYTES * num_parameters(piece.network), piece.config
        states = 0 if config.keep == "last" else _kept_states(piece)
        snapshots = config.power_ema_snapshots * AVERAGES if config.power_ema else 0
        return weights * (1 + snapshots) + states * _state_bytes(piece)
    if isinstance(piece, Evaluation):
        dimension, errors = piece.features.dimension, sum("/" in score for score in piece.scores)
        return DOUBLE_BYTES * (dimension * (dimension + 1) + errors * piece.config.images)
    return 0


def _kept_states(training: Training) -> int:
    keep, config = training.config.keep, training.config
    if isinstance(keep, tuple):
        return len(keep)
    if keep == "best":
        return 2  # the best so far, and the next one before they are compared
    return round(config.kimg / config.checkpoint_kimg) if config.checkpoint_kimg else 1


def _state_bytes(training: Training) -> int:
    """Weights, their average, the optimizer's two moments, and averages of the power-function kind."""
    averages = len(training.config.power_ema)
    return FLOAT_BYTES * (4 + averages) * num_parameters(training.network)


def _passing_bytes(piece: Piece | Probe) -> int:
    """What is there only while a piece is done."""
    return CHECKPOINTS * _state_bytes(piece) if isinstance(piece, Training) else 0


def _drawing_bytes(evaluation: Evaluation) -> int:
    """Features of all images in every space, and the first images themselves."""
    data, images = evaluation.training.data, evaluation.config.images
    pixels = data.channels * (evaluation.sampling.resolution or data.resolution) ** 2
    spaces = evaluation.spaces or ((evaluation.features, images),)
    features = sum(count * space.dimension * FLOAT_BYTES for space, count in spaces)
    return features + min(images, SEGMENT_IMAGES) * pixels


# budgets ------------------------------------------------------------------------------------------


def parse_hours(text: str) -> float:
    """A budget such as 40h, 90m, 2d or 1.5h, in seconds; raises UserError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([mhd]?)\s*", text.lower())
    if match is None or float(match[1]) == 0:
        raise UserError(f"--budget {text}: is not a length of time above 0; give for example 40h, 90m or 2d")
    if not match[2]:
        raise UserError(f"--budget {text}: of which unit? give {text.strip()}h for hours, or use m or d")
    return float(match[1]) * UNIT_S[match[2]]


@dataclass(frozen=True)
class Budget:
    """How many seconds of devices (of trials, where they have none) a run may take."""

    limit_s: float

    def refusal(self, spent_s: float) -> str | None:
        """Why nothing more is started, where this much would be spent; None where the budget allows it."""
        if spent_s <= self.limit_s:
            return None
        return (
            f"--budget {hours(self.limit_s)}: the next piece of work would bring it to about {hours(spent_s)}; "
            "what runs goes on to its end and nothing more is started, raise --budget to do the rest"
        )

    def require(self, estimate: Forecast) -> None:
        """Raise UserError where what is left takes more, as far as that has been measured."""
        if estimate.measured and estimate.gpu_hours * HOUR_S > self.limit_s:
            what = "GPU-hours" if estimate.on_gpus else "hours of trials"
            low, high = estimate.gpu_hours_span
            raise UserError(
                f"--budget {hours(self.limit_s)}: what is left takes about {estimate.gpu_hours:,.3g} {what} "
                f"({low:,.3g} to {high:,.3g}); raise --budget, or ask for less with --set"
            )


def hours(seconds: float) -> str:
    """Seconds as a budget is given: 40h, 90m."""
    return f"{seconds / HOUR_S:,.3g}h" if seconds >= HOUR_S else f"{seconds / 60:,.2g}m"
