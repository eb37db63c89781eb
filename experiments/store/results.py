"""What result.json holds for each kind of task: one frozen class each, read and written nowhere else.

A field without a default has been in every result of its kind; one with a default came later, and results from before
it read as the default. Keys are written in the order of the fields, which must not change: checksums cover it.

Version 1 of the format writes no version. A later one adds the key `version`, and results with a version that this
code does not know are refused by name, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from experiments.errors import UserError
from experiments.store.layout import RESULT, StoreKind

VERSION = 1  # of the format: raise it when older versions of edm-sweep would misread what this one writes
OWN_PACKAGE = "edm-sweep"
PARSE = "parse"  # key of a field's metadata: what turns its JSON into its value
AS_TUPLE = {PARSE: tuple}
LATER = (("graphed", False), ("kernels", False), ("preparing_s", 0.0), ("continues", None))  # not written
SHARED = ("code", "provenance", "files")  # fields that every result has

Json = dict[str, Any]
ResultT = TypeVar("ResultT", bound="Result")


@cache
def _parsers(cls: type) -> Mapping[str, Callable[[Any], Any]]:
    return {f.name: f.metadata[PARSE] for f in fields(cls) if PARSE in f.metadata}


@cache
def _known_and_required(cls: type) -> tuple[frozenset[str], frozenset[str]]:
    required = (f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)
    return frozenset(f.name for f in fields(cls)), frozenset(required)


class Record:
    """A frozen dataclass that is read from a JSON object with keys of the same names."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Parse a JSON object, ignoring unknown keys; raises ValueError where a required one is missing."""
        known, required = _known_and_required(cls)
        if missing := required - content.keys():
            raise ValueError(f"{cls.__name__}: lacks {', '.join(sorted(missing))}")
        values = {name: value for name, value in content.items() if name in known}
        given = {name: parse for name, parse in _parsers(cls).items() if values.get(name) is not None}
        values |= {name: parse(values[name]) for name, parse in given.items()}
        return cls(**values)


@dataclass(frozen=True)
class CodeVersion(Record):
    """The commit that code is at, and whether and how it differs from it.

    git_diff: the SHA-256 of the changes, which the store keeps; None without changes, "" where they were not kept.
    """

    git_commit: str | None = None
    git_dirty: bool | None = None
    git_diff: str | None = ""


@dataclass(frozen=True)
class Provenance(CodeVersion):
    """Where a result comes from: code, command, packages and machine, and when its task began and ended (UTC).

    extensions: by name, the digests of the code of extensions that it used, under which the store keeps their files.
    """

    command: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    packages: Mapping[str, str | None] = field(default_factory=dict)
    gpus: str | None = None
    gpu_driver: str | None = None
    host: str = ""
    platform: str = ""
    cpus: int | None = None
    began: str | None = None
    time: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> Json:
        """Return the provenance as JSON, without `git_diff` where the changes were not kept, and empty `extensions`."""
        left_out = (("git_diff", ""), ("extensions", {}))
        return {name: value for name, value in asdict(self).items() if (name, value) not in left_out}


@dataclass(frozen=True)
class ComputingRecord(Record):
    """How a device computed a training, as edm.train.Computing has it."""

    precision: str
    compiled: bool
    fused: bool = True
    micro_batch: int | None = None
    graphed: bool = False
    kernels: bool = False


@dataclass(frozen=True)
class DrawingOrigins(Record):
    """The devices, commits and hosts that an evaluation's images were drawn with."""

    device: tuple[str, ...] = field(default=(), metadata=AS_TUPLE)
    git_commit: tuple[str, ...] = field(default=(), metadata=AS_TUPLE)
    host: tuple[str, ...] = field(default=(), metadata=AS_TUPLE)


@dataclass(frozen=True, kw_only=True)
class Result(Record):
    """What every result has.

    code: the digest of each part of the code that computed it (experiments/sweep/code_parts.py), and under names such
    as "training: network" what computed the results it was made from; several where it was computed in parts, separated
    by commas. Empty where it was not recorded. files: the SHA-256 of each file that it vouches for, filled in by
    `Store.finish`.
    """

    kind: ClassVar[StoreKind]

    code: Mapping[str, str] = field(default_factory=dict)
    provenance: Provenance = field(default=Provenance(), metadata={PARSE: Provenance.from_json})
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any], path: Path | str = RESULT) -> Self:
        """Parse the result that was read from `path`.

        Raises ValueError where it lacks a field, UserError where a newer edm-sweep wrote it in a later format.
        """
        version = content.get("version", 1)
        if version > VERSION:
            writer = content.get("provenance", {}).get("packages", {}).get(OWN_PACKAGE, "")
            raise UserError(
                f"{path}: was written by {OWN_PACKAGE} {writer} in format {version}, and this version reads formats "
                f"up to {VERSION}; install {OWN_PACKAGE} {writer} or newer"
            )
        return super().from_json(content)

    def to_json(self) -> Json:
        """Return the result as JSON, in the order in which it is written."""
        version = {"version": VERSION} if VERSION > 1 else {}
        code = {"code": dict(self.code)} if self.code else {}
        shared = code | {"provenance": self.provenance.to_json(), "files": dict(self.files)}
        return {**version, **self._own_json(), **shared}

    def _own_json(self) -> Json:
        """Return the fields of its kind alone, without those that came later and say nothing new."""
        plain = asdict(self, dict_factory=lambda pairs: dict(pair for pair in pairs if pair not in LATER))
        return {name: value for name, value in plain.items() if name not in SHARED}


class Timed:
    """What results have whose work is measured in seconds."""

    seconds: float

    @property
    def work_s(self) -> float:
        """Seconds of work in all."""
        return self.seconds


@dataclass(frozen=True, kw_only=True)
class DatasetRecord(Result):
    """A prepared data set. shape: channels, height, width. source: its files. preparing_s: 0 where not recorded."""

    kind: ClassVar[StoreKind] = "data"

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    images: int | None = None
    shape: tuple[int, ...] = field(default=(), metadata=AS_TUPLE)
    num_classes: int | None = None
    splits: Mapping[str, int] = field(default_factory=dict)
    sigma_data: float
    source: Mapping[str, Any] | None = None
    preparing_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClassifierRecord(Timed, Result):
    """The small classifier of a data set, and its accuracy on each split.

    images: that it was trained on. seconds: of training, in all processes together. device: "" where not recorded.
    """

    kind: ClassVar[StoreKind] = "classifiers"

    accuracy: Mapping[str, float]
    config: Mapping[str, Any]
    images: int | None = None
    seconds: float = 0.0
    flops: float = 0.0
    device: str = ""
    threads: int | None = None

    def _own_json(self) -> Json:
        own = super()._own_json()
        return own if self.images is not None else {name: own[name] for name in ("accuracy", "config")}


@dataclass(frozen=True, kw_only=True)
class ReferenceRecord(Result):
    """Published reference statistics that were taken into the store, and the file that they came from."""

    kind: ClassVar[StoreKind] = "references"

    file: str
    sha256: str
    dimension: int


@dataclass(frozen=True, kw_only=True)
class WeightsRecord(Timed, Result):
    """Weights of a feature extractor that were downloaded to a path outside the store. seconds: that this took."""

    kind: ClassVar[StoreKind] = "weights"

    path: str
    bytes: int
    sha256: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class MeasuredReferences(Timed, Result):
    """Says that real images and noise are measured, and their statistics computed, which the store holds beside it.

    images: that the statistics are of. seconds, flops: of the process that finished it.
    """

    kind: ClassVar[StoreKind] = "reference_statistics"

    images: int
    seconds: float
    flops: float
    device: str


@dataclass(frozen=True, kw_only=True)
class BaselineRecord(Result):
    """Baselines: the scores of pure noise and of real images, to compare the scores of evaluations with."""

    kind: ClassVar[StoreKind] = "scales"  # the folder's old name, which existing stores have

    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class SolutionRecord(Timed, Result):
    """The exact solution that a sampler's own error is measured against. device: "" where none of this was recorded."""

    kind: ClassVar[StoreKind] = "exact"

    seconds: float = 0.0
    flops: float = 0.0
    device: str = ""

    def _own_json(self) -> Json:
        return super()._own_json() if self.device else {}


@dataclass(frozen=True, kw_only=True)
class ExtensionRecord(Result):
    """The files of an extension, as they were when a result first used it.

    what: its kind, such as "sampler". where: the file and the function that define it. modules: the names of its files
    without .py, in the order in which they are loaded.
    """

    kind: ClassVar[StoreKind] = "extensions"

    what: str
    name: str
    where: str
    modules: tuple[str, ...] = field(metadata=AS_TUPLE)


@dataclass(frozen=True, kw_only=True)
class TrainingResult(Timed, Result):
    """A finished training. val_loss: on the val split. seconds: of work, on `gpus` devices together.

    loss: None of a pretrained network. continues: the training at whose end it began, whose seconds are among its own.
    """

    kind: ClassVar[StoreKind] = "trainings"

    kimg: float
    loss: float | None
    val_loss: float | None = None
    seconds: float
    flops: float
    device: str
    gpus: int = 1
    threads: int | None = None
    computing: ComputingRecord | None = field(default=None, metadata={PARSE: ComputingRecord.from_json})
    parameters: int
    continues: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationResult(Result):
    """A finished evaluation.

    scores: what the metrics answer, such as "fid/test". prefixes: FIDs of the first images alone, with `images`.
    label: the feature space in words. stopped_at, stopped_by: the number of images at which drawing ended early, and
    the evaluation that was clearly better. seconds: of drawing and measuring. drawn: by whom, which may be others than
    who scored. fingerprint: of the feature extractor.
    """

    kind: ClassVar[StoreKind] = "evaluations"

    metrics: Mapping[str, float]
    scores: tuple[str, ...] = field(default=(), metadata=AS_TUPLE)
    notes: tuple[str, ...] = field(default=(), metadata=AS_TUPLE)
    prefixes: tuple[Mapping[str, float], ...] = field(default=(), metadata=AS_TUPLE)
    label: str
    images: int | None = None
    stopped_at: int | None = None
    stopped_by: str | None = None
    seconds: float
    scoring_seconds: float = 0.0
    flops: float
    device: str
    drawn: DrawingOrigins = field(default=DrawingOrigins(), metadata={PARSE: DrawingOrigins.from_json})
    threads: int | None = None
    fingerprint: str | None = None

    @property
    def work_s(self) -> float:
        """Seconds of work in all, scoring included."""
        return self.seconds + self.scoring_seconds


@dataclass(frozen=True)
class MeasuredTraining(Record):
    """Speed and memory of training a network.

    kimg_s: seconds per kimg. spread: how far steps lie from the median, as a factor. steps: that were timed.
    """

    kimg_s: float
    spread: float
    steps: int
    training_gib: float
    micro_batch: int | None
    computing: ComputingRecord = field(metadata={PARSE: ComputingRecord.from_json})
    checkpoint_bytes: int
    model_bytes: int


@dataclass(frozen=True)
class MeasuredDrawing(Record):
    """Speed and memory of drawing from a network. forward_s: seconds of one evaluation of it on 1,000 images."""

    forward_s: float
    sampling_gib: float
    sampling_batch: int


@dataclass(frozen=True, kw_only=True)
class ProbeResult(Timed, Result):
    """A network's speed and memory on a device; None for what does not fit into the memory, one image at a time."""

    kind: ClassVar[StoreKind] = "probes"

    training: MeasuredTraining | None
    drawing: MeasuredDrawing | None
    device: str
    device_gib: float | None
    threads: int
    seconds: float
    flops: float

    @property
    def fits(self) -> bool:
        """Whether the network can be trained and drawn from on the device."""
        return self.training is not None and self.drawing is not None

    @classmethod
    def from_json(cls, content: Mapping[str, Any], path: Path | str = RESULT) -> Self:
        """Parse a probe's result, whose JSON holds both measurements without nesting."""
        training = MeasuredTraining.from_json(content) if "kimg_s" in content else None
        drawing = MeasuredDrawing.from_json(content) if "forward_s" in content else None
        return super().from_json({**content, "training": training, "drawing": drawing}, path)

    def _own_json(self) -> Json:
        own = super()._own_json()
        training, drawing = own.pop("training"), own.pop("drawing")
        return {"fits": self.fits, **(training or {}), **(drawing or {}), **own}
