"""Make docs/sweep-file.md from the configuration classes: `uv run python docs/scripts/sweep_file.py`.

Fields, values, defaults and meanings come from the code: meanings are the `field: meaning` lines of the docstrings. A test
compares the page with what this makes.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)  # from here mlflow.py would be imported as MLflow

from edm.config import (  # noqa: E402
    PRESETS,
    DataConfig,
    EvaluationConfig,
    Extension,
    GuideConfig,
    ModelConfig,
    SamplingConfig,
    TrainingConfig,
)
from edm.cost import num_parameters  # noqa: E402
from experiments.sweep.spec import ReportConfig, ResourcesConfig, key_of  # noqa: E402

PAGE = ROOT / "docs" / "sweep-file.md"

HEAD = """\
# Sweep file reference

Made by `docs/scripts/sweep_file.py` from the configuration classes in the code.

A sweep file is YAML. It says what all cells of a table share and which fields vary. `edm-sweep init NAME` writes a
commented one to start from.

    name: sizes
    data:       {name: cifar10}
    model:      {preset: mini}
    training:   {kimg: 8000, batch_size: 32, lr: 1.0e-4}
    sampling:   {sampler: heun, steps: 18}
    evaluation: {images: 50000, features: inception}
    grid:
      model.attention: [false, true]
      sampling.guidance: [1, 1.5, 2]
    seeds: [0, 1, 2]
    report:
      rows: [model.attention]
      columns: [sampling.guidance]
      metrics: [fid_test]

Every section and every field is optional. Unknown keys, duplicate keys and impossible values are refused before anything
starts. The message says the file, the line and what to write instead.

    sweeps/x.yaml:12: model.preset: 'tny' is not one of nano, micro, mini, tiny, small, big; did you mean 'tiny'?

`2e-3`, `2.0e-3` and `0.002` are the same number, `.inf` is infinity, and `null` is no value.
Numbers that YAML 1.1 reads otherwise than people do, `010` (octal) and `2:00` (base 60), are refused. Dates are text. A file
has at most 128 KiB, 50 levels, and 50,000 entries with its aliases written out.

    x-short: &short {kimg: 10, batch_size: 32}      # an anchor, for use below
    training: {<<: *short, lr: 2.0e-4}

## Top level

| key | default | meaning |
| --- | --- | --- |
| `name` | the file's name | Name of the sweep, of its report folder and of its MLflow experiment. Commands accept it in place of the file once the sweep was run. It consists of at most 100 letters, digits, `_`, `-` and `.`. |
| `data`, `model`, `training`, `sampling`, `evaluation` | see below | Fields that all cells share. |
| `grid` | one cell | The axes and their values. A mapping is the product of its axes; a list of mappings is the union of their products. |
| `zip` | none | Axes that change together: their first values make one combination, their second values the next, and so on. Each is combined with every cell of `grid`. A list of mappings makes several such groups. |
| `exclude` | none | A list of mappings. A cell that matches all entries of one of them is left out. |
| `seeds` | `[0]` | Training seeds. Each network is trained once per seed. With two or more seeds, the table shows the mean and the standard deviation; with three or more, also a t interval. |
| `resources` | see below | The GPUs and cores of each trial. Not part of a signature. On CPUs the number of threads may change the last digits of a result. |
| `report` | see below | What the table shows. Never changes a result. |
| `extensions` | none | Python files that [add values to fields](extending.md), such as `[ideas.py]`. |
| `x-...` | none | Any key that begins with `x-` is yours: it may hold anything, such as values with an anchor. |

Any field of `data`, `model`, `training`, `sampling` and `evaluation` can be an axis, written `section.field` with a list
of values. `data`, `model`, `training` and `seeds` decide a training; `sampling` and `evaluation` decide an evaluation. So
cells that differ only in sampling or evaluation share one training.

    grid:
      - {model.preset: [tiny], model.attention: [false, true]}
      - {model.preset: [small, big]}
    zip: {training.batch_size: [32, 64], training.lr: [1.0e-4, 2.0e-4]}
    exclude: [{model.preset: big, training.batch_size: 64}]

On the command line, `--set section.field=value` overrides a field and `--set 'seeds=[0, 1]'` the seeds. A field that is an axis
of the sweep cannot be overridden.

Fields marked † are not part of a signature: changing one never repeats finished work.
"""

INTROS: dict[str, str] = {
    "data": "The images. [Data sets](datasets.md) describes each data set and says where its files come from.",
    "model": "The network. Background: [models and training](models.md).",
    "training": "How the network is trained. Background: [models and training](models.md).",
    "sampling": "How images are drawn from a trained network. Background: [sampling](sampling.md).",
    "sampling.guide": """\
The weaker network of autoguidance. Its training is the cell's own, except for the fields given here; at least one is
needed. Write it as a mapping: `guide: {preset: nano}`, or `guide: {from: weaker.pkl}` for a network that is trained already.""",
    "evaluation": "How drawn images are scored. Definitions and error bars: [evaluation](evaluation.md).",
    "resources": "The GPUs and cores of each trial. Background: [running](running.md).",
    "report": "The comparison table. Background: [reports](reports.md).",
}

CLASSES: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "sampling": SamplingConfig,
    "sampling.guide": GuideConfig,
    "evaluation": EvaluationConfig,
    "resources": ResourcesConfig,
    "report": ReportConfig,
}
OUTSIDE_SIGNATURES = ("resources", "report")

MORE: dict[str, str] = {  # pages that say more than a field's meaning
    "model.architecture": "[networks](models.md#networks-of-the-literature)",
    "model.precondition": "[preconditioning](models.md#preconditioning)",
    "model.from": "[formats](models.md#networks-that-somebody-else-trained)",
    "training.ema_rampup": "[averages of the weights](models.md#averages-of-the-weights)",
    "training.augment": "[pictures](augmentation.md)",
    "training.from": "[fine-tuning](models.md#fine-tuning)",
    "sampling.sampler": "[samplers](sampling.md#samplers)",
    "sampling.schedule": "[schedules](sampling.md#schedules)",
    "sampling.guide": "[sampling.guide](#samplingguide)",
    "evaluation.features": "[feature spaces](evaluation.md#feature-spaces-and-published-references)",
    "evaluation.reference": "[the bias of few real images](evaluation.md#the-bias-of-few-real-images)",
    "evaluation.metrics": "[the other metrics](evaluation.md#the-other-metrics)",
    "evaluation.stop_when": "[stopping early](evaluation.md#stopping-early)",
}

WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    str: "text",
    Extension: "[your own](extending.md)",
    type(None): "`null`",
}

PLURALS = {"whole number": "whole numbers", "number": "numbers"}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(name, kind) for name, kind in CLASSES.items())])


def section(name: str, kind: type) -> str:
    """One section: a line on it and a row for each field."""
    described = meanings(kind)
    lines = [f"## {name}\n", INTROS[name], "", "| field | values | default | meaning |", "| --- | --- | --- | --- |"]
    types_of = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        mark = "" if field.metadata.get("identity", True) and name not in OUTSIDE_SIGNATURES else " †"
        cells = (
            f"`{key_of(field)}`{mark}",
            values(types_of[field.name]),
            default(field),
            described[field.name] + see(f"{name}.{key_of(field)}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(presets() if name == "model" else [])])


def meanings(kind: type) -> dict[str, str]:
    """What a class's docstring says of each field, with values as YAML writes them."""
    found: dict[str, str] = {}
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        if start := re.match(r"(\w+): (.+)", line):
            found[start[1]] = start[2]
        elif line.startswith(" "):
            found[list(found)[-1]] += f" {line.strip()}"
    return {name: re.sub("`(None|True|False)`", in_yaml, text) for name, text in found.items()}


def in_yaml(constant: re.Match[str]) -> str:
    """A constant of Python as YAML."""
    return f"`{written({'None': None, 'True': True, 'False': False}[constant[1]])}`"


def see(field: str) -> str:
    """A link to the page that says more of a field, if there is one."""
    return f" See {MORE[field]}." if field in MORE else ""


def presets() -> list[str]:
    """The table of presets, with their parameters for images with three channels."""
    lines = ["### Presets\n", "The numbers of parameters are for RGB images without labels.", ""]
    lines += ["| preset | channels | depths | heads | bridge_heads | parameters | without attention |"]
    lines += ["| --- | ---: | --- | --- | ---: | ---: | ---: |"]
    for name, preset in PRESETS.items():
        counts = [num_parameters(ModelConfig(name, attention).network(3, 0, 0)) for attention in (True, False)]
        shape = (f"{preset.channels}", listed(preset.depths), listed(preset.heads), f"{preset.bridge_heads}")
        lines.append(f"| `{name}` | {' | '.join(shape)} | {' | '.join(f'{count:,}' for count in counts)} |")
    return [*lines, ""]


def values(kind: Any) -> str:
    """The values that a field takes, in words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return ", ".join(dict.fromkeys(values(arg) for arg in args))
    if origin is tuple:
        inner = [values(arg) for arg in args if arg is not Ellipsis]
        return f"list of {PLURALS.get(inner[0], inner[0])}" if Ellipsis in args else f"[{', '.join(inner)}]"
    return WORDS.get(kind, "mapping")


def default(field: dataclasses.Field[Any]) -> str:
    """A field's default as it would be written in YAML."""
    return f"`{written(field.default)}`"


def written(value: Any) -> str:
    """A value as YAML."""
    if isinstance(value, tuple):
        return listed(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return ".inf" if math.isinf(value) else f"{value:g}"
    return str(value)


def listed(values: tuple[Any, ...]) -> str:
    """A list as YAML."""
    return f"[{', '.join(map(written, values))}]"


if __name__ == "__main__":
    PAGE.write_text(page())
