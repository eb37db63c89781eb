"""Draws the exact solution of truncation errors: as a task of its own, or within one that finds it missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from edm.files import load_tensors, save_tensors
from edm.metrics.truncation import OnImages, exact_images
from experiments.store.files import replacing
from experiments.store.provenance import provenance
from experiments.store.results import SolutionRecord
from experiments.store.store import Store
from experiments.sweep.code_parts import parts_of
from experiments.sweep.preparations import ExactSolution
from experiments.trials.code import code_now
from experiments.trials.context import TrialContext, device_name, write_config
from experiments.trials.evaluation.context import EXACT, IMAGES, code_of_networks, load_models
from experiments.trials.progress import ProgressReporter


def run_solution(store: Store, task: ExactSolution, context: TrialContext) -> None:
    """Draw an exact solution unless the store holds it; the caller holds its lock. Raises Interrupted on request."""
    if store.verified(SolutionRecord, task.signature) is not None:
        return
    began, folder = time.time(), store.folder_of(task)
    write_config(folder, task)
    reporter = ProgressReporter(store, context, folder, "steps", task.sampling.steps)
    reporter.phase("loading the network")

    with replacing(folder / EXACT) as file:
        made = _draw(store, task, context.device, file, lambda done, _total: reporter.report(done))
    made = replace(made, provenance=provenance(began, task))
    store.finish(task.signature, made, [EXACT])


def ensure_solution(
    store: Store, task: ExactSolution, device: torch.device, on_steps: OnImages, on_wait: Callable[[], None]
) -> Tensor:
    """Return the images of an exact solution, drawn on `device` if the store lacks them.

    on_steps: called with steps done, and in all. on_wait: called while another process draws them.
    """

    def build(building: Path) -> SolutionRecord:
        return _draw(store, task, device, building / EXACT, on_steps)

    store.ensure(SolutionRecord, task.signature, build, [EXACT], on_wait)
    return load_tensors(store.checked(task.store_kind, task.signature, EXACT))[IMAGES]


def _draw(store: Store, task: ExactSolution, device: torch.device, file: Path, on_steps: OnImages) -> SolutionRecord:
    """Draw the images and write them to a file."""
    model, guide = load_models(store, task, device)
    started = time.monotonic()
    save_tensors({IMAGES: exact_images(model, task.sampling, guide, on_steps)}, file)
    return SolutionRecord(
        seconds=time.monotonic() - started,
        flops=task.flops,
        device=device_name(device),
        code={**code_now(store, parts_of(task)), **code_of_networks(store, task)},
        provenance=provenance(of=task),
    )
