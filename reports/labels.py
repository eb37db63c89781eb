"""Says what the scores of a table are."""

from __future__ import annotations

from pathlib import PurePath

import pandas as pd

from reports.values import show_value

SIGNATURE_DIGITS = 6  # of a data set that nothing else tells from another
DATA_TITLE = "data_title"  # the column of titles that tell data sets apart
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
    if DATA_TITLE in row.index:
        return str(row[DATA_TITLE])
    path = row.get("data.path")
    own = "" if path is None or pd.isna(path) else PurePath(str(path)).name
    return own or str(row["data.name"])


def data_titles(frame: pd.DataFrame) -> dict[str, str]:
    """Return a title of its own for every data set, by signature, such as "birds (resolution=32)"."""
    firsts = frame.drop_duplicates("data")
    titles = {str(row["data"]): data_title(row) for _, row in firsts.iterrows()}
    for _, alike in firsts.groupby(firsts["data"].map(titles)):
        if len(alike) > 1:
            fields = [name for name in map(str, alike.columns) if name.startswith("data.")]
            differing = [name for name in fields if alike[name].map(show_value).nunique() > 1]
            for _, row in alike.iterrows():
                own = ", ".join(f"{name.removeprefix('data.')}={show_value(row[name])}" for name in differing)
                titles[str(row["data"])] += f" ({own or str(row['data'])[:SIGNATURE_DIGITS]})"
    return titles


def with_data_titles(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which every data set has a title of its own."""
    return frame.assign(**{DATA_TITLE: frame["data"].map(data_titles(frame))})


def _describe_features(row: pd.Series) -> str:
    """The features of a cell, with the rule by which images were resized; the frame leaves out the default one."""
    features, rule = str(row["features"]), row.get("evaluation.resize")
    return f"{features}, {rule}'s resize" if features.startswith("Inception") and rule == "pytorch-fid" else features
