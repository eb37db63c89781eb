"""What one evaluation works with, each part loaded when it is first needed."""

from __future__ import annotations

import functools
import time
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from edm.data.dataset import Dataset
from edm.files import MODEL
from edm.metrics.features import Extractor
from edm.precondition import Denoiser
from experiments.store.checksummed import load_checksummed
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.tasks import Evaluation, FeatureSpace, Training
from experiments.trials.assets import ensure_data, ensure_extractor, forget_extractors, load_averaged, load_published
from experiments.trials.context import TrialContext
from experiments.trials.evaluation.features import FeatureCache
from experiments.trials.evaluation.references import References
from experiments.trials.evaluation.scoring import Scorer
from experiments.trials.progress import ProgressReporter

IMAGES, EXACT = "images", "images.safetensors"


class EvaluationContext:
    """What one evaluation works with, each part loaded when it is first needed."""

    def __init__(
        self, store: Store, evaluation: Evaluation, trial: TrialContext, wanted: tuple[str, ...] | None = None
    ) -> None:
        self.store, self.evaluation, self.trial = store, evaluation, trial
        self.wanted = evaluation.scores if wanted is None else wanted
        self.device = trial.device
        self.folder = store.folder("evaluations", evaluation.signature)
        self.drawing = store.folder("drawings", evaluation.drawing)
        self.reporter = ProgressReporter(store, trial, self.folder, "images", evaluation.config.images)
        self.batch = trial.sampling_batch
        self.began = time.time()
        self.extractors: dict[FeatureSpace, Extractor] = {}

    @cached_property
    def data(self) -> Dataset:
        """The data set."""
        return ensure_data(self.store, self.evaluation.training.data)

    @cached_property
    def models(self) -> tuple[Denoiser, Denoiser | None]:
        """The network that draws, and the one that guides it."""
        evaluation, sampling = self.evaluation, self.evaluation.sampling
        model = self._model(evaluation.training, sampling.ema)
        if evaluation.guide is None or sampling.guide is None:
            return model, None
        return model, self._model(evaluation.guide, sampling.guide.ema)

    def _model(self, training: Training, width: float | None) -> Denoiser:
        result = self.store.finished(TrainingResult, training.signature)
        return _loaded(self.store.root, training, width, self.device, result.files[MODEL])

    def extractor(self, space: FeatureSpace) -> Extractor:
        """What measures in a feature space."""
        if space not in self.extractors:
            source, wait = self.evaluation.training.data, self.reporter.raise_if_stopped
            self.extractors[space] = ensure_extractor(self.store, source, space, self.device, wait)
        return self.extractors[space]

    def feature_cache(self, space: FeatureSpace) -> FeatureCache:
        """Where the drawn images' features in a space are."""
        return FeatureCache(self.drawing / space.signature, self.extractor(space), space.label)

    @cached_property
    def spaces(self) -> dict[FeatureSpace, int]:
        """The feature spaces that the images are measured in, and how many of them in each."""
        evaluation, wanted = self.evaluation, dict(self.evaluation.spaces)
        for space in (evaluation.features, evaluation.judge) if "accuracy" in self.wanted else (evaluation.features,):
            wanted[space] = max(wanted.get(space, 0), evaluation.config.images)
        return wanted

    @cached_property
    def references(self) -> References:
        """What real images measure in the evaluation's own space."""
        source, space = self.evaluation.training.data, self.evaluation.features
        own = (self.extractor(space), self.data, self.device)
        return References(
            self.store, source, space, *own, self.reporter.report_other_work, self.reporter.raise_if_stopped
        )

    def scorer(self, count: int) -> Scorer:
        """What scores the first `count` images."""
        evaluation, published = self.evaluation, None
        if evaluation.statistics is not None:
            published = load_published(self.store, evaluation.statistics, evaluation.features.dimension)
        measured = self.feature_cache(evaluation.features).measured(0, count)
        return Scorer(evaluation, measured, self.references, published)

    def first_pixels(self) -> Tensor:
        """The first images as they were drawn."""
        tensors = load_checksummed(self.drawing, IMAGES)
        assert tensors is not None, f"{self.drawing} has no images"
        return tensors[IMAGES]


@functools.lru_cache(maxsize=2)
def _loaded(root: Path, training: Training, width: float | None, device: torch.device, checksum: str) -> Denoiser:
    """A network to draw from, kept by a worker from one evaluation to the next."""
    del checksum  # part of the key: a network that was trained anew is another one
    return load_averaged(Store(root), training, width, device)


def forget_models() -> None:
    """Give back the memory of the networks that a worker has kept, those that measure as well."""
    _loaded.cache_clear()
    forget_extractors()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
