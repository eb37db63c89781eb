"""Models and other tensors as safetensors files: nothing is ever unpickled."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from edm.config import NetworkConfig
from edm.network import on_device
from edm.precondition import Denoiser


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name, laid out plainly whatever their memory format."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(plain, path, metadata)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What `save_tensors` wrote, on the CPU."""
    return load_file(path)


def save_model(model: Denoiser, path: Path) -> None:
    """Write a model and what is needed to build it again."""
    metadata = {"network": json.dumps(asdict(model.config)), "sigma_data": repr(model.sigma_data)}
    save_tensors(model.state_dict(), path, metadata)


def load_model(path: Path, device: torch.device | str = "cpu") -> Denoiser:
    """The model that `save_model` wrote, in evaluation mode on `device`."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    fields: dict[str, Any] = json.loads(metadata["network"])
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    model = Denoiser(NetworkConfig(**fields), float(metadata["sigma_data"]))
    model.load_state_dict(load_tensors(path))
    return on_device(model, device).eval().requires_grad_(False)
