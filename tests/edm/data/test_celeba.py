"""CelebA in the layouts that people have: cropped, resized, in the order of its parts; and what is refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edm.config import DataConfig
from edm.data.catalogue import CATALOGUE, split_indices
from edm.data.celeba import CODES, picture_names
from edm.data.errors import DataError
from tests.datafiles import encoded, md5, picture, tiny_celeba, unpack_celeba, zipped
from tests.edm.data.opened import everything, load


def celeba_square(image: np.ndarray, resolution: int) -> np.ndarray:
    cropped = Image.fromarray(image[20:198])
    return np.asarray(cropped.resize((resolution, resolution), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize(("splits", "kept"), [("study", [*range(12), *range(16, 21)]), ("official", range(21))])
def test_celeba_is_cropped_resized_and_in_the_order_of_its_parts(
    tmp_path: Path, monkeypatch, unpacked: bool, splits: str, kept
) -> None:
    tiny = tiny_celeba(tmp_path, monkeypatch)
    if unpacked:
        unpack_celeba(tmp_path)
    pictures = load("celeba", tmp_path, splits=splits, resolution=64)
    expected = np.stack([celeba_square(tiny.images[i], 64) for i in kept])
    assert np.array_equal(everything(pictures), expected) and not pictures.labels.any()
    assert pictures.source["checked"] == ("names and sizes" if unpacked else "md5")
    indices = split_indices(DataConfig("celeba", splits=splits))
    assert sorted(i for part in indices.values() for i in part) == list(range(len(kept)))


def test_celeba_is_128_pixels_wide_by_default(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_celeba(tmp_path, monkeypatch)
    assert np.array_equal(load("celeba", tmp_path).read(3, 4)[0], celeba_square(tiny.images[3], 128))


def test_the_folder_of_pictures_wins_over_a_bad_archive_beside_it(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    before = everything(load("celeba", tmp_path))
    folder = unpack_celeba(tmp_path)
    (folder.parent / "img_align_celeba.zip").write_bytes(b"packed anew")
    assert np.array_equal(everything(load("celeba", folder)), before)
    with pytest.raises(DataError, match=r"img_align_celeba.zip: is cut short: 11 of .* bytes; download it again"):
        load("celeba", tmp_path)


def test_a_folder_in_a_folder_of_the_same_name_is_entered(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    before = everything(load("celeba", tmp_path))
    folder = unpack_celeba(tmp_path)
    folder.rename(tmp_path / "inner")
    folder.mkdir()
    (tmp_path / "inner").rename(folder / "img_align_celeba")
    assert np.array_equal(everything(load("celeba", tmp_path)), before)


def test_missing_pictures_are_counted_and_named(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    folder = unpack_celeba(tmp_path)
    for number in (4, 19):
        (folder / f"{number:06d}.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 2 of 17 pictures \(000004.jpg and 000019.jpg\);"):
        load("celeba", tmp_path)


def test_a_damaged_picture_in_the_archive_is_named(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    archive = tmp_path / "celeba" / "img_align_celeba.zip"
    with zipfile.ZipFile(archive) as opened:
        start = opened.getinfo("img_align_celeba/000002.jpg").header_offset
    content = bytearray(archive.read_bytes())
    content[start + 300] ^= 255
    archive.write_bytes(content)
    pictures = load("celeba", tmp_path)
    with pytest.raises(DataError, match=r"000002.jpg: cannot be read \(Bad CRC-32"):
        everything(pictures)
    pictures.close()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<html><title>Google Drive - Quota exceeded</title>", "is an HTML page, as servers send instead of a file"),
        (b"PK\x03\x04", "is cut short: 4 of "),
    ],
)
def test_an_archive_that_is_none_says_what_it_is(tmp_path: Path, monkeypatch, content: bytes, expected: str) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    (tmp_path / "celeba" / "img_align_celeba.zip").write_bytes(content)
    with pytest.raises(DataError, match=f"img_align_celeba.zip: {expected}.*; download it again, or unpack it and"):
        load("celeba", tmp_path)


def layouts(root: Path, made: Path) -> dict[str, Path]:
    """CelebA as people have it, each in a place of its own; what to give for each."""
    with zipfile.ZipFile(made / "celeba" / "img_align_celeba.zip") as opened:
        pictures = {Path(name).name: opened.read(name) for name in opened.namelist() if name.endswith(".jpg")}
    text = (made / "celeba" / "list_eval_partition.txt").read_text()
    rows = ["image_id,partition", *(",".join(line.split()) for line in text.splitlines())]
    table = "\n".join(rows).encode()
    drive = root / "drive" / "CelebA"
    for folder in ("Img", "Eval", "Anno"):
        (drive / folder).mkdir(parents=True)
    zipped(drive / "Img" / "img_align_celeba.zip", {f"img_align_celeba/{n}": c for n, c in pictures.items()})
    (drive / "Eval" / "list_eval_partition.txt").write_text(text)
    inner = root / "kaggle" / "img_align_celeba" / "img_align_celeba"
    inner.mkdir(parents=True)
    for name, content in pictures.items():
        (inner / name).write_bytes(content)
    (root / "kaggle" / "list_eval_partition.csv").write_bytes(table)
    (root / "kaggle" / "list_attr_celeba.csv").write_text("image_id,Smiling\n")
    kaggle = {f"img_align_celeba/img_align_celeba/{name}": content for name, content in pictures.items()}
    return {
        "drive": root / "drive",
        "drive's folder": drive,
        "drive's archive": drive / "Img" / "img_align_celeba.zip",
        "kaggle": root / "kaggle",
        "kaggle's outer folder": root / "kaggle" / "img_align_celeba",
        "kaggle's inner folder": inner,
        "kaggle's archive": zipped(root / "archive.zip", {"list_eval_partition.csv": table, **kaggle}),
        "flat archive": zipped(root / "flat.zip", pictures),
    }


def test_any_layout_gives_the_same_images(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path / "files", monkeypatch)
    before = everything(load("celeba", tmp_path / "files"))
    for layout, place in layouts(tmp_path, tmp_path / "files").items():
        pictures = load("celeba", place)
        assert np.array_equal(everything(pictures), before), layout
        assert pictures.source["checked"] == "names and sizes", layout


def test_an_archive_within_an_archive_is_said(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path / "files", monkeypatch)
    outer = zipped(tmp_path / "CelebA-001.zip", {"CelebA/Img/img_align_celeba.zip": b"PK"})
    with pytest.raises(DataError, match=r"lacks 17 of 17 pictures .*; unpack it and give its img_align_celeba.zip"):
        load("celeba", outer)


def test_pictures_in_the_wild_are_refused(tmp_path: Path, monkeypatch) -> None:
    """CelebA's original pictures have the names of the aligned ones."""
    tiny_celeba(tmp_path, monkeypatch)
    folder = unpack_celeba(tmp_path)
    (folder / "000005.jpg").write_bytes(encoded(picture(5, (409, 687)), "JPEG"))
    pictures = load("celeba", tmp_path)
    with pytest.raises(DataError, match=r"000005.jpg: is 409x687 pixels, not the 178x218 of CelebA's aligned pictures"):
        everything(pictures)


# the partition ------------------------------------------------------------------------------------


def test_the_rule_of_the_partition_gives_the_published_file() -> None:
    """To the byte: each line ends as the published ones do, so that the MD5 is the published one."""
    known = CATALOGUE["celeba"]
    names = picture_names(known.official)
    text = "".join(f"{name} {CODES[part]}\r\n" for part in names for name in names[part])
    assert md5(text.encode()) == known.files[1].md5


def test_the_partition_file_need_not_be_there(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    before = everything(load("celeba", tmp_path))
    (tmp_path / "celeba" / "list_eval_partition.txt").unlink()
    assert np.array_equal(everything(load("celeba", tmp_path)), before)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace("000003.jpg 0", "000003.jpg 7"), "entry 3 is '000003.jpg 7', where the published"),
        (lambda text: text.replace("000013.jpg 1", "000013.jpg 0"), "entry 13 is '000013.jpg 0', where the published"),
        (lambda text: text[:-15], "entry 21 is '.*', where the published one has '000021.jpg 2'; replace it"),
        (lambda text: text + "000022.jpg 0\n", "entry 22 is '000022.jpg 0', where the published one has 'nothing'"),
    ],
)
def test_another_partition_is_refused(tmp_path: Path, monkeypatch, change, expected: str) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    path = tmp_path / "celeba" / "list_eval_partition.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=expected):
        load("celeba", tmp_path)
