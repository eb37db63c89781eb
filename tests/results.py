"""Results with plausible numbers, for tests that need what a finished task leaves without doing it."""

from typing import Any

from experiments.store.results import (
    ComputingRecord,
    EvaluationResult,
    MeasuredDrawing,
    MeasuredTraining,
    ProbeResult,
    TrainingResult,
)

COMPUTING = ComputingRecord(precision="fp32", compiled=False)


def training_result(**changes: Any) -> TrainingResult:
    """Return the result of a training on a CPU."""
    fields = {
        "kimg": 1.0,
        "loss": 0.5,
        "val_loss": 0.6,
        "seconds": 1.0,
        "flops": 1.0,
        "device": "cpu",
        "parameters": 10,
    }
    return TrainingResult(**{**fields, "computing": COMPUTING, **changes})


def evaluation_result(**changes: Any) -> EvaluationResult:
    """Return the result of an evaluation on a CPU."""
    fields = {"metrics": {"fid_test": 1.0}, "scores": ("fid/test",), "label": "classifier features", "images": 120}
    return EvaluationResult(**{**fields, "seconds": 1.0, "flops": 1.0, "device": "cpu", **changes})


def probe_result(
    kimg_s: float = 30.0,
    forward_s: float = 10.0,
    spread: float = 1.0,
    training_gib: float = 1.0,
    sampling_gib: float = 1.0,
    **changes: Any,
) -> ProbeResult:
    """Return the result of a probe on a CPU that fits into the memory."""
    training = MeasuredTraining(kimg_s, spread, 8, training_gib, None, COMPUTING, 400, 100)
    fields = {"training": training, "drawing": MeasuredDrawing(forward_s, sampling_gib, 250), "device": "cpu"}
    return ProbeResult(**{**fields, "device_gib": None, "threads": 1, "seconds": 1.0, "flops": 1.0, **changes})
