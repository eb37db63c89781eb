"""The layout of NVlabs' dataset_tool, whose labels are in dataset.json; and zip archives of images."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edm.config import DataConfig
from edm.data.catalogue import facts, source_fingerprint
from edm.data.errors import DataError
from edm.data.folder import open_folder
from tests.datafiles import image_tree, zipped
from tests.edm.data.opened import everything, load
from tests.edm.data.test_folder import config, touched
from tests.planning import source_of

NAMES = [f"{i // 10:05d}/img{i:08d}.png" for i in range(40)]  # in four chunks
CLASSES = [i % 3 for i in range(40)]


def nvlabs(root: Path, labels: object) -> Path:
    """A folder as dataset_tool writes it, with small chunks."""
    image_tree(root, *NAMES)
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    return root


def packed(folder: Path, path: Path, below: str = "") -> Path:
    files = {below + str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return zipped(path, files)


def listed(classes: list[int]) -> list[list[object]]:
    return [list(pair) for pair in zip(NAMES, classes, strict=True)]


def test_labels_are_those_of_the_file_and_not_the_chunks(tmp_path: Path) -> None:
    folder = open_folder(str(nvlabs(tmp_path, listed(CLASSES)[::-1])))
    assert folder.labels == tuple(CLASSES) and folder.classes == ("0", "1", "2")
    known = facts(config(tmp_path))
    assert known.num_classes == 3 and known.remarks == ()


def test_the_labels_are_those_that_nvlabs_code_reads(tmp_path: Path) -> None:
    """As training/dataset.py of NVlabs/edm does: labels by name, in the order of the sorted names."""
    nvlabs(tmp_path, listed(CLASSES)[::-1])
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    theirs = dict(json.loads((tmp_path / "dataset.json").read_text())["labels"])
    pictures = load("folder", tmp_path, path=str(tmp_path), resolution=8)
    assert pictures.labels.tolist() == [theirs[name] for name in names]
    pictures.close()


def test_labels_of_images_that_are_not_there_are_said(tmp_path: Path) -> None:
    nvlabs(tmp_path, listed(CLASSES))
    for name in NAMES[7:9]:
        (tmp_path / name).unlink()
    (remark,) = facts(config(tmp_path)).remarks
    assert remark == f"{tmp_path}: dataset.json names 2 images that are not there, such as {NAMES[7]}"


def test_two_labels_of_one_image_are_refused(tmp_path: Path) -> None:
    nvlabs(tmp_path / "same", [*listed(CLASSES), [NAMES[4], CLASSES[4]]])
    assert facts(config(tmp_path / "same")).num_classes == 3
    nvlabs(tmp_path / "other", [*listed(CLASSES), [NAMES[4], CLASSES[4] + 1]])
    with pytest.raises(DataError, match=f"dataset.json: gives {NAMES[4]} the labels 1 and 2; remove one of them"):
        facts(config(tmp_path / "other"))


def test_null_labels_are_no_classes(tmp_path: Path) -> None:
    nvlabs(tmp_path, None)
    assert facts(config(tmp_path)).num_classes == 0 and open_folder(str(tmp_path)).labels == (0,) * 40


def test_every_label_null_is_no_classes_either(tmp_path: Path) -> None:
    nvlabs(tmp_path, [[name, None] for name in NAMES])
    assert facts(config(tmp_path)).num_classes == 0


@pytest.mark.parametrize("labels", [None, listed(CLASSES)])
def test_the_zip_of_a_folder_is_the_folder(tmp_path: Path, labels) -> None:
    folder = nvlabs(tmp_path / "folder", labels)
    archives = [packed(folder, tmp_path / "flat.zip"), packed(folder, tmp_path / "nested.zip", "a/b/")]
    expected = everything(load("folder", tmp_path, path=str(folder), resolution=8))
    for archive in archives:
        assert source_fingerprint(config(archive)) == source_fingerprint(config(folder))
        assert open_folder(str(archive)).labels == open_folder(str(folder)).labels
        pictures = load("folder", tmp_path, path=str(archive), resolution=8)
        assert np.array_equal(everything(pictures), expected)


def test_splits_may_have_labels_of_their_own(tmp_path: Path) -> None:
    names = [f"00000/img{i:08d}.png" for i in range(4)]
    for split, label in {"train": 1, "val": 0, "test": 1}.items():
        touched(tmp_path / split, *names)
        (tmp_path / split / "dataset.json").write_text(json.dumps({"labels": [[name, label] for name in names]}))
    folder = open_folder(str(tmp_path))
    assert folder.has_splits and folder.classes == ("0", "1")
    assert folder.labels == tuple(0 if path.startswith("val") else 1 for path in folder.paths)


# identity -----------------------------------------------------------------------------------------


def test_labels_enter_the_signature_where_paths_do_not_give_them(tmp_path: Path) -> None:
    found = set()
    for i, labels in enumerate((listed(CLASSES), listed([1 - c % 2 for c in CLASSES]), None)):
        found.add(source_fingerprint(config(nvlabs(tmp_path / str(i), labels))))
    found.add(source_fingerprint(config(image_tree(tmp_path / "plain", *NAMES))))
    assert len(found) == 4
    again = nvlabs(tmp_path / "again", listed(CLASSES))
    (again / "dataset.json").write_text(json.dumps({"labels": listed(CLASSES)[::-1], "more": 1}, indent=2))
    assert source_fingerprint(config(again)) in found


def test_a_folder_that_is_read_as_before_keeps_its_signature(tmp_path: Path) -> None:
    names = [f"{c}/{i}.png" for c in "ab" for i in range(10)]
    before = source_fingerprint(config(image_tree(tmp_path / "plain", *names)))
    for i, content in enumerate(
        [{"labels": [[name, int(name[0] == "b")] for name in names]}, {"about": "something else"}, []]
    ):
        image_tree(tmp_path / str(i), *names)
        (tmp_path / str(i) / "dataset.json").write_text(json.dumps(content))
        assert source_fingerprint(config(tmp_path / str(i))) == before
    one_chunk = [f"00000/img{i:08d}.png" for i in range(20)]
    image_tree(tmp_path / "chunk", *one_chunk)
    before = source_fingerprint(config(tmp_path / "chunk"))
    image_tree(tmp_path / "null", *one_chunk)
    (tmp_path / "null" / "dataset.json").write_text('{"labels": null}')
    assert source_fingerprint(config(tmp_path / "null")) == before


def test_chunks_without_labels_are_noticed(tmp_path: Path) -> None:
    chunks = [f"{i // 1000 * 1000:05d}/{i:05d}.png" for i in range(2100)]  # as FFHQ is published
    known = facts(config(touched(tmp_path, *chunks)))
    assert known.num_classes == 3
    (remark,) = known.remarks
    assert "its class folders (00000, 01000, ...) look like chunks of 1,000 images and not like classes" in remark
    (touched(tmp_path / "null", *chunks) / "dataset.json").write_text('{"labels": null}')
    known = facts(config(tmp_path / "null"))
    assert known.num_classes == 0 and known.remarks == ()


# what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (listed(CLASSES)[:-2], "no label for 2 of 40 images (00003/img00000038.png and 00003/img00000039.png); add"),
        ([[NAMES[0], None], *listed(CLASSES)[1:]], "has no label for 1 of 40 images (00000/img00000000.png); add"),
        ([[NAMES[0], [0.5, 1]], *listed(CLASSES)[1:]], "the label of 00000/img00000000.png is [0.5, 1], which is not"),
        ([[NAMES[0], -1]], "the label of 00000/img00000000.png is -1, which is not a class number from 0 to 99,999"),
        ([[name, 0.5] for name in NAMES[:2]], "0.png is 0.5 and 00000/img00000001.png is 0.5; these are not class num"),
        ([[NAMES[0], True]], "is True, which is not a class number"),
        ([NAMES[0]], "'labels' must be null, or a list of [name, class number], not \"00000/img00000000.png\""),
        ({"a": 1}, "'labels' must be null, or a list of [name, class number]; repair or remove it"),
    ],
)
def test_labels_that_cannot_be_used_are_one_sentence(tmp_path: Path, labels, expected: str) -> None:
    with pytest.raises(DataError) as refusal:
        facts(config(nvlabs(tmp_path, labels)))
    assert expected in str(refusal.value) and str(refusal.value).startswith(str(tmp_path))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_dataset_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (touched(tmp_path, *NAMES) / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=r"dataset.json: cannot be read as JSON .*; repair or remove it"):
        facts(config(tmp_path))


# zip archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["./", "../birds/", "/birds/"])
def test_a_zip_whose_names_begin_with_places_is_the_folder(tmp_path: Path, prefix: str) -> None:
    """As `zip -r birds.zip ../birds` writes them; nothing is unpacked to these places."""
    folder = image_tree(tmp_path / "birds", *(f"{name}/{i:02d}.png" for name in "ab" for i in range(10)))
    archive = packed(folder, tmp_path / "birds.zip", prefix)
    assert source_of(config(archive)).signature == source_of(config(folder)).signature
    assert open_folder(str(archive)).classes == ("a", "b")


def test_classes_and_splits_are_found_in_a_zip(tmp_path: Path) -> None:
    names = [f"{split}/{c}/{i}.png" for split in ("train", "val", "test") for c in "ab" for i in "01"]
    folder = image_tree(tmp_path / "birds", *names)
    archive = packed(folder, tmp_path / "birds.zip", "birds/")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("__MACOSX/birds/train/a/._0.png", b"")
        opened.writestr("birds/.DS_Store", b"")
        opened.writestr("birds/readme.txt", b"")
    known = facts(config(archive))
    assert known.splits == {"train": 4, "val": 4, "test": 4} and known.num_classes == 2
    assert known.remarks == (f"{archive}: 1 file is left out, being of other types: 1 .txt (readme.txt)",)
    assert source_fingerprint(config(archive)) == source_fingerprint(config(folder))


def test_a_zip_with_backslashes_is_the_folder_that_was_packed(tmp_path: Path) -> None:
    folder = image_tree(tmp_path / "images", *(f"{kind}/{i}.png" for kind in "ab" for i in range(10)))
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in [folder / "a", *sorted(folder.rglob("*.png"))]:
            entry = zipfile.ZipInfo(str(path.relative_to(folder.parent)).replace("/", "\\"))
            entry.create_system = 0  # Windows
            entry.filename += "\\" if path.is_dir() else ""
            opened.writestr(entry, b"" if path.is_dir() else path.read_bytes())
    assert facts(config(archive)).num_classes == 2 and not facts(config(archive)).remarks
    assert source_fingerprint(config(archive)) == source_fingerprint(config(folder))


def tar_of_nothing() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.png"))
    return file.getvalue()


def test_a_zip_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    for content, expected in (
        (b"<!DOCTYPE html>", "is an HTML page, as servers send instead of a file that they refuse"),
        (b"PK\x03\x04" + bytes(40), "is a zip archive that is cut short or damaged; download or pack it again"),
        (tar_of_nothing(), "is a tar archive, and only zip archives are read; unpack it and give the folder"),
        (b"PK", "is a file, but no zip archive; give a folder or a zip archive of images"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=expected):
            facts(config(path))


def test_an_encrypted_or_damaged_zip_is_one_sentence(tmp_path: Path) -> None:
    archive = packed(image_tree(tmp_path / "images", *(f"{i}.png" for i in range(20))), tmp_path / "x.zip")
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        start, directory = opened.getinfo("10.png").header_offset, opened.start_dir
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content[: start + 60] + bytes([content[start + 60] ^ 255]) + content[start + 61 :])
    with pytest.raises(DataError, match=r"10.png: cannot be read \(Bad CRC-32"):
        source_fingerprint(config(damaged))
    for place in (start + 6, content.index(b"10.png", directory) - 38):  # the flags in both headers
        content[place] |= 1
    (tmp_path / "encrypted.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"10.png: cannot be unpacked \(it is encrypted\); unpack the archive and give"):
        source_fingerprint(config(tmp_path / "encrypted.zip"))


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edm.data.folder.MAX_IMAGE_BYTES", 10**6)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(20):
            archive.writestr(f"{i}.png", bytes(10**7 if i == 7 else 10))
    with pytest.raises(DataError, match=r"7.png: has 10,000,000 bytes, more than the 1,000,000 that are read"):
        source_fingerprint(config(path))


def test_a_zip_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    folder = image_tree(tmp_path / "images", *(f"{i}.png" for i in range(20)))
    archive = packed(folder, tmp_path / "x.zip")
    options = DataConfig("folder", resolution=8, path=str(archive))
    source_fingerprint(options)
    (folder / "3.png").write_bytes((folder / "4.png").read_bytes())
    packed(folder, tmp_path / "new.zip").replace(archive)
    pictures = load("folder", tmp_path, path=str(archive), resolution=8)
    everything(pictures)
    with pytest.raises(DataError, match="has changed while it was read"):
        pictures.verify("")
