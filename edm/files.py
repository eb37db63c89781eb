"""Models and other tensors as safetensors files, so that nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType] - no types for their tensors
from torch import Tensor

from edm.config import Extension, NetworkConfig, extensions_in
from edm.cost import num_parameters
from edm.networks.device import on_device
from edm.precondition import Denoiser
from edm.registry import UnknownExtension

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
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # no link that somebody left there is followed
    descriptor = os.open(path, flags, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


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
    if not {"network", "sigma_data"} <= metadata.keys():
        raise ValueError(f"{path}: holds tensors but no model; give {MODEL} or a checkpoint of a training")
    try:
        model = _model(metadata, tensors)
    except UnknownExtension as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # a file from elsewhere may say anything, and nearly any class is raised for it
        reason = str(error).strip().partition("\n")[0][:200]
        raise ValueError(
            f"{path}: its model cannot be built ({type(error).__name__}: {reason}); give {MODEL} of a training"
        ) from error
    return on_device(model, device).eval().requires_grad_(False)


def network_of(path: Path) -> NetworkConfig | None:
    """Return the network that a model file describes, without building it; None where it describes none."""
    try:
        fields: dict[str, Any] = json.loads(_metadata(path)["network"])
        return NetworkConfig(**{name: _plain(value) for name, value in fields.items()})
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError):  # it may say anything
        return None


def _model(metadata: dict[str, str], tensors: dict[str, Tensor]) -> Denoiser:
    """Return the model that a file describes, once it is certain that the file has the weights for it."""
    fields: dict[str, Any] = json.loads(metadata["network"])
    fields = {name: _plain(value) for name, value in fields.items()}
    config, sigma_data = NetworkConfig(**fields), float(metadata["sigma_data"])
    averaged = {n.removeprefix(AVERAGED): value for n, value in tensors.items() if n.startswith(AVERAGED)}
    weights = averaged or tensors
    held = sum(value.numel() for value in weights.values())
    claimed = (config.channels, config.num_classes, config.image_channels, *config.depths)
    if max(claimed) > held or sum(config.depths) > len(weights) or _least_parameters(config) > held:
        raise ValueError(f"the network has more weights than the {held:,} of the file")
    model = Denoiser(config, sigma_data)
    _require_same_tensors(model.state_dict(), weights)
    model.load_state_dict(weights)
    return model


def _require_same_tensors(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless all tensors have the names and shapes of a network's; it names the first that differs."""
    for names, what in ((own.keys() - given.keys(), "lacks"), (given.keys() - own.keys(), "has an unknown tensor")):
        if names:
            raise ValueError(f"it {what} {min(names)}{f' and {len(names) - 1} more' if len(names) > 1 else ''}")
    for name, value in own.items():
        if value.shape != given[name].shape:
            raise ValueError(f"{name} has the shape {list(given[name].shape)}, not {list(value.shape)}")


def _least_parameters(config: NetworkConfig) -> int:
    """Return how many weights a network has at least; nothing is known of blocks that an extension defines."""
    return 0 if any(extensions_in(config)) else num_parameters(config)


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
