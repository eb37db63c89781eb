"""Says what the scores of a table are."""

from __future__ import annotations

from pathlib import PurePath

import pandas as pd

LOSSES = "loss of the averaged weights on the val split; {}"  # the label of a table without scores


def describe_scores(frame: pd.DataFrame) -> str:
    """Describe the scores of comparable cells: features, number of images, reference and data set."""
    first = frame.iloc[0]
    size = first["sampling.resolution"]
    resolution = "" if pd.isna(size) else f" at {int(size)}x{int(size)}"
    reference = first.get("reference")
    parts = [_describe_features(first), f"{int(first['evaluation.images']):,} images drawn{resolution}"]
    if reference is not None and not pd.isna(reference):
        parts.append(str(reference))
    return "; ".join([*parts, data_title(first)])


def data_title(row: pd.Series) -> str:
    """Return what people call the data set of a cell: its name, or that of its folder or file."""
    path = row.get("data.path")
    own = "" if path is None or pd.isna(path) else PurePath(str(path)).name
    return own or str(row["data.name"])


def _describe_features(row: pd.Series) -> str:
    """The features of a cell, with the rule by which images were resized; the frame leaves out the default one."""
    features, rule = str(row["features"]), row.get("evaluation.resize")
    return f"{features}, {rule}'s resize" if features.startswith("Inception") and rule == "pytorch-fid" else features
