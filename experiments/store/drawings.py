"""Drawn images: the features of each segment, in a file whose name begins with the index of the segment's first image.

<root>/drawings/<signature>/<feature space>/<first image>-<checksum>.safetensors
"""

from __future__ import annotations

from pathlib import Path

from experiments.store.folders import listed
from experiments.store.store import Store

SEGMENT_FILES = "[0-9]" * 8 + "-*.safetensors"


def features_folder(store: Store, drawing: str, space: str) -> Path:
    """Return the folder of a drawing's features, given the signatures of both."""
    return store.folder("drawings", drawing) / space


def segment_stem(start: int) -> str:
    """Return how the name of a segment's file begins."""
    return f"{start:08d}"


def drawn_segments(store: Store, drawing: str, space: str) -> set[int]:
    """Return the first image of every segment of a drawing that is measured in a feature space."""
    files = listed(features_folder(store, drawing, space), SEGMENT_FILES)
    return {int(file.name.partition("-")[0]) for file in files}
