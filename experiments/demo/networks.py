"""Which trained networks the page offers, and what each of them takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from edm.config import SamplingConfig
from edm.data.class_names import CLASS_NAMES
from edm.download import OnFetched
from edm.networks.device import on_device
from edm.precondition import Denoiser
from edm.pretrained.errors import PretrainedError
from edm.pretrained.published import PUBLISHED_NETWORKS, PublishedNetwork, fetched
from edm.pretrained.read import SUFFIXES, read_pretrained
from experiments.environment import data_folder
from experiments.errors import UserError
from experiments.inspection.explain import find, task_of
from experiments.inspection.lookup import NamedTask, find_one, tasks_matching
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.tasks import SweepTask, Training, own_training
from experiments.trials.assets import load_finished, require_finished
from experiments.trials.data_records import class_names
from experiments.trials.pictures import load_guide, sampling_of

NETWORKS = "networks"  # the folder of published networks, beside the published files of data sets


@dataclass(frozen=True)
class Offer:
    """A trained network by the name that it has on the page: a cell or a training of the store, or a model file.

    label_dropout: share of labels dropped in the training of a model file, where that is known. classes: the names of a
    model file's classes, by number, where they are known.
    """

    name: str
    task: SweepTask | None = None
    file: Path | None = None
    label_dropout: float | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded network.

    sampling: how it samples by default. label_dropout: share of labels dropped in training; None if that is unknown.
    classes: the names of its classes, by number; empty where they have only numbers.
    """

    offer: Offer
    model: Denoiser
    guide: Denoiser | None
    sampling: SamplingConfig
    label_dropout: float | None
    classes: tuple[str, ...] = ()

    @property
    def training(self) -> Training | None:
        """The task that trained it; None for a model file."""
        return own_training(self.offer.task) if self.offer.task is not None else None

    @property
    def takes_label(self) -> bool:
        """Whether images of a class can be asked for."""
        return self.model.config.num_classes > 0 and self.label_dropout != 1

    @property
    def takes_guidance(self) -> bool:
        """Whether there is something that guidance can lead away from."""
        return self.guide is not None or (self.takes_label and self.label_dropout != 0)

    @property
    def side(self) -> int:
        """Pixels a side of the images that it draws."""
        return self.sampling.resolution or self.model.config.resolution


def offers(names: list[str], store: Store) -> list[Offer]:
    """Return the networks that were named, or all finished trainings of the sweeps of a store.

    names: cells, trainings, model files or folders of one, and published networks, which have been downloaded. Raises
    UserError if there is none, or one is not finished.
    """
    found = [_named(name, store) for name in names] or _finished(store)
    if not found:
        nothing = f"{store.root}: has no finished training of a sweep"
        raise UserError(f"{nothing}; run a sweep first, give a model file, or select another store with --store")
    return found


def _named(name: str, store: Store) -> Offer:
    path = Path(name)
    if path.is_dir() or path.suffix in SUFFIXES:
        if not path.exists():
            raise UserError(f"{name}: does not exist; give the path of a trained network")
        return Offer(name, file=path)
    network = PUBLISHED_NETWORKS.get(name)
    if network is not None:
        file = network.place(networks_folder(store))
        return Offer(name, file=file, label_dropout=network.label_dropout, classes=_classes_of(network))
    task = find(name, store)
    require_finished(own_training(task), store)
    return Offer(find_one(name, store).name, task=task)


def _classes_of(network: PublishedNetwork) -> tuple[str, ...]:
    """Return the names of a published network's classes; NVlabs numbers those of CIFAR-10 as its files do."""
    return CLASS_NAMES["cifar10"] if network.num_classes and "cifar10" in network.name else ()


def download_published(
    names: list[str], store: Store, watch: Callable[[PublishedNetwork], AbstractContextManager[OnFetched]]
) -> None:
    """Have the files of those networks that are named as NVlabs publishes them, and check them; raises UserError.

    watch: called with a network that is about to be downloaded or checked; what it returns is told how far that is.
    """
    for network in filter(None, map(PUBLISHED_NETWORKS.get, names)):
        with watch(network) as on_progress:
            try:
                fetched(network, networks_folder(store), on_progress)
            except PretrainedError as error:
                raise UserError(str(error)) from None


def networks_folder(store: Store) -> Path:
    """Return the folder that published networks are downloaded to."""
    return data_folder(store.root) / NETWORKS


def _finished(store: Store) -> list[Offer]:
    """Return each finished training once: a name of a cell and its training is the cell's."""
    found: dict[str, NamedTask] = {}
    for named in tasks_matching("*", store):
        known = found.get(named.training)
        if known is None or (known.kind, named.kind) == ("evaluation", "training"):
            found[named.training] = named
    done = (named for signature, named in found.items() if store.result(TrainingResult, signature) is not None)
    names = {f"{named.sweep}:{named.name}": named for named in done}
    return [Offer(name, task=task_of(named, name, store)) for name, named in names.items()]


def load(offer: Offer, store: Store, device: torch.device) -> Network:
    """Load a network; raises UserError if its file cannot be read."""
    if offer.task is None:
        model = _read(offer, device)
        return Network(offer, model, None, _sampling_for(model), offer.label_dropout, offer.classes)
    task, sampling = offer.task, sampling_of(offer.task, {})
    training = own_training(task)
    dropout = training.config.label_dropout
    if isinstance(task, Training) and training.network.num_classes and dropout == 1:
        sampling = sampling_of(task, {"guidance": 0.0})  # it never saw a label
    model = load_finished(training, sampling.ema, store, device)
    # loaded even where the cell has guidance 1, since the page can raise it
    guide = load_guide(task, sampling_of(task, {"guidance": 2.0}), store, device)
    return Network(offer, model, guide, sampling, dropout, class_names(training.data, store))


def _read(offer: Offer, device: torch.device) -> Denoiser:
    assert offer.file is not None
    try:
        model = read_pretrained(offer.file)
    except PretrainedError as error:
        raise UserError(str(error)) from None
    if math.isnan(model.sigma_data):
        raise UserError(
            f"{offer.name}: does not say the spread of the images that it was trained on; run a sweep with "
            f"model.from: {offer.name}, and choose its cell"
        )
    return on_device(model, device)


def _sampling_for(model: Denoiser) -> SamplingConfig:
    """Return the default, from no higher noise level than a model with discrete time knows."""
    default = SamplingConfig()
    highest = math.inf if model.process is None else model.process.sigmas()[-1]
    return replace(default, sigma_max=min(default.sigma_max, highest))
