"""The 2023 study's networks, from its checkpoint.pth files."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edm.config import ModelConfig, NetworkConfig, PresetName
from edm.networks.unet import UNet
from edm.precondition import Denoiser
from edm.pretrained.errors import PretrainedError, in_a_line

WEIGHTS = "model_state_dict"
# image channels, resolution, classes, preset, attention; conditional and unconditional networks have the same shapes
CONFIGURATIONS: tuple[tuple[int, int, int, PresetName, bool], ...] = (
    (1, 32, 10, "mini", True),  # fashion_mnist_cond, fashion_mnist_uncond
    (1, 32, 10, "mini", False),  # fashion_mnist_cond_noattn
    (3, 32, 10, "mini", True),  # cifar10_cond, cifar10_uncond
    (3, 32, 10, "mini", False),  # cifar10_cond_noattn
    (3, 128, 0, "tiny", True),  # celeba_tiny
    (3, 128, 0, "tiny", False),  # celeba_tiny_noattn
    (3, 128, 0, "small", True),  # celeba_small
    (3, 128, 0, "big", True),  # celeba_big
)
RENAMED = (  # their name of a part, ours
    (r"^noise_emb\.weight$", "conditioning.frequencies"),
    (r"^label_emb\.embedding\.", "conditioning.label."),
    (r"^cond_proj\.", "conditioning.mix."),
    (r"\.linear\.", ".scale_shift."),
    (r"\.in_proj\.", ".skip."),
    (r"\.qkv_proj\.", ".qkv."),
    (r"\.out_proj\.", ".out."),
)


def read_study(path: Path) -> Denoiser:
    """Return the network of a checkpoint of the 2023 study, recognised by the shapes of its tensors.

    Its sigma_data is NaN, since the file does not have it: it is that of the data set. Raises PretrainedError where the
    file has no such network, or anything but tensors and plain values.
    """
    tensors = _tensors(path)
    levels = 1 + max((int(m[1]) for name in tensors if (m := re.match(r"up_blocks\.(\d+)\.", name))), default=-1)
    ours = {_our_name(name, levels): value for name, value in tensors.items()}
    frequencies = ours.get("conditioning.frequencies")
    if frequencies is not None:
        ours["conditioning.frequencies"] = frequencies.flatten()
    found = {name: tuple(value.shape) for name, value in ours.items()}
    for config in configurations():
        if _shapes(config) == found:
            model = Denoiser(config, math.nan)
            model.network.load_state_dict(ours)
            return model
    raise PretrainedError(f"{path}: has {len(found)} tensors whose shapes are those of no network of the 2023 study")


def configurations() -> Iterator[NetworkConfig]:
    """Yield the study's networks as far as tensors tell them apart."""
    for channels, resolution, classes, preset, attention in CONFIGURATIONS:
        yield ModelConfig(preset, attention).network(channels, resolution, classes)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        weights: Any = content[WEIGHTS]
    except OSError as error:
        raise PretrainedError(f"{path}: cannot be read ({error.strerror})") from None
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError, ValueError) as error:
        raise PretrainedError(
            f"{path}: is no checkpoint of the 2023 study, and none of it was run: {in_a_line(error)}"
        ) from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):  # pyright: ignore
        raise PretrainedError(f"{path}: has no tensors under {WEIGHTS!r}; give a checkpoint.pth of the 2023 study")
    return dict(weights)  # pyright: ignore


def _our_name(name: str, levels: int) -> str:
    """Return what a tensor is called here; levels: of resolution, without the bridge."""
    block = re.match(r"(down|up)_blocks\.(\d+)\.(layers|process\.1)\.", name)
    if block:
        rest, number = name[block.end() :], int(block[2])
        if block[1] == "down":
            name = f"bridge.{rest}" if number == levels else f"down.{number}.{rest}"
        else:
            name = f"{'up' if block[3] == 'layers' else 'halve'}.{levels - 1 - number}.{rest}"
    for theirs, ours in RENAMED:
        name = re.sub(theirs, ours, name)
    return name


def _shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in UNet(config).state_dict().items()}
