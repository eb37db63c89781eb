"""Folders of images as a data set."""

import shutil
from pathlib import Path

import pytest

from edm.config import DataConfig
from edm.data.errors import DataError
from edm.data.loaders import open_pictures
from edm.data.sources import Origin
from tests.datafiles import image_tree
from tests.edm.data.opened import everything, quiet


def test_a_folder_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    root = image_tree(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(10)))
    config = DataConfig("folder", resolution=8, path=str(root))
    pictures = open_pictures(config, Origin(root), quiet)
    assert pictures.labels.tolist() == [0] * 10 + [1] * 10
    everything(pictures)
    pictures.verify("")
    shutil.copy(root / "a" / "1.png", root / "b" / "1.png")
    everything(pictures)
    with pytest.raises(DataError, match="has changed while it was read; leave it alone and run this again"):
        pictures.verify("")
