"""A plan, what it costs and the networks measured for it, for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edm.cost import num_parameters
from experiments import hardware
from experiments.cli.views.changes import changes_json
from experiments.cli.views.plan import begins_at_kimg
from experiments.runner.data_costs import preparing_s
from experiments.runner.downloads import Download
from experiments.runner.forecast import Forecast, Span
from experiments.runner.measurements import measurements
from experiments.runner.schedule import Schedule
from experiments.store.results import ProbeResult
from experiments.store.store import Store
from experiments.sweep.by_identity import by_identity
from experiments.sweep.drawing_costs import nfe_of
from experiments.sweep.plan import Plan
from experiments.sweep.probes import probes_by_training
from experiments.sweep.tasks import DataSource

parameters_of = by_identity(num_parameters)  # of networks, of which thousands of evaluations have few


def plan_json(
    plan: Plan,
    schedule: Schedule,
    estimates: dict[int | None, Forecast],
    calibrated: Store | None,
    data: Sequence[DataSource] = (),
    fetched: Sequence[Download] = (),
) -> dict[str, Any]:
    """Return the plan for a script; for a store in which networks were timed, also these and costs on other machines.

    estimates: by number of machines or GPUs; that of this machine under None. data: data sets that are to be prepared.
    fetched: files that are to be downloaded.
    """
    estimate = estimates[None]
    measured = dict[str, Any](pretrained=pretrained) if (pretrained := _pretrained_json(plan, schedule)) else {}
    if calibrated is not None:
        measured["networks"] = networks_json(plan, calibrated)
        measured["estimates"] = {number: estimate_json(made) for number, made in estimates.items() if number}
    return {
        "sweep": plan.sweep.name,
        "cells": len(plan.cells),
        "flops": sum(task.flops for name, task in schedule.tasks.items() if schedule.states[name] != "skipped"),
        "data": [_data_json(plan, source) for source in data],
        "downloads": [_download_json(file) for file in fetched],
        "preparations": list(_preparations_json(plan, schedule)),
        "trainings": list(_trainings_json(plan, schedule)),
        "evaluations": list(_evaluations_json(plan, schedule)),
        "other_code": changes_json(plan, schedule.changes),
        "left": len(schedule.of("waiting")),
        "estimate_s": round(estimate.wall_s, 1),
        "estimate_measured": estimate.measured,
        "estimate": estimate_json(estimate),
        "warnings": plan.warnings,
        "equivalences": plan.equivalences,
        **measured,
    }


def _data_json(plan: Plan, source: DataSource) -> dict[str, Any]:
    return {
        "name": source.config.title,
        "signature": source.signature,
        "images": source.images,
        "estimate_s": round(preparing_s(plan, source), 1),
    }


def _download_json(file: Download) -> dict[str, Any]:
    return {"file": file.file, "bytes": file.num_bytes, "estimate_s": round(file.seconds, 1)}


def _preparations_json(plan: Plan, schedule: Schedule) -> Iterator[dict[str, Any]]:
    for signature, task in plan.preparations.items():
        yield {
            "name": plan.names[signature],
            "kind": task.kind,
            "signature": signature,
            "images": task.images,
            "estimate_s": round(schedule.costs.seconds(task), 1),
            "done": signature in schedule.present,
        }


def _trainings_json(plan: Plan, schedule: Schedule) -> Iterator[dict[str, Any]]:
    for signature, training in plan.trained.items():
        yield {
            "name": plan.names[signature],
            "signature": signature,
            "parameters": parameters_of(training.network),
            "kimg": training.config.kimg,
            "from": training.begins_with.signature if training.begins_with else None,
            "begins_at_kimg": 0.0 if signature in schedule.present else begins_at_kimg(training, schedule),
            "done": signature in schedule.present,
        }


def _pretrained_json(plan: Plan, schedule: Schedule) -> list[dict[str, Any]]:
    return [
        {
            "name": plan.names[signature],
            "signature": signature,
            "parameters": parameters_of(training.network),
            "path": training.pretrained.path,
            "digest": training.pretrained.digest,
            "done": signature in schedule.present,
        }
        for signature, training in plan.trainings.items()
        if training.pretrained is not None
    ]


def _evaluations_json(plan: Plan, schedule: Schedule) -> Iterator[dict[str, Any]]:
    for signature, evaluation in plan.evaluations.items():
        yield {
            "name": plan.names[signature],
            "signature": signature,
            "training": evaluation.training.signature,
            "guide": evaluation.guide.signature if evaluation.guide else None,
            "parameters": parameters_of(evaluation.training.network),
            "kimg": evaluation.training.config.kimg if evaluation.training.pretrained is None else None,
            "images": evaluation.config.images,
            "nfe": nfe_of(evaluation.sampling),
            "done": signature in schedule.present,
        }


def estimate_json(estimate: Forecast) -> dict[str, Any]:
    """A forecast for a script: each value with the least and the most that it may well be."""
    return {
        "wall_s": _ranged(estimate.wall_s, estimate.wall_span_s),
        "work_s": _ranged(estimate.work_s, estimate.work_span_s),
        "gpu_hours" if estimate.on_gpus else "trial_hours": _ranged(estimate.gpu_hours, estimate.gpu_hours_span),
        "disk_gib": _ranged(estimate.disk_gib, estimate.disk_span_gib),
    }


def _ranged(value: float, span: Span) -> dict[str, float]:
    return {"about": value, "low": span.low, "high": span.high}


def networks_json(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Return every network that was measured, for a script.

    forward_s: seconds of one evaluation of the network on 1,000 images. nfe: the least and the most of its evaluations.
    """
    by_training = probes_by_training(plan, hardware.device_of(plan.sweep.resources.gpus))
    nfe: dict[str, set[int]] = {}
    for evaluation in plan.evaluations.values():
        nfe.setdefault(by_training[evaluation.training.signature].signature, set()).add(nfe_of(evaluation.sampling))
    first = {probe.signature: plan.names[name] for name, probe in reversed(by_training.items())}
    return [
        {
            "name": first[probe.signature],
            "signature": probe.signature,
            "parameters": parameters_of(probe.network),
            "nfe": sorted({min(counts), max(counts)}) if (counts := nfe.get(probe.signature)) else [],
            **_speeds_json(result),
        }
        for probe, result in measurements(plan, store)
    ]


def _speeds_json(result: ProbeResult) -> dict[str, Any]:
    """A network's speed and memory; None for what does not fit into the memory."""
    training, drawing = result.training, result.drawing
    return {
        "fits": result.fits,
        "device": result.device,
        "kimg_s": training.kimg_s if training else None,
        "forward_s": drawing.forward_s if drawing else None,
        "training_gib": training.training_gib if training else None,
        "sampling_gib": drawing.sampling_gib if drawing else None,
        "micro_batch": training.micro_batch if training else None,
        "sampling_batch": drawing.sampling_batch if drawing else None,
    }
