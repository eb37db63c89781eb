"""The data dictionary of results.csv: what every column means, and its unit."""

from __future__ import annotations

import pandas as pd

from reports.metrics import METRICS, unscaled_title

PARAMETERS = ("data.", "model.", "training.", "sampling.", "evaluation.")  # how a frame's columns of parameters begin
MEANINGS = {  # with units
    "cell": ("name of the cell, which commands accept", ""),
    "seed": ("training seed", ""),
    "data": ("signature of the data set", ""),
    "training": ("signature of the training", ""),
    "evaluation": ("signature of the evaluation", ""),
    "features": ("feature space of the scores", ""),
    "reference": ("real images that drawn ones are compared with", ""),
    "nfe": ("network evaluations for each image", "evaluations"),
    "status": ("done, stopped (early, as clearly worse), pruned (its training) or missing; only done has scores", ""),
    "stopped_at": ("images drawn until the evaluation was stopped", "images"),
    "pruned_at": ("images seen when the training was pruned", "kimg"),
    "real_images": ("real images that the row of real images is made from", "images"),
    "notes": ("remarks, separated by semicolons", ""),
    "training_name": ("name of the training, which commands accept", ""),
    "parameters": ("trainable parameters of the network", "parameters"),
    "val_loss": ("loss of the finished network on the val split, at fixed noise; empty until it is trained", ""),
    "training_s": ("time of the training; differs from one run to the next", "s"),
    "gpu_hours": ("time of the training on all its GPUs together; empty on a CPU; differs between runs", "h"),
}
ENDINGS = {
    "_se": "standard error of {}",
    "_low": "lower end of the 95% interval of {}",
    "_high": "upper end of the 95% interval of {}",
}
PREFIXES = {"noise_": "{} of images of pure noise", "real_": "{} of real images, held out from the reference"}
UNITS = {"truncation": "grey levels", "class_accuracy": "share", "nn_copied": "share"}
CHANCE = "standard deviation of {} if nothing is copied, over random splits of the real images"
METRIC_NAMES = {"nn_ratio": "median distance to the nearest train image by that to the nearest test image"}


def describe_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a frame of results with their meanings and units."""
    rows = [(name, *_describe(name)) for name in map(str, frame.columns)]
    return pd.DataFrame(rows, columns=["column", "meaning", "unit"])


def _describe(column: str) -> tuple[str, str]:
    if column in MEANINGS:
        return MEANINGS[column]
    if column.startswith(PARAMETERS):
        return f"the sweep file's field {column}", _unit_of_parameter(column)
    for prefix, meaning in PREFIXES.items():
        if column.startswith(prefix):
            name, unit = _describe(column.removeprefix(prefix))
            return meaning.format(name), unit
    for ending, meaning in ENDINGS.items():
        if column.endswith(ending):
            name, unit = _describe(column.removesuffix(ending))
            return (CHANCE if column.startswith("nn_copied") else meaning).format(name), unit
    return _describe_metric(column)


def _describe_metric(column: str) -> tuple[str, str]:
    unit = next((unit for start, unit in UNITS.items() if column.startswith(start)), "")
    title = unscaled_title(column) if column in METRICS else column
    return next((text for start, text in METRIC_NAMES.items() if column.startswith(start)), title), unit


def _unit_of_parameter(column: str) -> str:
    if column in ("evaluation.images", "training.batch_size", "training.micro_batch"):
        return "images"
    return "kimg" if column.endswith("kimg") else ""
