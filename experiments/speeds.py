"""How long each piece of work takes by itself: from results, from probes, else from a guess that says it is one."""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edm.config import Features
from edm.cost import forward_flops
from experiments.calibration import CPU, Probe, device_of, probes_by_training
from experiments.planning import FORWARDS_PER_TRAINING_IMAGE, Evaluation, FeatureSpace, Kind, Piece, Plan, Training
from experiments.store import KIND_OF_PIECE, Store

GUESSED_FLOPS_PER_S = {"cpu": 4e10, "gpu": 2e13}  # of one core, of one GPU, with networks of a middling size
# of one image at the resolution that the extractor takes; of the small classifier next to nothing
EXTRACTOR_FLOPS: dict[Features, float] = {"inception": 1.1e10, "dinov2": 1.6e11, "classifier": 0.0}
SCORING_SHARE = 0.05  # of an evaluation, where no result tells
PROBE_S = 15.0
TEAM_EFFICIENCY = 0.85  # of several GPUs on one network

MOST_RESULTS, MOST_ALIKE, MOST_STRANGERS = 200, 8, 50  # that are read: of the plan, of one network in it, of others
REMEMBERED = 32  # pieces whose true length corrects the rest

# how far off the truth may be, as a factor either way
SPREAD_OF_RESULTS, SPREAD_OF_PROBES, SPREAD_OF_STRANGERS, SPREAD_OF_GUESSES = 1.1, 1.5, 2.0, 8.0
SPREAD_ONCE_CORRECTED = 1.5

Source = Literal["results", "probe", "strangers", "guess"]
Key = tuple[Any, ...]  # what pieces of one speed share


@dataclass(frozen=True)
class Rate:
    """Seconds per floating-point operation; off by a factor of `spread` at most, about."""

    seconds: float
    spread: float
    source: Source

    @classmethod
    def of(cls, rates: list[float], source: Source, least: float) -> Rate:
        """The middle of some rates."""
        logs = [math.log(rate) for rate in rates]
        deviation = statistics.stdev(logs) if len(logs) > 1 else 0.0
        return cls(statistics.median(rates), max(least, math.exp(2 * deviation)), source)


class Speeds:
    """What is known of how long pieces take. Constant time an answer, whatever the plan.

    Best first: results of the same network on the same kind of device, its probe, the median over other results of the
    same kind of work, a guess. Pieces that finish correct all of these (`learn`).
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store = store
        self.device = device_of(plan.sweep.resources)
        self.num_gpus = _whole_gpus(plan.sweep.resources.gpus)
        self._probes = probes_by_training(plan)
        self._own: defaultdict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_ALIKE))
        self._ratios: defaultdict[Kind, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._scoring: dict[Features | None, float] = {}
        self._by_probe: dict[str, dict[str, Any]] = {}
        self._cache: dict[Key, Rate] = {}
        self._probe_s: deque[float] = deque(maxlen=REMEMBERED)
        self._strangers: dict[Kind, Rate] = {}
        for probe in set(self._probes.values()):
            self._read_probe(probe)
        self._read_results(plan)
        self._drawings = set(_names(store, "drawings"))
        self._undrawn: dict[tuple[str, FeatureSpace, int], float] = {}

    # answers --------------------------------------------------------------------------------------

    def seconds(self, piece: Piece | Probe) -> float:
        """How long a piece takes by itself, on what it gets."""
        if isinstance(piece, Probe):
            return statistics.mean(self._probe_s) if self._probe_s else PROBE_S
        drawn = piece.flops * self._rate(piece).seconds
        return drawn if isinstance(piece, Training) else self._evaluation_s(piece, drawn)

    def range(self, piece: Piece | Probe) -> tuple[float, float]:
        """The least and the most it may well take."""
        spread = self._rate(piece).spread if not isinstance(piece, Probe) else SPREAD_OF_STRANGERS
        return self.seconds(piece) / spread, self.seconds(piece) * spread

    def measured(self, piece: Piece | Probe) -> bool:
        """Whether something was measured that tells, or all is a guess."""
        return isinstance(piece, Probe) or self._rate(piece).source != "guess"

    def learn(self, piece: Piece | Probe, seconds: float) -> None:
        """A piece has just finished, after so many seconds of work: later answers follow."""
        if isinstance(piece, Probe):
            self._probe_s.append(seconds)
            self._read_probe(piece)
        elif seconds > 0 and piece.flops > 0:
            self._learn(piece, seconds)
        self._cache.clear()

    def _learn(self, piece: Piece, seconds: float) -> None:
        drawing_s = seconds
        if isinstance(piece, Evaluation):
            fixed = self._scoring.get(piece.features.name, SCORING_SHARE * seconds)
            drawing_s = max(seconds - fixed, (1 - SCORING_SHARE) * seconds / 2)
        rate = drawing_s / piece.flops
        self._ratios[piece.kind].append(rate / self._base(piece).seconds)
        self._own[_key(piece)].append(rate)

    def _evaluation_s(self, piece: Evaluation, drawn: float) -> float:
        """What is left to draw, and the scoring, which does not grow with the images as that does."""
        fixed = self._scoring.get(piece.features.name, self._scoring.get(None))
        if fixed is None:
            fixed = SCORING_SHARE * drawn
        return drawn * self._share_undrawn(piece) + fixed

    def _share_undrawn(self, piece: Evaluation) -> float:
        """How much of a drawing is not there yet: to score images again takes little."""
        if piece.drawing not in self._drawings:
            return 1.0
        key = (piece.drawing, piece.features, piece.num_segments)
        if key not in self._undrawn:
            shelf = self.store.folder("drawings", piece.drawing) / piece.features.signature
            there = sum(1 for _ in shelf.glob("[!.]*.safetensors"))
            self._undrawn[key] = max(0.0, 1 - there / piece.num_segments)
        return self._undrawn[key]

    # rates ----------------------------------------------------------------------------------------

    def _rate(self, piece: Piece) -> Rate:
        key = _key(piece)
        rate = self._cache.get(key) or self._rate_of(piece, key)
        self._cache[key] = rate  # which another thread may clear at any time
        return rate

    def _rate_of(self, piece: Piece, key: Key) -> Rate:
        own = self._own.get(key)
        if own:
            return Rate.of(list(own), "results", SPREAD_OF_RESULTS)
        base, ratios = self._base(piece), self._ratios.get(piece.kind)
        if not ratios:
            return base
        source: Source = "strangers" if base.source == "guess" else base.source
        return Rate(base.seconds * statistics.median(ratios), min(base.spread, SPREAD_ONCE_CORRECTED), source)

    def _base(self, piece: Piece) -> Rate:
        """What is known of a piece before any like it has finished."""
        training = piece.training if isinstance(piece, Evaluation) else piece
        probe = self._by_probe.get(self._probes[training.signature].signature)
        if probe is not None:
            return self._from_probe(piece, probe)
        for kind in (piece.kind, *self._strangers):
            if kind in self._strangers:
                return self._strangers[kind]
        return Rate(1 / GUESSED_FLOPS_PER_S[CPU if self.device == CPU else "gpu"], SPREAD_OF_GUESSES, "guess")

    def _from_probe(self, piece: Piece, probe: dict[str, Any]) -> Rate:
        training = piece.training if isinstance(piece, Evaluation) else piece
        forward = 1000 * forward_flops(training.network)
        spread = max(SPREAD_OF_PROBES, probe["spread"])
        if isinstance(piece, Training):
            seconds = probe["kimg_s"] / (FORWARDS_PER_TRAINING_IMAGE * forward)
            team = TEAM_EFFICIENCY * self.num_gpus if self.num_gpus > 1 else 1.0
            return Rate(seconds / team, spread, "probe")
        of_drawing = probe["forward_s"] / forward
        extracting = sum(min(images, piece.config.images) * EXTRACTOR_FLOPS[s.name] for s, images in piece.spaces)
        guessed = extracting / GUESSED_FLOPS_PER_S[CPU if self.device == CPU else "gpu"]
        return Rate(of_drawing + guessed / max(piece.flops, 1.0), spread, "probe")

    # reading --------------------------------------------------------------------------------------

    def _read_probe(self, probe: Probe) -> None:
        result = self.store.result("probes", probe.signature)
        if result is not None and result["fits"] and result["device"] == self.device:
            self._by_probe[probe.signature] = result

    def _read_results(self, plan: Plan) -> None:
        pieces: dict[Kind, dict[str, Any]] = {"training": dict(plan.trainings), "evaluation": dict(plan.evaluations)}
        scoring: defaultdict[Features | None, list[float]] = defaultdict(list)
        for kind, own in pieces.items():
            rates = []
            for piece, result in self._results(kind, own):
                rate = result["seconds"] / result["flops"]
                rates.append(rate)
                if piece is not None:
                    self._own[_key(piece)].append(rate)
                if kind == "evaluation":
                    names = {None, piece.features.name} if isinstance(piece, Evaluation) else {None}
                    for name in names:
                        scoring[name].append(result.get("scoring_seconds", 0.0))
            if rates:
                self._strangers[kind] = Rate.of(rates, "strangers", SPREAD_OF_STRANGERS)
        self._scoring = {name: statistics.median(seconds) for name, seconds in scoring.items()}

    def _results(self, kind: Kind, own: dict[str, Piece]) -> Iterator[tuple[Piece | None, dict[str, Any]]]:
        """Some results of a kind on this kind of device, the plan's own first; those tell of a network, too."""
        there = _names(self.store, KIND_OF_PIECE[kind])
        for name in _sample(own, set(there)):
            result = self._usable(kind, name)
            if result is not None:
                yield own[name], result
        for name in _newest(self.store, kind, [name for name in there if name not in own]):
            result = self._usable(kind, name)
            if result is not None:
                yield None, result

    def _usable(self, kind: Kind, name: str) -> dict[str, Any] | None:
        result = self.store.result(KIND_OF_PIECE[kind], name)
        if result is None or result.get("device", self.device) != self.device:
            return None
        return result if result.get("seconds") and result.get("flops") else None


def _key(piece: Piece) -> Key:
    if isinstance(piece, Training):
        return piece.kind, piece.network, piece.config.batch_size, piece.config.precision
    guide = piece.guide.network if piece.guide else None
    return piece.kind, piece.training.network, guide, piece.sampling.precision, piece.features.name


def _whole_gpus(gpus: float | Literal["auto"] | None) -> int:
    return int(gpus) if isinstance(gpus, float | int) and gpus >= 2 else 1


def _names(store: Store, kind: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(store.root / kind)]
    except FileNotFoundError:
        return []


def _sample(own: dict[str, Piece], there: set[str]) -> list[str]:
    """Pieces of a plan that the store has, a few of every network."""
    counts: Counter[Key] = Counter()
    names: list[str] = []
    for name in (name for name in own if name in there):
        key = _key(own[name])
        counts[key] += 1
        if counts[key] <= MOST_ALIKE:
            names.append(name)
        if len(names) == MOST_RESULTS:
            break
    return names


def _newest(store: Store, kind: Kind, names: list[str]) -> list[str]:
    folder = store.root / KIND_OF_PIECE[kind]
    changed: dict[str, float] = {}
    for name in names:
        try:
            changed[name] = (folder / name).stat().st_mtime
        except OSError:  # removed meanwhile
            continue
    return sorted(changed, key=lambda name: (-changed[name], name))[:MOST_STRANGERS]
