"""Models and other tensors as safetensors files, so that nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType] - no types for their tensors
from torch import Tensor

from edm.config import Extension, NetworkConfig
from edm.networks.device import on_device
from edm.precondition import Denoiser

MODEL = "model.safetensors"
AVERAGED = "ema."  # prefix of the averaged weights in a checkpoint, which are those to sample from


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name, in contiguous layout; raises OSError, for example for a full disk."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    mode = _mode_of_new_files(path)
    try:
        save_file(plain, path, metadata)
        path.chmod(mode)  # safetensors lets nobody else read its files
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # safetensors gives the number in its message only
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def _mode_of_new_files(path: Path) -> int:
    """Create a file and return its permissions, which follow from the umask and from what its folder says."""
    with path.open("ab") as file:
        return stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors that `save_tensors` wrote, on the CPU."""
    return load_file(path)


def model_metadata(model: Denoiser) -> dict[str, str]:
    """Return the metadata that a file needs beside the weights to build the model again."""
    return {"network": json.dumps(asdict(model.config)), "sigma_data": repr(model.sigma_data)}


def save_model(model: Denoiser, path: Path) -> None:
    """Write a model with its configuration, so that `load_model` can build it again."""
    save_tensors(model.state_dict(), path, model_metadata(model))


def load_model(path: Path, device: torch.device | str = "cpu") -> Denoiser:
    """Load a model onto `device`, ready to sample; of a checkpoint, the averaged model.

    Raises ValueError if the file holds no model.
    """
    try:
        metadata = _metadata(path)
        tensors = load_tensors(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: is not a model file ({error}); give a .safetensors file of a training") from None
    if "network" not in metadata:
        raise ValueError(f"{path}: holds tensors but no model; give {MODEL} or a checkpoint of a training")
    fields: dict[str, Any] = json.loads(metadata["network"])
    fields = {name: _plain(value) for name, value in fields.items()}
    model = Denoiser(NetworkConfig(**fields), float(metadata["sigma_data"]))
    averaged = {n.removeprefix(AVERAGED): value for n, value in tensors.items() if n.startswith(AVERAGED)}
    model.load_state_dict(averaged or tensors)
    return on_device(model, device).eval().requires_grad_(False)


def _plain(value: Any) -> Any:
    """Return a value of a network's configuration that was JSON."""
    if isinstance(value, dict):
        return Extension(**{name: _plain(own) for name, own in cast(dict[str, Any], value).items()})
    return tuple(map(_plain, cast(list[Any], value))) if isinstance(value, list) else value


def _metadata(path: Path) -> dict[str, str]:
    opened: Any = safe_open(path, framework="pt")
    with opened as file:
        return file.metadata() or {}


def find_model(path_or_name: str | Path, folder: Path) -> Path:
    """Return the path of a model file, given that path, its folder, or the beginning of its folder's name in `folder`.

    Raises ValueError if there is no such model, or several.
    """
    path = Path(path_or_name)
    if path.is_dir():
        path = path / MODEL
    if path.is_file():
        return path
    # a name of letters and digits only: others could be a pattern or lead out of the folder
    found = sorted(folder.glob(f"{path_or_name}*/{MODEL}")) if str(path_or_name).isalnum() else []
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(place.parent.name for place in found[:5])
        raise ValueError(f"{path_or_name!r} begins {len(found)} names in {folder} ({names}); give more of it")
    raise ValueError(
        f"{str(path_or_name)!r} is neither a model file nor the beginning of the name of a finished training "
        f"in {folder}; give a path, another name, or another folder"
    )
