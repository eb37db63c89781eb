"""Files of tensors with their checksum in their name, so that each can be checked without another file."""

from __future__ import annotations

import errno
from pathlib import Path

from torch import Tensor

from edm.checksums import sha256_of
from edm.files import load_tensors, save_tensors
from experiments.store.damage import set_aside_file
from experiments.store.fencing import require_held
from experiments.store.files import checksum, move_into_place, temporary_beside
from experiments.store.folders import listed

DIGITS = 16  # of the SHA-256 that goes into a name


def write_checksummed(
    folder: Path, stem: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> Path:
    """Write tensors as `<stem>-<checksum>.safetensors`, in place of the stem's earlier file; returns the path."""
    require_held(folder)  # before anything is made in a store that was perhaps moved
    folder.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder / stem)
    try:
        save_tensors(tensors, temporary, metadata)
        path = folder / f"{stem}-{sha256_of(temporary)[:DIGITS]}.safetensors"
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    for other in listed(folder, f"{stem}-*.safetensors"):
        if other != path:
            other.unlink(missing_ok=True)
    return path


def is_whole(path: Path) -> bool:
    """Return whether a file is what was written; a damaged one is set aside, to be made again."""
    named = path.stem.rpartition("-")[2]
    try:
        found = checksum(path)[:DIGITS]
    except FileNotFoundError:
        return False  # another process replaced it or set it aside just now
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        found = "unreadable"
    if found != named:
        set_aside_file(path, f"sha256 {found}, named {named}")
    return found == named


def find_checksummed(folder: Path, stem: str) -> Path | None:
    """Return the file of a stem; None where there is none, or a damaged one, which is then set aside."""
    return next(filter(is_whole, listed(folder, f"{stem}-*.safetensors")), None)


def load_checksummed(folder: Path, stem: str) -> dict[str, Tensor] | None:
    """Return the tensors of a stem; None where there are none, or damaged ones, which are then set aside."""
    path = find_checksummed(folder, stem)
    return load_tensors(path) if path else None
