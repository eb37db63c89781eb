"""The parts of edm/ that compute results: which ones a task uses, what each reaches, and its digest today.

A part is small, so that a change marks few results: drawing is one, and so is every sampler, noise schedule, norm,
metric and data set. What the code of an extension uses of edm/ is a part as well, by its qualified name; what edm/ does
with a data set, features or metrics of extensions are three more. A result keeps the digest of every part that made it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edm
from edm.config import SPLITS, Extension, SamplingConfig, extensions_in
from experiments.code_cache import CodeCache, Digests, read_vouched
from experiments.sweep.jobs import Task
from experiments.sweep.metrics import own_score, split_score
from experiments.sweep.preparations import ExactSolution, FeatureClassifier, ReferenceStatistics, WeightsDownload
from experiments.sweep.probes import Probe
from experiments.sweep.tasks import DataSource, Evaluation, FeatureSpace, Training, averages_weights

if TYPE_CHECKING:
    from experiments.code import Reach, Sources

# dictionaries of which a task uses the entries that its configuration names: each is in a part of its own, by its key
REGISTRIES = {
    "sampler": ("edm.samplers.METHODS", "edm.samplers.METHODS"),
    "schedule": ("edm.schedules.LEVELS", "edm.schedules.LEVELS"),
    "norm": ("edm.networks.blocks.OWN_NORMS", "edm.networks.blocks.OWN_NORMS"),
    "weighting": ("edm.loss.OWN_WEIGHTINGS", "edm.loss.OWN_WEIGHTINGS"),
    "optimizer": ("edm.train.OWN_OPTIMIZERS", "edm.train.OWN_OPTIMIZERS"),
    "data": ("edm.data.loaders.LOADERS", "edm.data.prepare.prepare"),
}
FACTS = "edm.data.catalogue.CATALOGUE"  # of each data set, which its part has as well
# what only some tasks call, although the code of all names it
SEPARATE = {
    "augmentation": ("edm.augment.augment", "edm.augment.flip"),
    "power averages": ("edm.ema.PowerEma",),
    "guidance": ("edm.guidance._classifier_free",),
    "autoguidance": ("edm.guidance._autoguided",),
    "fine-tuning": ("edm.transfer.transfer",),
    "several GPUs": ("edm.batch_norm.SyncedBatchNorm2d", "edm.parallel.averaging_gradients"),
}
# the same for data sets, whose readers have methods of the same names
READERS = {
    "celeba": ("edm.data.celeba.CelebaPictures",),
    "folder": (
        "edm.data.loaders.FolderPictures",
        "edm.data.folder.ImageFolder",
        "edm.data.folder.open_folder",
        "edm.data.folder.folder_splits",
        "edm.data.folder.folder_fingerprint",
        "edm.data.folder.folder_remarks",
        "edm.data.parquet_files.ParquetFiles",
        "edm.data.catalogue.folder_of",
    ),
}
# configurations are resolved when a sweep is planned, and signatures hold what comes of it
RESOLVED_BEFORE = (
    "edm.config.model.ModelConfig",
    "edm.config.sampling.GuideConfig",
    "edm.data.catalogue.KnownDataset.parts",
)
EXTENSION = "extension"  # in names of parts: whatever it is called, as its own code is in the signature
ENTRIES: dict[str, tuple[str, ...]] = {
    "classifier": (
        "edm.metrics.classifier.ClassifierTraining",
        "edm.metrics.classifier.train_classifier",
        "edm.metrics.features.Classifier",
    ),
    "network": ("edm.precondition.Denoiser", "edm.networks.device.autocast", "edm.generate.compiled_denoiser"),
    "training": (
        "edm.train.Computing",
        "edm.train.TrainState",
        "edm.train.train",
        "edm.train.averaged_model",
        "edm.batches.TrainingSet",
        "edm.validation.validation_losses",
        "edm.validation.total_loss",
    ),
    "pretrained": ("edm.pretrained.read.read_pretrained", "edm.pretrained.read.digest_of"),
    "drawing": ("edm.generate.generate", "edm.generate.pays_to_compile"),
    "posthoc": (
        "edm.ema.Snapshot",
        "edm.ema.combined",
        "edm.ema.posthoc_coefficients",
        "edm.batch_norm.recompute_statistics",
    ),
    "features/classifier": ("edm.metrics.features.Classifier", "edm.metrics.features.extract"),
    "features/inception": ("edm.metrics.features.Inception", "edm.metrics.features.extract"),
    "features/dinov2": ("edm.metrics.features.Dinov2", "edm.metrics.features.extract"),
    "real images": (
        "edm.data.dataset.Dataset",
        "edm.data.dataset.open_prepared",
        "edm.data.dataset.to_uint8",
        "edm.noise.normals",
        "edm.noise.permutation",
    ),
    "published statistics": ("edm.metrics.published.load_statistics",),
    "metric/fid": (
        "edm.metrics.fid.Statistics",
        "edm.metrics.fid.Reference",
        "edm.metrics.fid.frechet",
        "edm.metrics.fid.frechet_distance",
        "edm.metrics.uncertainty.standard_error",
        "edm.metrics.uncertainty.interval",
        "edm.metrics.uncertainty.within_classes",
        "edm.generate.labels_of",
    ),
    "metric/fid_infinity": ("edm.metrics.fid_infinity.fid_infinity",),
    "metric/kid": (
        "edm.metrics.kid.kernel_distance",
        "edm.metrics.kid.kernel_sums",
        "edm.metrics.kid.mean_kernel",
        "edm.metrics.uncertainty.standard_error",
        "edm.metrics.uncertainty.interval",
        "edm.metrics.uncertainty.within_classes",
        "edm.generate.labels_of",
    ),
    "metric/prdc": ("edm.metrics.neighbours.prdc", "edm.metrics.neighbours.squared_radii"),
    "metric/accuracy": (
        "edm.metrics.uncertainty.standard_error",
        "edm.metrics.uncertainty.interval",
        "edm.metrics.uncertainty.within_classes",
        "edm.generate.labels_of",
    ),
    "metric/memorisation": (
        "edm.metrics.memorisation.memorisation",
        "edm.metrics.memorisation.PixelPieces",
        "edm.metrics.memorisation.pixel_rows",
    ),
    "metric/truncation": (
        "edm.metrics.truncation.exact_images",
        "edm.metrics.truncation.final_images",
        "edm.metrics.truncation.truncation_error",
        "edm.config.sampling.SamplingConfig.exact",
    ),
    f"data/{EXTENSION}": ("edm.data.prepare.prepare",),
    f"features/{EXTENSION}": ("edm.metrics.own.OwnFeatures", "edm.metrics.features.extract"),
    f"metric/{EXTENSION}": (
        "edm.trying.measured_by",
        "edm.metrics.uncertainty.standard_error",
        "edm.metrics.uncertainty.interval",
        "edm.metrics.uncertainty.within_classes",
        "edm.generate.labels_of",
    ),
    **SEPARATE,
}
OWN = "edm."  # how parts begin that are definitions which extensions use
EXACT_PARTS = ("sampler/heun",)  # that the exact solution is drawn by


# which parts a task uses --------------------------------------------------------------------------


def parts_of(task: Task, scores: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the parts that compute a task's result, without those of what it depends on.

    scores: that an evaluation computes, by default those that it is asked for.
    """
    if isinstance(task, DataSource):
        parts = [f"data/{_variant(task.config.name)}", *_used_by(task.config)]
    elif isinstance(task, Training):
        parts = list(_of_training(task))
    elif isinstance(task, FeatureClassifier):
        parts = ["classifier", "features/classifier", "real images"]
    elif isinstance(task, ReferenceStatistics):
        parts = [*of_features(task.features), *of_metrics(task.scores)]
    elif isinstance(task, WeightsDownload):
        parts = []
    elif isinstance(task, ExactSolution):
        parts = [*of_drawing(task), "metric/truncation"]
    elif isinstance(task, Evaluation):
        wanted = tuple(scores) or task.scores
        parts = [*of_drawing(task), *of_features(task.features), *of_metrics(wanted), *_of_own_metrics(task, wanted)]
    else:
        parts = list(_of_probe(task))
    return tuple(dict.fromkeys(parts))


def of_features(space: FeatureSpace) -> tuple[str, ...]:
    """Return the parts that measure real images in a feature space."""
    return (f"features/{_variant(space.name)}", "real images", *_used_by(space.name))


def _variant(value: str | Extension) -> str:
    return EXTENSION if isinstance(value, Extension) else value


def of_drawing(evaluation: Evaluation | ExactSolution) -> tuple[str, ...]:
    """Return the parts that draw the images of an evaluation, or of an exact solution, from its networks."""
    sampling, networks = evaluation.sampling, [training.network for training in evaluation.depends_on]
    parts = ["drawing", "network", *(part for network in networks for part in _shipped("norm", network.norm))]
    parts += [*_shipped("sampler", sampling.sampler), *_of_schedule(sampling)]
    if sampling.guidance not in (0, 1):
        parts.append("guidance" if evaluation.guide is None else "autoguidance")
    if averages_weights(sampling):
        parts.append("posthoc")
    return tuple(dict.fromkeys((*parts, *_used_by(sampling, *networks))))


def _of_schedule(sampling: SamplingConfig) -> Iterator[str]:
    from edm.schedules import SAME_AS

    schedule = sampling.schedule
    yield from _shipped("schedule", schedule if isinstance(schedule, Extension) else SAME_AS.get(schedule, schedule))


def _shipped(kind: str, value: str | Extension) -> Iterator[str]:
    """Yield the part of a registry's entry; nothing for one of an extension, whose code is in the signature."""
    if not isinstance(value, Extension):
        yield f"{kind}/{value}"


def _of_training(training: Training) -> Iterator[str]:
    if training.pretrained is not None:
        yield "pretrained"
        return
    config = training.config
    yield from ("training", "network", *_shipped("norm", training.network.norm))
    yield from (*_shipped("weighting", config.weighting), *_shipped("optimizer", config.optimizer))
    if training.config.augment > 0 or training.config.flip:
        yield "augmentation"
    if training.config.power_ema:
        yield "power averages"
    if training.start is not None:
        yield "fine-tuning"
    yield from _used_by(training.network, config)


def _used_by(*configs: object) -> Iterator[str]:
    """Yield what the code of extensions in configurations uses of edm/: each definition is a part, by its name."""
    for config in configs:
        for extension in extensions_in(config):
            yield from (name for name in extension.uses if name.startswith(OWN))


def _of_own_metrics(evaluation: Evaluation, scores: Collection[str]) -> Iterator[str]:
    for metric in evaluation.config.metrics:
        if isinstance(metric, Extension) and any(own_score(metric, split) in scores for split in SPLITS):
            yield from (f"metric/{EXTENSION}", *_used_by(metric))


def of_metrics(scores: Iterable[str]) -> Iterator[str]:
    """Yield the parts that compute scores, such as "fid/test"."""
    for metric, against in map(split_score, scores):
        if f"metric/{metric}" not in ENTRIES:
            continue  # of an extension
        yield f"metric/{metric}"
        if metric == "fid_infinity":
            yield "metric/fid"
        if metric == "truncation":
            yield from EXACT_PARTS
        if against == "file":
            yield "published statistics"


def _of_probe(probe: Probe) -> Iterator[str]:
    yield from ("training", "network", *_shipped("norm", probe.network.norm), "drawing", "sampler/euler")
    yield from _used_by(probe.network)


# what a part reaches ------------------------------------------------------------------------------


def all_parts() -> list[str]:
    """Return the names of all parts of this version."""
    sources = EdmCode.of_this_version().sources
    registered = (f"{kind}/{key}" for kind, (name, _) in REGISTRIES.items() for key in sources.keys_of(name))
    return [*ENTRIES, *registered]


@dataclass(frozen=True)
class EdmCode:
    """The code of edm/ in a folder. Digests are kept in the user's cache, for as long as no file changes."""

    folder: Path

    @classmethod
    def of_this_version(cls) -> EdmCode:
        """Return the code that this process would run."""
        return _THIS

    @cached_property
    def sources(self) -> Sources:
        """The modules."""
        from experiments.code import Sources  # not needed while no file has changed

        return Sources({"edm": self.folder})

    def reach(self, part: str) -> Reach | None:
        """Return what a part reaches; None for a part that this version does not have."""
        kind, _, variant = part.partition("/")
        if part.startswith(OWN):
            entry = self.sources.entry(part)
            return self.sources.reach([entry]) if entry is not None else None
        choices: dict[str, tuple[str, ...]] = {name: () for name, _ in REGISTRIES.values()}
        without = {name for names in SEPARATE.values() for name in names}
        without |= {name for data, names in READERS.items() if part != f"data/{data}" for name in names}
        if part in ENTRIES:
            entries = ENTRIES[part]
        elif kind in REGISTRIES:
            name, entry = REGISTRIES[kind]
            entries, choices[name] = (entry,), (variant,)
            if variant not in self.sources.keys_of(name):
                return None
        else:
            return None
        choices[FACTS] = (variant,) if kind == "data" else ()
        try:
            return self.sources.reach(entries, choices, (without - {*entries}).union(RESOLVED_BEFORE))
        except KeyError:
            return None

    def knows(self, part: str) -> bool:
        """Return whether a part is of a kind that this version has, even if it lacks that one."""
        kind, slash, _ = part.partition("/")
        return part in ENTRIES or part.startswith(OWN) or (bool(slash) and kind in REGISTRIES)

    def equivalent(self, part: str) -> frozenset[str]:
        """Return the digests of earlier code of a part that a developer vouches for: today's computes the same."""
        today = self.digest(part)
        groups: list[dict[str, Any]] = self._vouched.get(part, [])
        return frozenset(digest for group in groups if today in group["code"] for digest in group["code"])

    @cached_property
    def _vouched(self) -> dict[str, list[dict[str, Any]]]:
        return read_vouched(self.folder)

    def digest(self, part: str) -> str | None:
        """Return the digest of a part; None for a part that this version does not have."""
        if part not in self._digests:
            found = self.reach(part)
            self._digests[part] = found.digest if found is not None else None
            self._cache.keep(self._digests)
        return self._digests[part]

    @cached_property
    def _digests(self) -> Digests:
        return self._cache.read()

    @cached_property
    def _cache(self) -> CodeCache:
        return CodeCache(self.folder)


_THIS = EdmCode(Path(str(edm.__file__)).parent)


def digests_of(parts: Iterable[str]) -> Mapping[str, str]:
    """Return the digests of parts today."""
    own = EdmCode.of_this_version()
    return {part: digest for part in parts if (digest := own.digest(part)) is not None}
