"""Fashion-MNIST from its idx files, gzipped or not, an archive of them, or Hugging Face's parquet files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edm.config import DataConfig
from edm.data.catalogue import CATALOGUE, Member
from edm.data.decode import read_same_size
from edm.data.errors import DataError
from edm.data.files import contents, read_regular, wrong_content
from edm.data.images import ArrayPictures, Pictures, checked_labels, parquet_splits, source_record
from edm.data.progress import OnProgress
from edm.data.readers import Bytes, idx_bytes, read_idx, unpack_idx
from edm.data.sources import Origin, published, remedy

DATASET = "fashion_mnist"
PADDING = 2  # pixels on each side, from 28x28 to 32x32
SIDE = 28

Parts = dict[str, tuple[bytes, Path]]  # by member: an idx file that is not gzipped, and where it comes from


def load_fashion_mnist(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load Fashion-MNIST, 28x28 padded to 32x32: train, then test. Raises DataError."""
    parts = _from_archive(origin) or _from_parquet(origin) or _from_files(origin, on_progress)
    members = CATALOGUE[DATASET].members
    arrays: list[Bytes] = []
    for done, member in enumerate(members):
        on_progress("checking", done, len(members))
        content, path = parts[member.name]
        arrays.append(read_idx(content, _shape(member), str(path)))
        _require_published(content, member, path, origin)
    images, labels = np.concatenate(arrays[::2])[:, None], np.concatenate(arrays[1::2])
    paths = list(dict.fromkeys(path for _, path in parts.values()))
    return ArrayPictures(images, labels.astype(np.int64), source_record(paths), PADDING)


def _shape(member: Member) -> tuple[int, ...]:
    known = CATALOGUE[DATASET]
    size = known.official["train" if member.name.startswith("train") else "test"]
    return (size, SIDE, SIDE) if "images" in member.name else (size,)


def _require_published(content: bytes, member: Member, path: Path, origin: Origin) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != member.digest:
        file = next(file for file in CATALOGUE[DATASET].files if file.unpacked == member.name)
        raise DataError(
            f"{path}: has different content than the published {member.name}, whose SHA-256 is {member.digest}, "
            f"not {found}; {remedy(file, origin)}"
        )


def _from_files(origin: Origin, on_progress: OnProgress) -> Parts:
    """The four files, unpacked or gzipped; absent ones are downloaded if allowed."""
    known = CATALOGUE[DATASET]
    unpacked = {file.unpacked: origin.find(DATASET, file.unpacked) for file in known.files}
    packed = [file for file in known.files if unpacked[file.unpacked] is None]
    paths = dict(zip((file.unpacked for file in packed), published(DATASET, packed, origin, on_progress), strict=True))
    parts: Parts = {}
    for member in known.members:
        path = unpacked[member.name] or paths[member.name]
        parts[member.name] = _unpacked(read_regular(path), member, path), path
    return parts


def _unpacked(content: bytes, member: Member, path: Path) -> bytes:
    if path.is_file() and (problem := wrong_content(path)):
        raise DataError(f"{path}: {problem}; replace it by the published file")
    return unpack_idx(content, _shape(member), str(path))


def _from_archive(origin: Origin) -> Parts | None:
    for archive in origin.archives(DATASET):
        found = {Path(name).name: content for name, content in contents(archive, _is_idx).items()}
        if found:
            return {member.name: _packed_member(found, member, archive) for member in CATALOGUE[DATASET].members}
    return None


def _is_idx(name: str) -> bool:
    return Path(name).name.removesuffix(".gz") in {member.name for member in CATALOGUE[DATASET].members}


def _packed_member(found: Mapping[str, bytes], member: Member, archive: Path) -> tuple[bytes, Path]:
    name = member.name if member.name in found else f"{member.name}.gz"
    if name not in found:
        raise DataError(f"{archive}: has no {member.name}; pack all four files, or give the folder that holds them")
    return unpack_idx(found[name], _shape(member), str(archive / name)), archive


def _from_parquet(origin: Origin) -> Parts | None:
    known = CATALOGUE[DATASET]
    if any(origin.find(DATASET, name) for file in known.files for name in (file.name, file.unpacked)):
        return None
    found = parquet_splits(origin, DATASET)
    if found is None:
        return None
    place, splits = found
    parts: Parts = {}
    for images, labels, split in zip(known.members[::2], known.members[1::2], splits, strict=True):
        pixels = read_same_size(split.images, "L", (SIDE, SIDE), str(place))[:, 0]
        parts[images.name] = idx_bytes(pixels), place
        parts[labels.name] = idx_bytes(checked_labels(split.labels, known.num_classes, place).astype(np.uint8)), place
    return parts
