"""Files of tensors that carry their checksum in their name: whole, and known to be so, without anything beside them."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from edm.files import load_tensors, save_tensors
from experiments.store import checksum, publish, sha256_file

DIGITS = 16  # of the SHA-256 that go into a name

log = logging.getLogger("edm_sweep")


def write_sealed(folder: Path, stem: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Write tensors under a name that holds the file's checksum, in place of what was there under that stem."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{stem}.part"
    save_tensors(tensors, temporary, metadata)
    path = folder / f"{stem}-{sha256_file(temporary)[:DIGITS]}.safetensors"
    publish(temporary, path)
    for other in folder.glob(f"{stem}-*.safetensors"):
        if other != path:
            other.unlink(missing_ok=True)
    return path


def is_whole(path: Path) -> bool:
    """Whether a sealed file is what was written; a damaged one is dropped, to be redone."""
    try:
        if checksum(path)[:DIGITS] == path.stem.rpartition("-")[2]:
            return True
    except FileNotFoundError:
        return False  # another process replaced or dropped it just now
    log.warning("%s is damaged and will be redone", path)
    path.unlink(missing_ok=True)
    return False


def find_sealed(folder: Path, stem: str) -> Path | None:
    """The whole file of a stem; None where there is none."""
    return next(filter(is_whole, sorted(folder.glob(f"{stem}-*.safetensors"))), None)


def load_sealed(folder: Path, stem: str) -> dict[str, Tensor] | None:
    """What `write_sealed` wrote under a stem; None where there is none, or a damaged one, which is then dropped."""
    path = find_sealed(folder, stem)
    return load_tensors(path) if path else None
