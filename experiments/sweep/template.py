"""The text of a new sweep file: commented, and complete, so that it runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from experiments.errors import UserError

TemplateData = Literal["digits", "fashion_mnist", "cifar10", "celeba", "folder"]

TEMPLATE = """\
# {name}: say here what it compares, and why.
#
#   edm-sweep plan {path}     # show what would run, and what it would cost
#   edm-sweep run {path}      # run whatever is missing; safe to repeat at any time
#   edm-sweep status {name}   # follow it from another terminal, during the run and after
#
# docs/sweep-file.md describes every field. Any field of data, model, training, sampling and evaluation can be an axis.
name: {name}
{data}
model:      {{preset: {preset}}}                 # nano, micro (8x8); mini (32x32); tiny, small, big (128x128)
{training}
{sampling}
{evaluation}
grid:                                         # every combination of these values is a cell; a list of grids is a union
  model.attention: [false, true]              # an axis of data, model or training: one training for each value
  sampling.sampler: [euler, heun]             # an axis of sampling or evaluation: cells share their trainings
# zip: {{model.preset: [nano, micro], training.lr: [2.0e-3, 1.0e-3]}}   # axes that move together
# exclude: [{{model.attention: true, sampling.sampler: euler}}]          # combinations to leave out
seeds: [0]                                    # training seeds; several give means and intervals over seeds
# resources: {{gpus: auto}}                     # per trial; 0.5 packs two on a GPU, auto packs by memory
report:
  columns: [sampling.sampler]                 # these axes label the columns of the table; all others label its rows
"""
TRAINING = {
    "small": "training:   {{kimg: 20, batch_size: 64, lr: 2.0e-3, ema_halflife_kimg: 2{dropout}}}",
    "large": "training:   {{kimg: 5000, batch_size: 128, lr: 2.0e-4{dropout}}}   # kimg: thousands of images seen",
}
EVALUATION = {
    "small": "evaluation: {images: 1000, features: classifier}   # quick; comparable within this data set only",
    "large": "evaluation: {images: 50000, features: inception}   # as papers report FID",
}
DATA: dict[TemplateData, str] = {
    "digits": "data:       {name: digits}                    # scikit-learn's handwritten digits, 8x8: no download",
    "fashion_mnist": "data:       {name: fashion_mnist}             # 32x32, grayscale: a download of 31 MB",
    "cifar10": "data:       {name: cifar10}                   # 32x32, colour: a download of 170 MB",
    "celeba": "data:       {name: celeba, resolution: 128}   # first run: edm-sweep data prepare celeba --from FOLDER",
    "folder": "data:       {name: folder, path: images, resolution: 64}   # your images, one sub-folder per class",
}
PRESETS: dict[TemplateData, str] = {
    "digits": "nano",
    "fashion_mnist": "mini",
    "cifar10": "mini",
    "celeba": "tiny",
    "folder": "mini",
}


def template_data(data: str) -> TemplateData:
    """Return `data` as the name of a data set that a sweep file can start with; raises UserError."""
    for name in get_args(TemplateData):
        if name == data:
            return name
    raise UserError(f"--data {data}: is not one of {', '.join(get_args(TemplateData))}")


def sweep_template(name: str, path: Path, data: TemplateData) -> str:
    """Return the text of a sweep file called `name` that is to be written to `path`."""
    size = "small" if data == "digits" else "large"
    has_classes = data != "celeba"  # without classes there is nothing to guide with
    guidance = ", guidance: 2" if has_classes else ""
    return TEMPLATE.format(
        name=name,
        path=path,
        data=DATA[data],
        preset=PRESETS[data],
        training=TRAINING[size].format(dropout=", label_dropout: 0.1" if has_classes else ""),
        sampling=f"sampling:   {{sampler: heun, steps: 18{guidance}}}   # changing these never trains again",
        evaluation=EVALUATION[size],
    )
