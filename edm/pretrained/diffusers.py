"""Models of diffusers: a folder with a UNet2DModel and the configuration of its scheduler."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edm.config import NetworkConfig
from edm.discrete import BetaSchedule, DiscreteProcess, Prediction
from edm.files import load_tensors
from edm.networks.diffusers import unet_of
from edm.precondition import Denoiser
from edm.pretrained.errors import PretrainedError, in_a_line

UNET, SCHEDULER = "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASS = "UNet2DModel"
# options of schedulers that would change the noise levels of a model
UNREADABLE = ("trained_betas", "rescale_betas_zero_snr")


def is_diffusers(folder: Path) -> bool:
    """Return whether a folder is a model of diffusers, or a pipeline with one in it."""
    return _content(_place(folder, "unet", UNET)).get("_class_name") == CLASS


def read_diffusers(folder: Path) -> Denoiser:
    """Return the network of a folder as a denoiser over sigma; raises PretrainedError where that is not possible."""
    unet = _place(folder, "unet", UNET)
    weights = unet.with_name(WEIGHTS)
    if not weights.is_file():
        raise PretrainedError(
            f"{folder}: has no {WEIGHTS}; convert its weights to safetensors, as pickled ones are not read"
        )
    try:
        config = _network(folder, _content(unet))
        model = Denoiser(config, 1.0)  # which the coefficients do not depend on
        model.load_state_dict({f"network.unet.{name}": value for name, value in load_tensors(weights).items()})
    except ImportError:
        raise PretrainedError(f"{folder}: needs the package diffusers; install it") from None
    except (ValueError, TypeError, KeyError, RuntimeError, OSError, SafetensorError) as error:
        raise PretrainedError(f"{folder}: does not hold the model that it says it does: {in_a_line(error)}") from None
    return model


def _place(folder: Path, part: str, name: str) -> Path:
    """Return where a pipeline or a single model keeps a file."""
    return folder / part / name if (folder / part / name).is_file() else folder / name


def _content(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], content) if isinstance(content, dict) else {}


def _process(folder: Path) -> DiscreteProcess:
    path = _place(folder, "scheduler", SCHEDULER)
    content = _content(path)
    if not content:
        raise ValueError(f"{SCHEDULER} is missing, which says what the model predicts and at which noise levels")
    for name in UNREADABLE:
        if content.get(name):
            raise ValueError(f"its scheduler has {name}, which cannot be read yet")
    default = DiscreteProcess()
    return DiscreteProcess(
        cast(Prediction, _word(content.get("prediction_type", default.prediction), Prediction)),
        cast(BetaSchedule, _word(content.get("beta_schedule", default.betas), BetaSchedule)),
        float(content.get("beta_start", default.beta_start)),
        float(content.get("beta_end", default.beta_end)),
        int(content.get("num_train_timesteps", default.steps)),
    )


def _word(word: object, words: Any) -> object:
    """Return a word that must be one of a Literal's; raises ValueError for another."""
    if word not in get_args(words):
        raise ValueError(f"{word!r} is not one of {', '.join(get_args(words))}")
    return word


def _network(folder: Path, content: dict[str, Any]) -> NetworkConfig:
    """Return the configuration of a model, with its costs, which a plan could not count."""
    with torch.device("meta"):
        unet = unet_of(content)
    own: dict[str, Any] = {name: value for name, value in dict(unet.config).items() if not name.startswith("_")}
    side, channels, widths = own["sample_size"], own["in_channels"], own["block_out_channels"]
    if own["class_embed_type"] or own["num_class_embeds"]:
        raise ValueError("it has classes, which cannot be read yet")
    if not isinstance(side, int) or channels not in (1, 3):
        raise ValueError(f"it draws {side} pixels a side in {channels} channels, which are no images of one size")
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.device("meta"):
        unet(torch.zeros(1, channels, side, side), torch.zeros(1))
    settings = {
        "unet": own,
        "process": asdict(_process(folder)),
        "parameters": sum(parameter.numel() for parameter in unet.parameters()),
        "flops": counter.get_total_flops(),
        "resolution": side,
    }
    levels = len(widths)
    return NetworkConfig(
        image_channels=channels,
        resolution=side,
        num_classes=0,
        channels=widths[0],
        depths=(own["layers_per_block"],) * levels,
        heads=(0,) * levels,
        bridge_heads=0,
        architecture="diffusers",
        multipliers=(1,) * levels,
        settings=json.dumps(settings, sort_keys=True),
    )
