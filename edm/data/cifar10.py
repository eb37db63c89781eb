"""CIFAR-10 from its batches, pickled or binary, in an archive or a folder, or from Hugging Face's parquet files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edm.config import DataConfig
from edm.data.catalogue import CATALOGUE, Member
from edm.data.decode import read_same_size
from edm.data.errors import DataError
from edm.data.files import contents
from edm.data.images import ArrayPictures, Pictures, checked_labels, parquet_splits, require_count, source_record
from edm.data.parquet import EncodedSplit
from edm.data.progress import OnProgress
from edm.data.readers import Bytes, Labels, cifar_binary, read_cifar_batch, read_cifar_binary
from edm.data.sources import Origin, published, remedy

DATASET = "cifar10"
BINARY = ".bin"  # ends the names of the binary version's batches

Batch = tuple[Bytes, Labels]


def load_cifar10(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load CIFAR-10: train, then test. Raises DataError."""
    known = CATALOGUE[DATASET]
    found = _from_batches(origin, on_progress) or _from_parquet(origin)
    if found is None:
        published(DATASET, known.files, origin, on_progress)
        found = _from_batches(origin, on_progress)
        assert found is not None, "the archive is there now"
    place, batches = found
    images, labels = np.concatenate([batch[0] for batch in batches]), np.concatenate([batch[1] for batch in batches])
    require_count(place, len(images), sum(known.official.values()))
    return ArrayPictures(images, checked_labels(labels, known.num_classes, place), source_record([place]))


# batches ------------------------------------------------------------------------------------------


def _from_batches(origin: Origin, on_progress: OnProgress) -> tuple[Path, list[Batch]] | None:
    members = CATALOGUE[DATASET].members
    for place in (*origin.archives(DATASET), *origin.folders(DATASET)):
        found = _batch_files(place) if place.exists() else {}
        if found:
            batches: list[Batch] = []
            for done, member in enumerate(members):
                on_progress("checking", done, len(members))
                batches.append(_batch(found, member, place, origin))
            return place, batches
    return None


def _batch_files(place: Path) -> dict[str, bytes]:
    known = CATALOGUE[DATASET]
    names, archive = {member.name for member in known.members}, known.files[0]
    size = archive.size if place.name == archive.name else None
    found = contents(place, lambda name: Path(name).name.removesuffix(BINARY) in names, expected_bytes=size)
    return {Path(name).name: content for name, content in found.items()}


def _batch(found: Mapping[str, bytes], member: Member, place: Path, origin: Origin) -> Batch:
    """Return a batch after comparing it with the published one."""
    name = member.name if member.name in found else member.name + BINARY
    if name not in found:
        raise DataError(f"{place}: has no {member.name}; {remedy(CATALOGUE[DATASET].files[0], origin)}")
    title = str(place / name)
    batch = (read_cifar_binary if name.endswith(BINARY) else read_cifar_batch)(found[name], title)
    is_published = hashlib.md5(found[name], usedforsecurity=False).hexdigest() == member.md5
    if not is_published and _digest(*batch) != member.digest:
        raise DataError(
            f"{title}: has different content than the published {member.name}: its labels and images have SHA-1 "
            f"{_digest(*batch)}, not {member.digest}; {remedy(CATALOGUE[DATASET].files[0], origin)}"
        )
    return batch


def _digest(images: Bytes, labels: Labels) -> str:
    return hashlib.sha1(cifar_binary(images, labels), usedforsecurity=False).hexdigest()


# parquet ------------------------------------------------------------------------------------------


def _from_parquet(origin: Origin) -> tuple[Path, list[Batch]] | None:
    """Parquet files hold the batches in the order of the archive, so each is recognised by its content."""
    found = parquet_splits(origin, DATASET)
    if found is None:
        return None
    place, splits = found
    members = CATALOGUE[DATASET].members
    size = len(splits[-1].images)  # each batch has as many images as the test split, which is one
    batches = {_digest(*batch): batch for split in splits for batch in _in_batches(split, size, place)}
    if any(member.digest not in batches for member in members):
        raise DataError(
            f"{place}: its parquet files have different content than CIFAR-10, or its images in another order; "
            f"{remedy(CATALOGUE[DATASET].files[0], origin)}"
        )
    return place, [batches[member.digest] for member in members]


def _in_batches(split: EncodedSplit, size: int, place: Path) -> Iterator[Batch]:
    for start in range(0, len(split.images), size):
        labels = checked_labels(split.labels[start : start + size], CATALOGUE[DATASET].num_classes, place)
        yield read_same_size(split.images[start : start + size], "RGB", (32, 32), str(place)), labels
