"""Reads a trained network from whatever format a file or a folder has, as a denoiser of this package."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import torch

from edm.config import Pretrained, extensions_in
from edm.data.errors import DataError
from edm.data.files import wrong_content
from edm.files import MODEL, load_model, network_of
from edm.precondition import Denoiser
from edm.pretrained.diffusers import is_diffusers, read_diffusers
from edm.pretrained.errors import PretrainedError
from edm.pretrained.nvlabs import read_nvlabs
from edm.pretrained.study import read_study
from edm.registry import is_registered

SUFFIXES = (".safetensors", ".pth", ".pkl")  # of files that are read
KNOWN = (
    "a model folder or .safetensors file of a training, a folder of diffusers, the 2023 study's .pth or NVlabs' .pkl"
)


def read_pretrained(path: str | Path) -> Denoiser:
    """Return the network of a file or folder, on the CPU and ready to sample; no code of the file is run.

    Its sigma_data is NaN where the file does not say. Raises PretrainedError where there is none that can be used.
    """
    path = Path(path)
    if not path.exists():
        raise PretrainedError(f"{path}: does not exist; give the path of a trained network")
    reader = _reader_of(path)
    _require_content(path / MODEL if reader is _read_own and path.is_dir() else path)
    model = reader(path).eval().requires_grad_(False)
    broken = next((name for name, value in model.state_dict().items() if not value.isfinite().all()), None)
    if broken is not None:
        what = (
            f"its weights ({broken} first) have values that are not finite numbers, as after a training that diverged"
        )
        raise PretrainedError(f"{path}: {what}; give an earlier checkpoint")
    return model


def _require_content(path: Path) -> None:
    """Raise PretrainedError for a file that is certainly no network, whatever its format."""
    if path.is_dir():
        return
    try:
        problem = "is empty" if path.stat().st_size == 0 else wrong_content(path)
    except (OSError, DataError) as error:
        raise PretrainedError(str(error)) from None
    if problem is not None:
        raise PretrainedError(f"{path}: {problem}; download or copy it again")


def _reader_of(path: Path) -> Callable[[Path], Denoiser]:
    if path.is_dir() and (path / MODEL).is_file():
        return _read_own
    if path.is_dir() and is_diffusers(path):
        return read_diffusers
    readers = dict(zip(SUFFIXES, (_read_own, read_study, read_nvlabs), strict=True))
    if path.is_dir() or path.suffix not in readers:
        raise PretrainedError(f"{path}: is in no known format; give {KNOWN}")
    return readers[path.suffix]


def _read_own(path: Path) -> Denoiser:
    try:
        return load_model(path / MODEL if path.is_dir() else path)
    except (ValueError, TypeError, RuntimeError) as error:
        text = str(error).splitlines()[0]
        raise PretrainedError(text if text.startswith(str(path)) else f"{path}: holds no network: {text}") from None


def _require_code(path: Path) -> None:
    """Raise PretrainedError where a network is built by an extension that this process has not loaded."""
    place = path / MODEL if path.is_dir() else path
    network = network_of(place) if place.suffix == ".safetensors" else None
    for extension in extensions_in(network):
        if not is_registered(extension):
            what = f"the code of {extension.name!r} ({extension.where})"
            raise PretrainedError(f"{path}: needs {what}; list its file under extensions")


def digest_of(model: Denoiser) -> str:
    """Return the SHA-256 of a network's tensors, by name, which no format of a file changes."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)};".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def describe(path: str) -> Pretrained:
    """Return what a plan needs to know of the network of a file; raises PretrainedError where it cannot be used."""
    _require_code(Path(path))
    model = read_pretrained(path)
    known = not math.isnan(model.sigma_data)
    return Pretrained(path, digest_of(model), model.config, model.sigma_data if known else None)
