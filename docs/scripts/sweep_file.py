"""Make docs/sweep-file.md from the configuration classes: `uv run python docs/scripts/sweep_file.py`.

Fields, values and defaults come from the code, meanings from MEANINGS below. A test compares the page with what this
makes, so that no field is missing, invented or given another default.
"""

from __future__ import annotations

import dataclasses
import math
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
    GuideConfig,
    ModelConfig,
    SamplingConfig,
    TrainingConfig,
)
from edm.cost import num_parameters  # noqa: E402
from experiments.sweep.spec import ReportConfig, ResourcesConfig  # noqa: E402

PAGE = ROOT / "docs" / "sweep-file.md"

HEAD = """\
# Sweep file reference

Made by `docs/scripts/sweep_file.py` from the configuration classes, so every field and every default is as in the code.

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

Every section and every field is optional. Unknown keys, duplicate keys and values that cannot work are refused before
anything starts, with the file, the line and what to write instead.

    sweeps/x.yaml:12: model.preset: 'tny' is not one of nano, micro, mini, tiny, small, big; did you mean 'tiny'?

`2e-3`, `2.0e-3` and `0.002` are the same number, `.inf` is infinity, and `null` is no value.

## Top level

| key | default | meaning |
| --- | --- | --- |
| `name` | the file's name | Name of the sweep: of its report folder, its MLflow experiment, and what commands call it afterwards. Letters, digits, `_`, `-` and `.`. |
| `data`, `model`, `training`, `sampling`, `evaluation` | see below | What all cells share. |
| `grid` | one cell | The axes and their values. A mapping is the product of its axes; a list of mappings is the union of their products. |
| `zip` | none | Axes that move together: the first values, the second values, and so on. Multiplies with `grid`. A list of mappings makes several such groups. |
| `exclude` | none | A list of mappings. A cell that matches all entries of one of them is left out. |
| `seeds` | `[0]` | Seeds of training. Each network is trained once per seed; the table then shows the mean and the standard deviation and, from three seeds on, a t interval. |
| `resources` | see below | What a trial gets. Not part of a signature. On CPUs the number of threads may change the last digits. |
| `report` | see below | What the table shows. Never changes a result. |

Any field of `data`, `model`, `training`, `sampling` and `evaluation` can be an axis, written `section.field` with a list
of values. `data`, `model`, `training` and `seeds` decide a training; `sampling` and `evaluation` decide an evaluation. So
cells that differ only in sampling or evaluation share one training.

    grid:
      - {model.preset: [tiny], model.attention: [false, true]}
      - {model.preset: [small, big]}
    zip: {training.batch_size: [32, 64], training.lr: [1.0e-4, 2.0e-4]}
    exclude: [{model.preset: big, training.batch_size: 64}]

`--set section.field=value` overrides a field on the command line, `--set 'seeds=[0, 1]'` the seeds.

Fields marked † are not part of a signature: changing one never repeats finished work.
"""

INTROS: dict[str, str] = {
    "data": "Which images. What each data set is and where its files come from: [data sets](datasets.md).",
    "model": "The network. Background: [models and training](models.md).",
    "training": "How the network is trained. Background: [models and training](models.md).",
    "sampling": "How images are drawn from a trained network. Background: [sampling](sampling.md).",
    "sampling.guide": """\
The weaker network of autoguidance: another training, made from the cell's own by changing what is given here. At least
one field is needed. Write it as a mapping: `guide: {preset: nano}`.""",
    "evaluation": "How drawn images are scored. Definitions and error bars: [evaluation](evaluation.md).",
    "resources": "What each trial gets. Background: [running](running.md).",
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

MEANINGS: dict[str, str] = {
    "data.name": "The data set.",
    "data.resolution": "Pixels a side that images are resized to. For `celeba` (128 if not given) and `folder` (required); the other data sets have one size.",
    "data.splits": "`study`: the split sizes of the 2023 study. `official`: CelebA's own partition, for `celeba` only.",
    "data.path": "The folder of images, relative to where the command runs. For `folder`, and required there. The images enter the signature, the path does not.",
    "data.channels": "3 is RGB (the default of a folder), 1 is grey. For `folder` only.",
    "data.split_seed": "Seed of the split of a folder that has no `train`, `val` and `test` sub-folders. For `folder` only.",
    "model.preset": "The network to start from; the fields below override parts of it.",
    "model.attention": "Self-attention. `true`: as the preset has it. `false` or `none`: nowhere. `bridge`: in the bridge (the lowest resolution) only. `levels`: after every block of every level and in the bridge.",
    "model.channels": "Channels of the first level; every level further down has twice as many. `null`: the preset's.",
    "model.depths": "Residual blocks of each level, one number per level. The image is halved once per level. `null`: the preset's.",
    "model.heads": "Attention heads after each block of a level, one number per level; 0 is no attention. `null`: the preset's.",
    "model.bridge_heads": "Attention heads in the bridge; 0 is no attention. `null`: the preset's.",
    "model.cond_channels": "Channels of the embedding of noise level and label. Even.",
    "model.norm": "`batch`: batch norm, as in the 2023 study. `group`: group norm, as in EDM. Both are scaled and shifted by noise level and label.",
    "model.resample": "Between levels. `pool`: pooling and a convolution, as in the study. `residual`: resampling residual blocks, as in EDM.",
    "model.init": "`torch`: PyTorch's default weights, as in the study. `edm`: every block starts as the identity and the network as zero.",
    "model.dropout": "Share of activations dropped in training, before a block's last convolution. EDM uses 0.13 on CIFAR-10.",
    "training.kimg": "Thousands of images to train on, counting repetitions.",
    "training.batch_size": "Images per gradient step.",
    "training.lr": "Learning rate.",
    "training.ema_halflife_kimg": "Half-life, in thousands of images, of the average of the weights that images are drawn from. Never more than `ema_rampup` of the images seen. 0: no average.",
    "training.label_dropout": "Share of labels hidden in training, which trains the unconditional branch that guidance needs. 1 trains that branch only.",
    "training.p_mean": "Mean of ln(sigma) of the noise levels trained on.",
    "training.p_std": "Standard deviation of ln(sigma) of the noise levels trained on.",
    "training.optimizer": "The optimizer.",
    "training.weight_decay": "Weight decay. For `adamw` only.",
    "training.warmup_kimg": "Thousands of images over which the learning rate rises from 0.",
    "training.clip_norm": "Largest norm of the gradient; longer ones are scaled down. `null`: not limited.",
    "training.micro_batch": "Images that go through the network at once; their gradients are accumulated until `batch_size` make one step. Must divide `batch_size`. Batch norm sees the micro-batch. `null`: the whole batch.",
    "training.power_ema": "Widths of two averages in EDM2's form, such as `[0.05, 0.10]`. They are stored along the way, so that `sampling.ema` can ask for an average of any width without a new training. Empty: none.",
    "training.power_ema_snapshots": "How many times in a training they are stored, at even distances.",
    "training.flip": "Mirror half of the images left to right.",
    "training.augment": "Probability of each transform of EDM's non-leaky [augmentation](augmentation.md). EDM uses 0.12 on CIFAR-10. 0: none.",
    "training.stratified": "Spread the noise levels of a batch evenly over their distribution.",
    "training.weighting": "Weights of the loss over noise levels: EDM's, or min-SNR (Hang et al. 2023).",
    "training.min_snr_gamma": "The gamma of min-SNR. For `min_snr` only.",
    "training.precision": "Arithmetic of the network. `auto`: bf16 on a GPU that has it, otherwise fp16 on a GPU; fp32 on a CPU.",
    "training.ema_rampup": "Largest half-life of that average, as a share of the images seen so far; see [averages](models.md#averages-of-the-weights). 0.05 as in EDM. `null`: no limit.",
    "training.keep": "Checkpoints that stay when the training is done. `last`: the finished model only. `best`: also the one with the lowest validation loss. `all`: every one that `checkpoint_kimg` asks for, or ten at even distances. A list of kimg: also those at these points.",
    "training.checkpoint_kimg": "Also save the state this often, besides `resources.checkpoint_s`. `null`: no extra checkpoints.",
    "training.validate_kimg": "Measure the validation loss every so many thousand images. 0: at the end only. `null`: as often as possible while it costs less than 5% of the training time.",
    "training.samples_kimg": "Draw a grid of samples every so many thousand images. 0: at the end only. `null`: as often as possible while it costs less than 5% of the training time.",
    "sampling.sampler": "The sampler; see [sampling](sampling.md#samplers).",
    "sampling.steps": "Number of steps. Heun's method and `dpm2` evaluate the network 2 x steps - 1 times per image, the one-evaluation samplers once per step.",
    "sampling.guidance": "Guidance scale. 1: no guidance. 0: unconditional.",
    "sampling.sigma_min": "The lowest noise level before 0.",
    "sampling.sigma_max": "The highest noise level, where sampling starts.",
    "sampling.rho": "Bend of the `karras` schedule.",
    "sampling.s_churn": "Noise added per step by `stochastic_euler` and `stochastic_heun` (EDM, Algorithm 2). The defaults of `s_churn`, `s_min`, `s_max` and `s_noise` are EDM's for ImageNet-64; the 2023 study used `.inf`, 0, `.inf` and 1.",
    "sampling.s_min": "Lowest noise level at which noise is added.",
    "sampling.s_max": "Highest noise level at which noise is added.",
    "sampling.s_noise": "Factor on the standard deviation of the added noise; 1 gives exactly the intended noise level.",
    "sampling.seed": "Seed of the noise. Shared by all cells, so that image 17 of one cell corresponds to image 17 of another.",
    "sampling.schedule": "The noise levels; see [sampling](sampling.md#schedules). `linear_log_snr` and `ve` are other names of `exponential`.",
    "sampling.eta": "Share of fresh noise in `dpmpp_2m_sde`: 0 is none, 1 the full SDE.",
    "sampling.guidance_interval": "`[low, high]`: guide only the steps that start at a noise level above low and at most high (Kynkaanniemi et al. 2024). `null`: all steps.",
    "sampling.guide": "Guide by a weaker network in place of the unconditional branch (autoguidance, Karras et al. 2024). See below.",
    "sampling.ema": "Relative width of the average to draw from; needs `training.power_ema`. `null`: the average of `ema_halflife_kimg`.",
    "sampling.resolution": "Draw at another resolution than the network was trained at. `null`: the same.",
    "sampling.precision": "Arithmetic of the network while drawing.",
    "sampling.guide.preset": "Another preset, with its own channels, depths and heads.",
    "sampling.guide.channels": "Another number of channels of the first level.",
    "sampling.guide.kimg": "A shorter training.",
    "sampling.guide.ema": "Another width of the power-function average.",
    "evaluation.images": "Images to draw.",
    "evaluation.features": "The space in which distances are measured: pytorch-fid's Inception, DINOv2, or a small classifier trained on the data set itself. Only numbers of one feature space can be compared.",
    "evaluation.splits": "The splits whose real images are compared with.",
    "evaluation.resize": "How images are brought to 299 pixels for Inception: pytorch-fid's rule; clean-fid's, which the 2023 study used; or `tensorflow`, TensorFlow 1's, by which NVlabs' published statistics and EDM's FIDs were made.",
    "evaluation.reference": "Compare with equally many real images of every split (as many as the smallest has), or with all of each. Why it matters: [evaluation](evaluation.md#the-bias-of-few-real-images).",
    "evaluation.statistics": "A published file of reference statistics to compare with as well (`.npz`, as NVlabs and pytorch-fid publish them). `resize` must be the rule by which it was made. The content enters the signature, the path does not.",
    "evaluation.metrics": "What to compute; see [evaluation](evaluation.md#the-other-metrics). `prdc` is precision, recall, density and coverage.",
    "evaluation.truncation": "Also measure the sampler's own error against 512 steps of Heun's method. For samplers that add no noise.",
    "evaluation.stop_when": "Stop drawing a cell once its FID is clearly worse than another cell's, at this confidence, such as 0.999; see [evaluation](evaluation.md#stopping-early). `null`: never.",
    "resources.gpus": "GPUs of each trial. A fraction packs several trials on one GPU; 2 or more train one network on several GPUs of a node; `auto` packs by measured memory. `null`: 1 if there are any.",
    "resources.cpus": "Cores, and so threads, of each trial. `null`: an even share of the machine's.",
    "resources.sampling_batch": "Images drawn at once. Does not change the images.",
    "resources.checkpoint_s": "Seconds of training between checkpoints; more if writing one would take over 2% of the time.",
    "resources.compile": "Use `torch.compile`. `null`: on a GPU, if the training is long enough to gain by it.",
    "report.rows": "Axes that make the rows. `null`: all that are not columns.",
    "report.columns": "Axes that make the columns.",
    "report.metrics": "Metrics to show, such as `[fid_test, class_accuracy]`. `null`: all that there are.",
}

WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    str: "text",
    type(None): "`null`",
}

PLURALS = {"whole number": "whole numbers", "number": "numbers"}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(name, kind) for name, kind in CLASSES.items())])


def section(name: str, kind: type) -> str:
    """One section: a line on it and a row for each field."""
    lines = [f"## {name}\n", INTROS[name], "", "| field | values | default | meaning |", "| --- | --- | --- | --- |"]
    types_of = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        mark = "" if field.metadata.get("identity", True) and name not in OUTSIDE_SIGNATURES else " †"
        cells = (
            f"`{field.name}`{mark}",
            values(types_of[field.name]),
            default(field),
            MEANINGS[f"{name}.{field.name}"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(presets() if name == "model" else [])])


def presets() -> list[str]:
    """The table of presets, with parameters for images with three channels, or one for those made for digits."""
    lines = ["### Presets\n", "Parameters are of a network for RGB images without labels.", ""]
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
