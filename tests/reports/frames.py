"""Frames of results to make reports of."""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from reports.folder import write_report
from reports.layout import Layout
from reports.report import Report
from reports.significance import PairedErrors

HOSTILE = ["<script>alert(1)</script>", "a_b & 100% $x^2$ \\{#~}", "=cmd('calc')", "x|y*z`"]  # names of presets
NO_CURVES = pd.DataFrame(columns=["training", "kimg", "loss", "val_loss"])
LAYOUT = Layout("trial", rows=("model.preset", "model.attention"))


def frame(seeds: int = 1, **changes) -> pd.DataFrame:
    """Four cells, or four for each of several seeds."""
    rows = [
        {
            "cell": f"{preset}/{attention}/{seed}",
            "model.preset": preset,
            "model.attention": attention,
            "model.depths": None,
            "training.kimg": 50.0,
            "data.name": "digits",
            "evaluation.images": 1000,
            "sampling.resolution": None,
            "seed": seed,
            "data": "abc",
            "features": "FID, classifier features, 64-d",
            "reference": "300 real images of each split",
            "status": "done",
            "fid_test": 10.0 * (1 + p) + attention + seed,
            "class_accuracy": 0.9 + 0.01 * p,
            "noise_fid_test": 99.0,
            "real_fid_test": 0.5,
        }
        for p, preset in enumerate(("nano", "micro"))
        for attention in (False, True)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(**changes)


PUBLISHED = Layout(
    "edm", rows=("model.from", "sampling.sampler", "sampling.steps"), metrics=("fid_train",), reference="edm_2022"
)
CHURN = {"sampling.s_churn": 40.0, "sampling.s_min": 0.05, "sampling.s_max": 50.0, "sampling.s_noise": 1.003}


def published() -> pd.DataFrame:
    """EDM's networks of CIFAR-10 and ImageNet, drawn from as in the paper and otherwise."""
    cifar, imagenet = "edm-cifar10-32x32-cond-vp.pkl", "edm-imagenet-64x64-cond-adm.pkl"
    cells = [
        (cifar, "heun", 18, 1.82, {}),
        (cifar, "euler", 18, 6.1, {}),
        (imagenet, "stochastic_heun", 256, 1.41, CHURN),
        (imagenet, "heun", 40, 2.24, {}),
    ]
    made = pd.DataFrame([_published_row(*cell) for cell in cells])
    return made.astype(dict.fromkeys(("model.from", "sampling.sampler", *CHURN), object))


def _published_row(network: str, sampler: str, steps: int, fid: float, churn: dict[str, float]) -> dict[str, Any]:
    is_cifar = "cifar" in network
    return {
        **dict.fromkeys(CHURN, 0.0),
        **churn,
        "cell": f"{network}/{sampler}/{steps}",
        "model.from": network,
        "parameters": 55735299 if is_cifar else 295899267,
        "sampling.sampler": sampler,
        "sampling.steps": steps,
        "sampling.schedule": "karras",
        "sampling.guidance": 1.0,
        "sampling.resolution": None,
        "evaluation.images": 50000,
        "evaluation.features": "inception",
        "evaluation.resize": "tensorflow",
        "evaluation.reference": "all",
        "data.name": "cifar10" if is_cifar else "folder",
        "data": "c" if is_cifar else "i",
        "features": "Inception features, 2048-d",
        "reference": "50,000 real images" if is_cifar else "1,281,167 real images",
        "seed": 0,
        "status": "done",
        "fid_train": fid,
        "fid_train_se": 0.02,
    }


def with_errors(made: pd.DataFrame, error: float = 0.2) -> pd.DataFrame:
    """The cells with standard errors."""
    return made.assign(fid_test_se=error, class_accuracy_se=0.005)


def full(made: pd.DataFrame) -> pd.DataFrame:
    """The cells with every metric of the fidelity and memorisation tables."""
    scores = {"kid": 0.0123, "precision": 0.9, "recall": 0.8, "density": 1.25, "coverage": 0.95, "fid_infinity": 9.0}
    return made.assign(
        **{f"{name}_test": value for name, value in scores.items()},
        fid_infinity_test_se=0.1,
        noise_kid_test=0.5,
        real_kid_test=0.001,
        nn_ratio_pixels=0.98,
        nn_ratio_features=0.95,
        real_nn_ratio_pixels=1.01,
        real_nn_ratio_features=0.99,
        real_images=897,
    )


def errors_of(cells: Sequence[str], covariance: np.ndarray) -> PairedErrors:
    """Errors with this covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return PairedErrors(tuple(cells), vectors * np.sqrt(np.clip(values, 0, None)))


def covariance_of(paired: PairedErrors) -> np.ndarray:
    """The covariance of errors."""
    return paired.deviations @ paired.deviations.T


def report(made: pd.DataFrame, tmp_path: Path, layout: Layout = LAYOUT) -> Report:
    """A report of cells with pictures and a loss curve."""
    pictures = {}
    for cell in made["cell"]:
        pictures[cell] = tmp_path / f"{cell.replace('/', '_')}.png"
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(pictures[cell])
    curves = pd.DataFrame(
        {"training": ["a"] * 4, "kimg": [1, 2, 3, 3], "loss": [1, 0.5, 0.4, None], "val_loss": [None, None, None, 0.5]}
    )
    return Report((layout,), made, curves, pictures, {"git_commit": "0123"})


def page_of(made: Report, tmp_path: Path) -> str:
    """The HTML page of a report."""
    return write_report(made, tmp_path / "out").read_text()


def data_of(page: str) -> dict[str, Any]:
    """What the page's script works with."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# the sweeps that the terminal's snapshots show ----------------------------------------------------

SCORES = {  # of the digits sweep in this order: FID train, val, test and class accuracy in percent, with margins
    ("nano", False, 1, "euler"): (1.38, 0.17, 1.40, 0.18, 0.78, 0.11, 95.3, 1.3),
    ("nano", False, 1, "heun"): (1.73, 0.20, 1.44, 0.19, 0.90, 0.13, 90.7, 1.8),
    ("nano", False, 1, "stochastic_heun"): (1.77, 0.21, 1.05, 0.15, 0.94, 0.14, 93.2, 1.5),
    ("nano", False, 2, "euler"): (1.72, 0.09, 1.98, 0.10, 2.18, 0.11, 100.0, 0.0),
    ("nano", False, 2, "heun"): (1.28, 0.09, 1.33, 0.09, 1.50, 0.10, 100.0, 0.0),
    ("nano", False, 2, "stochastic_heun"): (1.03, 0.08, 0.99, 0.08, 1.14, 0.09, 100.0, 0.0),
    ("nano", True, 1, "euler"): (1.39, 0.18, 1.45, 0.19, 0.78, 0.12, 95.5, 1.3),
    ("nano", True, 1, "heun"): (1.74, 0.20, 1.48, 0.20, 0.90, 0.14, 91.7, 1.7),
    ("nano", True, 1, "stochastic_heun"): (1.75, 0.20, 1.13, 0.16, 0.89, 0.13, 93.0, 1.6),
    ("nano", True, 2, "euler"): (1.76, 0.10, 2.03, 0.10, 2.20, 0.12, 100.0, 0.0),
    ("nano", True, 2, "heun"): (1.35, 0.10, 1.42, 0.10, 1.54, 0.11, 100.0, 0.0),
    ("nano", True, 2, "stochastic_heun"): (1.11, 0.09, 1.09, 0.09, 1.25, 0.10, 100.0, 0.0),
    ("micro", False, 1, "euler"): (1.23, 0.17, 1.30, 0.17, 0.69, 0.11, 95.6, 1.3),
    ("micro", False, 1, "heun"): (1.53, 0.19, 1.29, 0.18, 0.77, 0.13, 92.5, 1.6),
    ("micro", False, 1, "stochastic_heun"): (1.56, 0.19, 0.99, 0.14, 0.80, 0.13, 94.0, 1.5),
    ("micro", False, 2, "euler"): (1.76, 0.10, 2.12, 0.11, 2.25, 0.12, 100.0, 0.0),
    ("micro", False, 2, "heun"): (1.28, 0.10, 1.47, 0.10, 1.55, 0.12, 99.9, 0.2),
    ("micro", False, 2, "stochastic_heun"): (1.01, 0.09, 1.07, 0.09, 1.17, 0.09, 99.9, 0.2),
    ("micro", True, 1, "euler"): (1.25, 0.17, 1.34, 0.17, 0.73, 0.12, 94.8, 1.4),
    ("micro", True, 1, "heun"): (1.60, 0.20, 1.35, 0.19, 0.84, 0.14, 91.4, 1.7),
    ("micro", True, 1, "stochastic_heun"): (1.81, 0.21, 1.11, 0.16, 0.86, 0.13, 92.7, 1.6),
    ("micro", True, 2, "euler"): (1.76, 0.10, 2.07, 0.11, 2.19, 0.12, 100.0, 0.0),
    ("micro", True, 2, "heun"): (1.33, 0.10, 1.44, 0.10, 1.50, 0.12, 99.9, 0.2),
    ("micro", True, 2, "stochastic_heun"): (1.13, 0.08, 1.03, 0.08, 1.11, 0.08, 100.0, 0.0),
}
DIGITS_AXES = ("model.preset", "model.attention", "sampling.guidance", "sampling.sampler")
DIGITS = Layout("digits", rows=DIGITS_AXES)
NORMAL_95 = 1.959964


def digits() -> pd.DataFrame:
    """The sweep of the quickstart: 24 cells of four axes with four metrics."""
    return pd.DataFrame([_digits_row(axes, scores) for axes, scores in SCORES.items()])


def _digits_row(axes: tuple, scores: tuple[float, ...]) -> dict:
    train, train_margin, val, val_margin, test, test_margin, accuracy, accuracy_margin = scores
    return {
        **dict(zip(DIGITS_AXES, axes, strict=True)),
        "cell": "/".join(map(str, axes)),
        "data.name": "digits",
        "evaluation.images": 1000,
        "sampling.resolution": None,
        "seed": 0,
        "data": "abc",
        "features": "classifier features, 64-d",
        "reference": "300 real images of each split",
        "status": "done",
        "fid_train": train,
        "fid_train_se": train_margin / NORMAL_95,
        "fid_val": val,
        "fid_val_se": val_margin / NORMAL_95,
        "fid_test": test,
        "fid_test_se": test_margin / NORMAL_95,
        "class_accuracy": accuracy / 100,
        "class_accuracy_se": accuracy_margin / NORMAL_95 / 100,
        "noise_fid_train": 32.93,
        "noise_fid_val": 30.12,
        "noise_fid_test": 28.83,
        "real_fid_train": 0.74,
        "real_fid_val": 0.78,
        "real_fid_test": 0.60,
        "real_images": 897,
    }


LONG_AXES = Layout("long", rows=("data.path", "sampling.guidance_interval", "model.channels"))


def long_axis_values() -> pd.DataFrame:
    """Four cells of three axes with values that are longer than some terminals are wide."""
    paths = ("/data/collections/photographs-of-birds/2024/cropped_to_square", "/data/collections/plants")
    rows = [
        {**row, "data.path": path, "sampling.guidance_interval": interval, "model.channels": "64,128,256,512,1024,2048"}
        for row, (path, interval) in zip(
            digits().to_dict("records"),
            [(path, value) for path in paths for value in (None, "0.28,5.42")],
            strict=False,
        )
    ]
    return pd.DataFrame(rows).assign(cell=[f"cell{i}" for i in range(len(rows))])


PIVOT = Layout(
    "pivot",
    rows=("model.preset", "model.attention", "sampling.guidance"),
    columns=("sampling.sampler",),
    metrics=("fid_val", "fid_test"),
)
LARGE = Layout("large", rows=("model.preset", "model.attention"))


def large_numbers() -> pd.DataFrame:
    """Twelve cells of three seeds with kernel distances of five digits."""
    made = frame(seeds=3)
    large = {
        f"kid_{split}": [27.6573 + i % 3 * 0.12 + 0.9 * (i // 3) for i in range(12)]
        for split in ("train", "val", "test")
    }
    return made.drop(columns=["fid_test", "noise_fid_test", "real_fid_test"]).assign(
        **large, noise_kid_test=41.3842, real_kid_test=0.0021, real_images=897
    )


WIDE_RANGE = Layout("wide_range", rows=("model.preset", "model.attention"))


def wide_range() -> pd.DataFrame:
    """Four cells, one of them with an FID and an interval far larger than the others have."""
    columns = {f"fid_{split}": [27657.3, 310.5, 298.7, 305.1] for split in ("train", "val", "test")}
    errors = {f"{name}_se": [312.4 / NORMAL_95, 1.3, 1.1, 1.2] for name in columns}
    return frame().assign(**columns, **errors)


UNFINISHED = Layout("unfinished", rows=("model.preset", "model.attention"))


def unfinished() -> pd.DataFrame:
    """Twelve cells of three seeds, of which some are missing, stopped or pruned."""
    made = frame(seeds=3).assign(fid_val=[27657.3 + 312.4 * i for i in range(12)])
    made.loc[[1, 3, 4, 5, 6, 11], ["fid_test", "fid_val", "class_accuracy"]] = np.nan
    ends = {3: (200_000.0, None), 4: (None, 12.5), 5: (None, 12.5), 11: (50_000.0, None)}
    return made.assign(
        stopped_at=[ends.get(i, (None, None))[0] for i in range(12)],
        pruned_at=[ends.get(i, (None, None))[1] for i in range(12)],
    )


SEEDS = Layout("seeds", rows=("model.preset", "model.attention"), baseline={"model.attention": True})


def several_seeds() -> pd.DataFrame:
    """Four cells with scores that vary over four seeds."""
    made = frame(seeds=4)
    return made.assign(fid_test=made["fid_test"] + np.random.default_rng(0).normal(0, 0.1, len(made)))


SWEEPS = {
    "digits": (digits, DIGITS),
    "long": (long_axis_values, LONG_AXES),
    "pivot": (digits, PIVOT),
    "large": (large_numbers, LARGE),
    "wide_range": (wide_range, WIDE_RANGE),
    "unfinished": (unfinished, UNFINISHED),
    "seeds": (several_seeds, SEEDS),
}


def samplers() -> pd.DataFrame:
    """Two samplers at three numbers of steps with two seeds, and their truncation errors."""
    rows = []
    for (sampler, order), steps, seed in itertools.product({"euler": 1, "heun": 2}.items(), (8, 16, 32), (0, 1)):
        error = steps**-order * (1 + seed)
        base = frame().iloc[0].to_dict()
        rows.append({**base, "cell": f"{sampler}{steps}/{seed}", "seed": seed, "sampling.sampler": sampler,
                     "sampling.steps": steps, "nfe": steps * order, "truncation_rms": error})  # fmt: skip
    return pd.DataFrame(rows)


def restored(value: str) -> str:
    """The text that a cell of a CSV file was written from."""
    begins_like_a_formula = value.lstrip("'").startswith(("=", "+", "-", "@", "\t", "\r"))
    return value.removeprefix("'") if begins_like_a_formula else value
