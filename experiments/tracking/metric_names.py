"""What the numbers of a training are called in MLflow.

MLflow draws the charts of metrics with a slash first, those of each prefix together, and prefixes in alphabetical
order; all others come after them, and "system/" has a page of its own. So the loss is what one sees first.
"""

from __future__ import annotations

from experiments.store.layout import JOURNAL, VALIDATION

LOSSES = ("loss/train", "loss/val")
BY_NOISE = "loss_by_noise/"  # how metrics begin that are losses on the val split at one noise level
METRIC_OF = {  # the metric of each number of a journal's line
    **dict(zip(("loss", "val_loss"), LOSSES, strict=True)),
    "kimg": "kimg",
    "images_per_s": "system/images_per_s",
    "memory_gib": "system/memory_gib",
}
FORMER = {LOSSES[0]: "loss", LOSSES[1]: "val_loss", BY_NOISE: "val_loss_at/"}  # names in records of before
CURVES = dict(zip((JOURNAL, VALIDATION), LOSSES, strict=True))  # a training's files, and a metric of every line
