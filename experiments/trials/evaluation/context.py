"""Gathers what one evaluation works with."""

from __future__ import annotations

import functools
import time
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from edm.data.dataset import Dataset
from edm.files import MODEL
from edm.generate import compiled_denoiser, pays_to_compile
from edm.metrics.features import Extractor
from edm.precondition import Denoiser
from experiments.store.checksummed import load_checksummed
from experiments.store.drawings import features_folder
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.code_parts import of_drawing, of_features
from experiments.sweep.preparations import ExactSolution
from experiments.sweep.tasks import Evaluation, FeatureSpace, Training
from experiments.trials.assets import ensure_data, load_averaged, load_published
from experiments.trials.code import Code, code_now, made_from
from experiments.trials.context import TrialContext
from experiments.trials.evaluation.features import FeatureCache
from experiments.trials.evaluation.references import References
from experiments.trials.evaluation.scoring import Scorer
from experiments.trials.extractors import ensure_extractor, forget_extractors
from experiments.trials.progress import ProgressReporter

IMAGES, EXACT = "images", "images.safetensors"


class EvaluationContext:
    """Gives one evaluation its models, data, extractors and references, each loaded when it is first needed.

    wanted: scores to compute, by default those of the evaluation.
    """

    def __init__(
        self, store: Store, evaluation: Evaluation, trial: TrialContext, wanted: tuple[str, ...] | None = None
    ) -> None:
        self.store, self.evaluation, self.trial = store, evaluation, trial
        self.wanted = evaluation.scores if wanted is None else wanted
        self.device = trial.device
        self.folder = store.folder_of(evaluation)
        self.drawing_folder = store.folder("drawings", evaluation.drawing)
        self.reporter = ProgressReporter(store, trial, self.folder, "images", evaluation.config.images)
        self.batch = trial.sampling_batch
        self.began = time.time()
        self.extractors: dict[FeatureSpace, Extractor] = {}

    @cached_property
    def data(self) -> Dataset:
        """The data set."""
        return ensure_data(self.store, self.evaluation.training.data, self.reporter.phase)

    @cached_property
    def models(self) -> tuple[Denoiser, Denoiser | None]:
        """The model to draw from, and the model that guides it, if there is one."""
        self.reporter.phase("loading the network")
        return load_models(self.store, self.evaluation, self.device)

    @cached_property
    def drawing_models(self) -> tuple[Denoiser, Denoiser | None]:
        """The models to draw with: compiled where that pays, or where it is asked for."""
        asked = self.trial.compile
        if not (pays_to_compile(float(self.evaluation.flops), self.device) if asked is None else asked):
            return self.models
        model, guide = self.models
        self.reporter.phase("compiling the network")
        return compiled_denoiser(model), None if guide is None else compiled_denoiser(guide)

    def extractor(self, space: FeatureSpace) -> Extractor:
        """Return the feature extractor of a space."""
        if space not in self.extractors:
            self.reporter.phase("loading the feature extractor")
            source = self.evaluation.training.data
            self.extractors[space] = ensure_extractor(self.store, source, space, self.device, self.reporter.phase)
        return self.extractors[space]

    def feature_cache(self, space: FeatureSpace) -> FeatureCache:
        """Return the cache of the drawn images' features in a space."""
        folder = features_folder(self.store, self.evaluation.drawing, space.signature)
        code = code_now(self.store, (*of_drawing(self.evaluation), *of_features(space)))
        return FeatureCache(folder, self.extractor(space), space.label, {**code, **self.code_of_networks})

    @cached_property
    def code_of_networks(self) -> Code:
        """The code that trained the networks that images are drawn from."""
        return code_of_networks(self.store, self.evaluation)

    @cached_property
    def spaces(self) -> dict[FeatureSpace, int]:
        """The feature spaces to measure images in, and how many images in each."""
        evaluation, counts = self.evaluation, dict(self.evaluation.spaces)
        for space in (evaluation.features, evaluation.judge) if "accuracy" in self.wanted else (evaluation.features,):
            counts[space] = max(counts.get(space, 0), evaluation.config.images)
        return counts

    @cached_property
    def references(self) -> References:
        """The features and statistics of real images in the evaluation's feature space."""
        source, space = self.evaluation.training.data, self.evaluation.features
        own = (self.extractor(space), self.data, self.device, code_now(self.store, of_features(space)))
        return References(self.store, source, space, *own, self.reporter.report_other_work, self.reporter.phase)

    def scorer(self, count: int) -> Scorer:
        """Return a scorer of the first `count` images."""
        evaluation, published = self.evaluation, None
        if evaluation.statistics is not None:
            published = load_published(self.store, evaluation.statistics, evaluation.features.dimension)
        measured = self.feature_cache(evaluation.features).measured(0, count)
        return Scorer(evaluation, measured, self.references, published)

    def first_pixels(self) -> Tensor:
        """Return the pixels of the first images; only those are kept."""
        return self.kept_of_first()[IMAGES]

    def kept_of_first(self) -> dict[str, Tensor]:
        """Return all that is kept of the first images: pixels and, unless an earlier version drew them, some steps."""
        tensors = load_checksummed(self.drawing_folder, IMAGES)
        assert tensors is not None, f"{self.drawing_folder} has no images"
        return tensors


def load_models(
    store: Store, task: Evaluation | ExactSolution, device: torch.device
) -> tuple[Denoiser, Denoiser | None]:
    """Return the model that a task draws from, and the model that guides it, if there is one."""

    def load(training: Training, width: float | None) -> Denoiser:
        checksum = store.finished(TrainingResult, training.signature).files[MODEL]
        return _load_kept(store.root, training, width, device, checksum)

    sampling = task.sampling
    model = load(task.training, sampling.ema)
    if task.guide is None or sampling.guide is None:
        return model, None
    return model, load(task.guide, sampling.guide.ema)


def code_of_networks(store: Store, task: Evaluation | ExactSolution) -> Code:
    """Return the code that trained the networks that a task draws from."""
    found = [store.result(TrainingResult, training.signature) for training in task.depends_on]
    return made_from(**dict(zip(("training", "guide"), found, strict=False)))


@functools.lru_cache(maxsize=2)
def _load_kept(root: Path, training: Training, width: float | None, device: torch.device, checksum: str) -> Denoiser:
    """Load a model to draw from; a worker keeps it from one evaluation to the next."""
    del checksum  # part of the key, as a network that was trained again is another one
    return load_averaged(Store(root), training, width, device)


def forget_models() -> None:
    """Free the models and feature extractors that this worker has kept."""
    _load_kept.cache_clear()
    forget_extractors()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
