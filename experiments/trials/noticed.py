"""What a person should know of a prepared data set's images, which only decoding them shows."""

from __future__ import annotations

from experiments.store.results import DatasetRecord


def noticed(record: DatasetRecord) -> tuple[str, ...]:
    """Return a sentence for each thing that was noticed as the images were decoded."""
    return tuple((record.source or {}).get("noticed", ()))
