"""A first sweep file of a person's own: commented, and complete, so that it runs as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, cast, get_args

from experiments.errors import UserError
from experiments.store.files import replacing

Start = Literal["digits", "fashion_mnist", "cifar10", "celeba", "folder"]

TEMPLATE = """\
# {name}: what is compared, and why.
#
#   edm-sweep plan {path}     # what would run, and what it would cost
#   edm-sweep run {path}      # run what is missing; safe to repeat, always
#   edm-sweep status {name}   # from any other terminal, while it runs and after
#
# Every field and its meaning: edm/config.py. Any of data, model, training, sampling and evaluation can be an axis.
name: {name}
{data}
model:      {{preset: {preset}}}                 # nano, micro (8x8); mini (32x32); tiny, small, big (128x128)
{training}
sampling:   {{sampler: heun, steps: 18, guidance: 2}}   # drawing anew never trains anew
{evaluation}
grid:                                         # a mapping is a product; a list of mappings is their union
  model.attention: [false, true]              # a model or training axis: a training each
  sampling.sampler: [euler, heun]             # a sampling axis: shares the trainings
# zip: {{model.preset: [nano, micro], training.lr: [2.0e-3, 1.0e-3]}}   # axes that move together
# exclude: [{{model.attention: true, sampling.sampler: euler}}]          # combinations to leave out
seeds: [0]                                    # of training; [0, 1, 2] gives means, and intervals over seeds
# resources: {{gpus: auto}}                     # 1 GPU each by default; 0.5 packs two on one; auto packs by memory
report:
  rows: [model.attention, sampling.sampler]   # every axis is a row or a column
"""
TRAINING = {
    "small": "training:   {kimg: 20, batch_size: 64, lr: 2.0e-3, ema_halflife_kimg: 2, label_dropout: 0.1}",
    "whole": "training:   {kimg: 5000, batch_size: 128, lr: 2.0e-4, label_dropout: 0.1}   # thousands of images seen",
}
EVALUATION = {
    "small": "evaluation: {images: 1000, features: classifier}   # distances by a small network: one table only",
    "whole": "evaluation: {images: 50000, features: inception}",
}
DATA: dict[Start, str] = {
    "digits": "data:       {name: digits}                    # scikit-learn's handwritten digits, 8x8: no download",
    "fashion_mnist": "data:       {name: fashion_mnist}             # 32x32 gray, 31 MB to download",
    "cifar10": "data:       {name: cifar10}                   # 32x32 RGB, 170 MB to download",
    "celeba": "data:       {name: celeba, resolution: 128}   # see: edm-sweep data prepare celeba --from DIR",
    "folder": "data:       {name: folder, path: images, resolution: 64}   # a tree of images, a class per sub-folder",
}
PRESETS: dict[Start, str] = {
    "digits": "nano",
    "fashion_mnist": "mini",
    "cifar10": "mini",
    "celeba": "tiny",
    "folder": "mini",
}


def start_sweep(name: str, data: str, folder: Path | None = None) -> Path:
    """Write a sweep file to start from, where there is none yet; its path. Raises UserError.

    folder: where, by default sweeps/ where there is such a folder, else here.
    """
    stem = name.removesuffix(".yaml")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", stem):
        raise UserError(f"{name}: cannot name a sweep; use letters, digits, '_', '-' and '.'")
    if data not in get_args(Start):
        raise UserError(f"--data {data}: is not one of {', '.join(get_args(Start))}")
    place = folder or (Path("sweeps") if Path("sweeps").is_dir() else Path())
    path = place / f"{stem}.yaml"
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name, or edit it")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(_text(stem, path, cast(Start, data)))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another folder with --folder") from None
    return path


def _text(name: str, path: Path, data: Start) -> str:
    size = "small" if data == "digits" else "whole"
    text = TEMPLATE.format(
        name=name,
        path=path,
        data=DATA[data],
        preset=PRESETS[data],
        training=TRAINING[size],
        evaluation=EVALUATION[size],
    )
    if data == "celeba":  # which has no classes
        text = text.replace(", guidance: 2}", "}").replace(", label_dropout: 0.1", "")
    return text
