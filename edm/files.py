"""Models and other tensors as safetensors files: nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from edm.config import NetworkConfig
from edm.networks.unet import on_device
from edm.precondition import Denoiser

STORE_VARIABLE = "EDM_SWEEP_STORE"
MODEL = "model.safetensors"
AVERAGED = "ema."  # where a checkpoint of a training has the weights that one samples from


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name, laid out plainly whatever their memory format. Raises OSError, of a full disk for one."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(plain, path, metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # safetensors knows it, and tells it in words alone
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What `save_tensors` wrote, on the CPU."""
    return load_file(path)


def model_metadata(model: Denoiser) -> dict[str, str]:
    """What a file has to say beside the weights, so that the model can be built again."""
    return {"network": json.dumps(asdict(model.config)), "sigma_data": repr(model.sigma_data)}


def save_model(model: Denoiser, path: Path) -> None:
    """Write a model and what is needed to build it again."""
    save_tensors(model.state_dict(), path, model_metadata(model))


def load_model(path: Path, device: torch.device | str = "cpu") -> Denoiser:
    """The model of a file that `save_model` wrote, or the averaged one of a checkpoint, ready to sample on `device`.

    Raises ValueError where the file holds no model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_tensors(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: is not a model of edm-sweep ({error}); give a .safetensors file of a training"
        ) from None
    if "network" not in metadata:
        raise ValueError(f"{path}: holds tensors but no model; give model.safetensors or a checkpoint of a training")
    fields: dict[str, Any] = json.loads(metadata["network"])
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    model = Denoiser(NetworkConfig(**fields), float(metadata["sigma_data"]))
    averaged = {n.removeprefix(AVERAGED): value for n, value in tensors.items() if n.startswith(AVERAGED)}
    model.load_state_dict(averaged or tensors)
    return on_device(model, device).eval().requires_grad_(False)


def find_model(path_or_signature: str | Path, store: str | Path | None = None) -> Path:
    """The file of a model: a path to it or to its training's folder, or the training's signature (or how it begins).

    Signatures are looked up in `store`, else in EDM_SWEEP_STORE, else in ./runs. Raises ValueError where that names no
    finished training, or several.
    """
    path = Path(path_or_signature)
    if path.is_dir():
        path = path / MODEL
    if path.is_file():
        return path
    root = Path(store or os.environ.get(STORE_VARIABLE) or "runs")
    found = sorted(root.glob(f"trainings/{_plain(str(path_or_signature))}*/{MODEL}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(place.parent.name for place in found[:5])
        raise ValueError(f"{path_or_signature!r} begins {len(found)} signatures in {root} ({names}); give more of it")
    raise ValueError(
        f"{str(path_or_signature)!r} is no model file and no finished training in {root}; "
        "give a path, the signature of a training ('edm-sweep plan FILE --json' shows them), or the store they are in"
    )


def _plain(signature: str) -> str:
    """A signature without what a file pattern would take as its own."""
    return signature if signature.isalnum() else "-"
