"""The text of a new sweep file: commented, and complete, so that it runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from experiments.errors import UserError
from experiments.wording import did_you_mean

TemplateData = Literal["digits", "fashion_mnist", "cifar10", "celeba", "folder"]

COMMENT_COLUMN = 46  # where comments begin that follow something on their line
TEMPLATE = """\
# {name}: say here what it compares, and why.
#
#   edm-sweep plan {path} | show what would run, and what it would cost
#   edm-sweep run {path} | run whatever is missing; safe to repeat at any time
#   edm-sweep status {name} | follow it from another terminal, during the run and after
#
# docs/sweep-file.md describes every field. Any field of data, model, training, sampling and evaluation can be an axis.
name: {name}
{extensions}data:       {data}
model:      {{preset: {preset}}} | nano, micro (8x8); mini (32x32); tiny, small, big (128x128)
training:   {training} | kimg: 1,000 images
sampling:   {sampling} | changing these never trains again
evaluation: {evaluation}
grid: | every combination is a cell; a list of grids is their union
  model.attention: [false, true] | an axis of data, model or training: one training for each value
  {samplers} | an axis of sampling or evaluation: cells share their trainings
# zip: {{model.preset: [nano, micro], training.lr: [2.0e-3, 1.0e-3]}} | axes that move together
# exclude: [{{model.attention: true, sampling.sampler: euler}}] | combinations to leave out
seeds: [0] | training seeds; several give means and intervals over seeds
# resources: {{gpus: auto}} | GPUs of each trial; 0.5 packs two on a GPU, auto packs by memory
report:
  columns: [sampling.sampler] | these axes label the columns of the table; all others label its rows
"""
# of a sweep with an extension
EXTENSIONS = "extensions: [{file}] | your own samplers and more: docs/extending.md\n"
SAMPLERS = {
    False: "sampling.sampler: [euler, heun]",
    True: "sampling.sampler: [euler, adams]",
}
OPTION = "  sampling.sampler_options.weight: [0.25, 0.5] | an option that {file} declares\n"
IDEAS = '''\
"""Ideas of one's own, for {path}: what is registered here is a value of that file's fields.

docs/extending.md says what else can be registered. Change this function, and `edm-sweep run {path}` draws its images
again, and nothing else; a comment changes nothing.
"""

from dataclasses import dataclass

from edm import extend


@dataclass(frozen=True)
class AdamsOptions:
    """Options, each with a default. They can be axes: sampling.sampler_options.weight."""

    weight: float = 0.5


@extend.sampler("adams", options=AdamsOptions, history=1)
def adams(step, options):
    """Take Euler's step with the slope extrapolated from the step before: Adams-Bashforth, for a weight of 0.5."""
    slope, length = step.here.slope, step.to - step.here.sigma
    if step.past and step.to > 0:
        before = step.past[0]
        change = (slope - before.slope) / (step.here.sigma - before.sigma)
        slope = slope + options.weight * length * change
    return step.here.x + length * slope
'''
TRAINING = {
    "small": "kimg: 20, batch_size: 64, lr: 2.0e-3, ema_halflife_kimg: 1",
    "large": "kimg: 5000, batch_size: 128, lr: 2.0e-4",
}
EVALUATION = {
    "small": "{images: 1000, features: classifier} | quick; comparable within this data set only",
    "large": "{images: 50000, features: inception} | as papers report FID",
}
DATA: dict[TemplateData, str] = {
    "digits": "{name: digits} | scikit-learn's handwritten digits, 8x8: no download",
    "fashion_mnist": "{name: fashion_mnist} | 32x32, greyscale: a download of 31 MB",
    "cifar10": "{name: cifar10} | 32x32, colour: a download of 170 MB",
    "celeba": "{name: celeba, resolution: 128} | first run: edm-sweep data prepare celeba --from FOLDER",
    "folder": "{name: folder, path: images, resolution: 64} | one sub-folder per class, or add "
    "label_column: COLUMN of a table",
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
    choices = get_args(TemplateData)
    known = f"--data {data}: is not one of {', '.join(choices)}"
    raise UserError("; ".join(filter(None, (known, did_you_mean(data, choices)))))


def extension_template(path: Path) -> str:
    """Return the text of a file of extensions for the sweep file that is written to `path`."""
    return IDEAS.format(path=path)


def sweep_template(name: str, path: Path, data: TemplateData, extension: str | None = None) -> str:
    """Return the text of a sweep file called `name` that is to be written to `path`.

    extension: the name of the file of extensions that it uses.
    """
    size = "small" if data == "digits" else "large"
    has_classes = data != "celeba"  # without classes there is nothing to guide with
    dropout, guidance = (", label_dropout: 0.1", ", guidance: 2") if has_classes else ("", "")
    text = TEMPLATE.format(
        name=name,
        path=path,
        data=DATA[data],
        preset=PRESETS[data],
        training=f"{{{TRAINING[size]}{dropout}}}",
        sampling=f"{{sampler: heun, steps: 18{guidance}}}",
        evaluation=EVALUATION[size],
        extensions=EXTENSIONS.format(file=extension) if extension else "",
        samplers=SAMPLERS[extension is not None],
    )
    if extension:
        text = text.replace("# zip: ", f"{OPTION.format(file=extension)}# zip: ", 1)
    return "".join(f"{_aligned(line)}\n" for line in text.splitlines())


def _aligned(line: str) -> str:
    """A line whose comment, after a bar, begins at COMMENT_COLUMN, or two spaces after a longer text."""
    text, bar, comment = line.partition(" | ")
    return f"{text:<{COMMENT_COLUMN - 2}}  # {comment}" if bar else text
