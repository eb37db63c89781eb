"""What decoding shows of images that no listing of a folder does: small ones, animations, and nearly black ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edm.config import DataConfig
from edm.data.catalogue import split_indices
from edm.data.loaders import FolderPictures
from edm.data.prepare import prepare
from tests.datafiles import image_tree, picture

NAMES = [f"{i:02d}.png" for i in range(20)]
SIXTEEN_BITS = {"03.png": 4095, "04.png": 4096}  # the largest value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty images of 20x16 pixels, of which some are not what they seem."""
    root = image_tree(tmp_path / "images", *NAMES)
    picture(0, (12, 40)).save(root / "01.png")
    first, second = picture(0, (20, 16)), picture(1, (20, 16))
    first.save(root / "02.png", save_all=True, append_images=[second])
    first.save(root / "02.webp", save_all=True, append_images=[second])
    for name, largest in SIXTEEN_BITS.items():
        Image.fromarray(np.full((16, 20), largest, dtype=np.uint16)).save(root / name)
    return root


def config(folder: Path, resolution: int = 16) -> DataConfig:
    return DataConfig("folder", resolution=resolution, path=str(folder))


def test_what_decoding_shows_is_recorded(folder: Path, tmp_path: Path) -> None:
    record = prepare(config(folder), tmp_path)
    assert isinstance(record["source"], dict) and record["source"]["noticed"] == [
        f"{folder}: 1 of 21 images (01.png) is smaller than 16x16 and was enlarged, which blurs",
        f"{folder}: 2 of 21 images (02.png first) have several frames or pages, of which the first was taken",
        f"{folder}: 1 of 21 images (03.png) has 16 bits but no value above 4,095, which is nearly black; scale the "
        "values to 16 bits",
    ]


def test_of_common_images_nothing_is_said(folder: Path, tmp_path: Path) -> None:
    for name in ("01.png", "02.png", "02.webp", "03.png"):
        (folder / name).unlink()
    for i in range(4):
        picture(i, (20, 16)).save(folder / f"more{i}.jpg")
    record = prepare(config(folder, 12), tmp_path)
    assert isinstance(record["source"], dict) and "noticed" not in record["source"]


def test_what_a_killed_process_noticed_is_kept(folder: Path) -> None:
    whole, first, second = (FolderPictures(config(folder)) for _ in range(3))
    for pictures, start, stop in ((whole, 0, 10), (whole, 10, 21), (first, 0, 10), (second, 10, 21)):
        pictures.read(start, stop)
        left = pictures.digests(start, stop)
        if pictures is first:
            second.restore(0, left)
    for pictures in (whole, second):
        pictures.verify("")
    assert second.source == whole.source and len(whole.source["noticed"]) == 3


def test_a_journal_of_an_earlier_release_is_taken_in(folder: Path) -> None:
    first, second = FolderPictures(config(folder)), FolderPictures(config(folder))
    first.read(0, 21)
    digests, _, _ = first.digests(0, 21).partition(" ")
    second.restore(0, digests)
    second.verify("")
    assert second.digests_read == first.digests_read and "noticed" not in second.source


def test_images_of_train_in_other_splits_are_counted(tmp_path: Path) -> None:
    root = image_tree(
        tmp_path / "images", *(f"{split}/{i}.png" for split in ("train", "val", "test") for i in range(4))
    )
    shutil.copy(root / "train" / "1.png", root / "train" / "2.png")  # twice in train matters to no score
    assert noticed(root, tmp_path / "none") == []
    for name in ("test/0.png", "test/3.png", "val/2.png"):
        shutil.copy(root / "train" / "1.png", root / name)
    copied = shutil.copytree(root, tmp_path / "copied")
    assert noticed(copied, tmp_path / "three") == [
        f"{copied}: 3 of 8 images in val and test are in train, too (val/2.png is train/1.png), so that networks are "
        "scored on images that they have seen; remove them from one side"
    ]


def test_images_that_are_cut_from_train_are_compared_with_it(tmp_path: Path) -> None:
    root = image_tree(tmp_path / "images", *NAMES)
    splits = split_indices(config(root, 8))
    shutil.copy(root / NAMES[splits["train"][5]], root / NAMES[splits["val"][0]])
    (sentence,) = noticed(root, tmp_path / "out")
    names = f"{NAMES[splits['val'][0]]} is {NAMES[splits['train'][5]]}"
    assert f"1 of 4 images in val and test is in train, too ({names})" in sentence


def noticed(root: Path, out: Path) -> list[str]:
    out.mkdir()
    source = prepare(config(root, 8), out)["source"]
    assert isinstance(source, dict)
    return source.get("noticed", [])
