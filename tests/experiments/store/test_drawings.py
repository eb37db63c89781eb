"""Which segments of a drawing there are."""

from pathlib import Path

import torch

from experiments.store.checksummed import write_checksummed
from experiments.store.drawings import drawn_segments, features_folder, segment_stem
from experiments.store.store import Store


def test_a_segment_counts_once_its_features_are_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert drawn_segments(store, "drawing", "space") == set()
    folder = features_folder(store, "drawing", "space")
    for start in (0, 2000, 49000):
        write_checksummed(folder, segment_stem(start), {"features": torch.zeros(1)})
    (folder / ".00001000-aa.safetensors.ab-1-2-3.part").touch()  # another process is writing it
    (folder / "notes.safetensors").touch()
    assert drawn_segments(store, "drawing", "space") == {0, 2000, 49000}
    assert drawn_segments(store, "drawing", "other") == set() == drawn_segments(store, "other", "space")
