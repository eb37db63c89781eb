"""The command and the Python lines that draw the same images as the page."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from edm.config import CHURNED_SAMPLERS, SamplingConfig
from edm.extension import Extension, extensions_in
from experiments.demo.networks import Network
from experiments.demo.settings import Wanted
from experiments.store.store import Store
from experiments.sweep.tasks import Evaluation
from experiments.trials.data_records import label_option

PYTHON = """\
from pathlib import Path

import torch

{loader}
from edm.config import {configs}
from edm.data.dataset import to_uint8
from edm.generate import draw
from edm.pictures import save_grid

model = {load}({model})
{guide}sampling = SamplingConfig({sampling})
labels = {labels}
images = draw(model, sampling, torch.arange({images}), labels{guided})
save_grid(to_uint8(images), Path("grid.png"))
"""


def command(network: Network, wanted: Wanted, store: Store) -> str:
    """Return the `edm-sweep sample` command for a network of the store; for a model file, a sentence."""
    task, sampling = network.offer.task, wanted.sampling
    if task is None:
        return "# edm-sweep sample draws from trainings of a store; for a model file use the Python lines"
    words = ["edm-sweep", "sample", task.signature, "--images", str(wanted.images)]
    if not isinstance(sampling.sampler, Extension):  # otherwise it is the cell's own
        words += ["--sampler", sampling.sampler]
    words += ["--steps", str(sampling.steps), "--seed", str(sampling.seed)]
    if wanted.label is not None:
        words += ["--label", label_option(wanted.label, network.classes)]
    if network.takes_guidance or sampling.guidance != SamplingConfig().guidance:
        words += ["--guidance", f"{sampling.guidance!r}"]
    interval = sampling.guidance_interval
    if interval != network.sampling.guidance_interval:
        low, high = interval or (0.0, float("inf"))
        words += ["--guidance-interval", f"{low!r}", f"{high!r}"]
    if sampling.sampler in CHURNED_SAMPLERS:
        words += ["--s-churn", f"{sampling.s_churn!r}"]
    return shlex.join([*words, "--store", str(store.root)])


def python_lines(network: Network, wanted: Wanted, store: Store) -> str:
    """Return a Python script that draws the same images, or a sentence where edm alone cannot load the model."""
    if wanted.sampling.ema is not None:
        return "# edm.load loads the average that training kept, and edm-sweep sample computes this one"
    if any(True for _ in extensions_in(wanted.sampling)):
        return "# this setting uses an extension of its sweep, which edm-sweep sample loads"
    classes = network.model.config.num_classes
    labels = f"torch.arange({wanted.images}) % {classes}" if classes else f"torch.zeros({wanted.images}).long()"
    if wanted.label is not None:
        labels = f"torch.full(({wanted.images},), {wanted.label})"
    guide = _guide_file(network, store) if wanted.sampling.guidance != 1 else None
    own = network.offer.file is None
    return PYTHON.format(
        loader="import edm" if own else "from edm.pretrained.read import read_pretrained",
        load="edm.load" if own else "read_pretrained",
        configs="SamplingConfig" if wanted.sampling.guide is None else "GuideConfig, SamplingConfig",
        model=repr(str(_file(network, store))),
        guide="" if guide is None else f"guide = edm.load({str(guide)!r})\n",
        sampling=_arguments(wanted.sampling),
        labels=labels,
        images=wanted.images,
        guided="" if guide is None else ", guide",
    )


def _arguments(sampling: SamplingConfig) -> str:
    """Return the fields that differ from their defaults, as Python writes them."""
    default = SamplingConfig()
    changed = [f.name for f in fields(sampling) if getattr(sampling, f.name) != getattr(default, f.name)]
    values = [(name, repr(getattr(sampling, name)).replace("inf", 'float("inf")')) for name in changed]
    return ", ".join(f"{name}={value}" for name, value in values)


def _file(network: Network, store: Store) -> Path:
    if network.offer.file is not None:
        return network.offer.file.resolve()
    assert network.training is not None
    return store.folder_of(network.training).resolve()


def _guide_file(network: Network, store: Store) -> Path | None:
    task = network.offer.task
    if network.guide is None or not isinstance(task, Evaluation):
        return None
    return store.folder_of(task.guide or task.training).resolve()
