"""Own images in parquet files: which are read, their splits and labels, what is refused, and a flat memory."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow.parquet import read_table, write_table

from edm.config import DataConfig, FieldError
from edm.data import parquet_files
from edm.data.catalogue import facts, folder_of, source_fingerprint, split_indices
from edm.data.errors import DataError, FilesError
from edm.data.folder import open_folder
from edm.data.prepare import prepare
from tests.datafiles import encoded, image_tree, images_of, picture, write_columns, write_shard, zipped
from tests.edm.data.opened import everything, load
from tests.planning import source_of

IMAGE, NAMES = {"_type": "Image"}, ("finch", "owl")
N = range(40)
HALVES = [i % 2 for i in N]


def config(root: Path, **options: object) -> DataConfig:
    return DataConfig("folder", resolution=8, path=str(root), **options)


def classes(*names: str) -> dict[str, object]:
    return {"names": list(names), "_type": "ClassLabel"}


def sharded(root: Path, group: int | None = 7, **numbers: int) -> Path:
    """Shards of 20 images of each split, whose names are those of the package datasets."""
    start = 0
    for split, count in numbers.items():
        for shard in range(count):
            name = f"{split}-{shard:05d}-of-{count:05d}.parquet"
            write_shard(root / "data" / name, range(start, start + 20), group=group)
            start += 20
    return root


def pixels(config: DataConfig) -> np.ndarray:
    return everything(load("folder", Path(config.path or ""), **{"resolution": 8, "path": config.path}))


def refusal(config: DataConfig) -> str:
    with pytest.raises(DataError) as refused:
        facts(config), source_fingerprint(config)
    return str(refused.value)


# what is read -------------------------------------------------------------------------------------


def test_shards_are_read_with_their_splits_and_the_names_of_classes(tmp_path: Path) -> None:
    known = facts(config(sharded(tmp_path, train=2, validation=1, test=1)))
    assert known.splits == {"train": 40, "val": 20, "test": 20} and known.has_splits and not known.remarks
    folder = open_folder(str(tmp_path))
    assert folder.classes == NAMES and folder.labels == tuple(i % 2 for i in range(80))


def test_images_are_those_of_a_folder_of_the_same_files(tmp_path: Path) -> None:
    shards = sharded(tmp_path / "shards", train=2, validation=1, test=1)
    for i in range(80):
        split = "train" if i < 40 else "val" if i < 60 else "test"
        path = tmp_path / "files" / split / NAMES[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(i, (12, 10)), "PNG"))
    files = open_folder(str(tmp_path / "files"))
    number = [int(path.rpartition("/")[2].removesuffix(".png")) for path in files.paths]
    assert np.array_equal(pixels(config(shards))[number], pixels(config(tmp_path / "files")))
    assert [i % 2 for i in number] == list(files.labels)


def test_a_single_file_is_split_whatever_its_name(tmp_path: Path) -> None:
    path = sharded(tmp_path, train=1, test=2) / "data" / "test-00001-of-00002.parquet"
    known = facts(config(path))
    assert known.splits == {"train": 16, "val": 2, "test": 2} and known.num_classes == 2 and not known.remarks
    other = path.rename(tmp_path / "birds.pq")  # by its content
    assert facts(config(other)) == known


def test_one_split_alone_is_split_by_the_seed(tmp_path: Path) -> None:
    sharded(tmp_path, train=3)
    assert facts(config(tmp_path)).splits == {"train": 48, "val": 6, "test": 6}
    assert split_indices(config(tmp_path)) != split_indices(config(tmp_path, split_seed=1))


@pytest.mark.parametrize(("given", "cut", "name"), [("test", "val", "test"), ("val", "test", "dev")])
def test_a_split_without_files_is_cut_from_train(tmp_path: Path, given: str, cut: str, name: str) -> None:
    known = facts(config(sharded(tmp_path, **{"train": 2, name: 1})))
    assert known.splits == {"train": 36, given: 20, cut: 4}
    assert f"has no images in {cut}, so 4 of those in train are used as {cut}" in " ".join(known.remarks)


def test_names_of_folders_say_the_split_too(tmp_path: Path) -> None:
    write_shard(tmp_path / "default" / "train" / "0000.parquet", range(30))
    write_shard(tmp_path / "default" / "test" / "0000.parquet", range(30, 34))
    assert facts(config(tmp_path)).splits == {"train": 27, "val": 3, "test": 4}


def test_links_of_a_cache_are_followed(tmp_path: Path) -> None:
    blob = write_shard(tmp_path / "blobs" / "0a1b", N)
    place = tmp_path / "snapshots" / "abc" / "data"
    place.mkdir(parents=True)
    (place / "train-00000-of-00001.parquet").symlink_to(blob)
    assert facts(config(tmp_path)).splits["train"] == 32


def test_image_files_come_before_parquet_files_unless_they_are_too_few(tmp_path: Path) -> None:
    sharded(tmp_path, train=1)
    image_tree(tmp_path, "assets/preview.png", "assets/logo.png")
    known = facts(config(tmp_path))
    assert known.splits["train"] == 16 and "2 .png (assets/logo.png)" in " ".join(known.remarks)
    image_tree(tmp_path / "more", *(f"{i:02d}.png" for i in range(20)))
    write_shard(tmp_path / "more" / "train.parquet", N)
    remarks = facts(config(tmp_path / "more")).remarks
    assert len(open_folder(str(tmp_path / "more")).paths) == 20 and "1 .parquet (train.parquet)" in remarks[0]
    image_tree(tmp_path / "few", *(f"{i:02d}.png" for i in range(12)))
    write_shard(tmp_path / "few" / "train.parquet", N)
    assert "12 images are too few, beside files of other types: 1 .parquet" in refusal(config(tmp_path / "few"))


def test_files_that_a_name_promises_are_missed(tmp_path: Path) -> None:
    sharded(tmp_path, train=4)
    for number in (1, 2):
        (tmp_path / "data" / f"train-0000{number}-of-00004.parquet").unlink()
    (remark,) = facts(config(tmp_path)).remarks
    assert remark == (f"{tmp_path}: 2 of 4 parquet files are not there, such as data/train-00001-of-00004.parquet")


# columns ------------------------------------------------------------------------------------------


def test_columns_are_found_without_metadata(tmp_path: Path) -> None:
    write_columns(tmp_path / "a" / "train.parquet", {"img": images_of(N), "labels": [i % 3 for i in N]})
    assert open_folder(str(tmp_path / "a")).classes == ("0", "1", "2")
    write_columns(tmp_path / "b" / "train.parquet", {"jpg": [image["bytes"] for image in images_of(N)]})
    assert facts(config(tmp_path / "b")).num_classes == 0
    assert np.array_equal(pixels(config(tmp_path / "a")), pixels(config(tmp_path / "b")))


def test_texts_are_classes_in_their_order(tmp_path: Path) -> None:
    texts = ["owl" if i % 3 else "finch" for i in N]
    for name, column in {"plain": texts, "categories": pyarrow.array(texts).dictionary_encode()}.items():
        write_columns(tmp_path / f"{name}.parquet", {"image": images_of(N), "label": column})
        folder = open_folder(str(tmp_path / f"{name}.parquet"))
        assert folder.classes == NAMES and [NAMES[i] for i in folder.labels] == texts


def test_texts_of_all_files_are_classes(tmp_path: Path) -> None:
    for number, text in enumerate(("owl", "finch")):
        write_columns(tmp_path / f"{number}.parquet", {"image": images_of(N), "label": [text] * len(N)})
    folder = open_folder(str(tmp_path))
    assert folder.classes == NAMES and folder.labels == (1,) * 40 + (0,) * 40


def test_a_class_without_images_keeps_its_number(tmp_path: Path) -> None:
    features = {"image": IMAGE, "label": classes("auk", "bee", "cat")}
    write_columns(tmp_path / "train.parquet", {"image": images_of(N), "label": [2 * half for half in HALVES]}, features)
    known = facts(config(tmp_path))
    assert known.num_classes == 3 and "no image in train shows 1 of 3 classes (bee)" in known.remarks[0]


def test_several_columns_of_labels_need_the_key(tmp_path: Path) -> None:
    features = {"image": IMAGE, "fine": classes("a", "b", "c", "d"), "coarse": classes("x", "y")}
    columns = {"image": images_of(N), "fine": [i % 4 for i in N], "coarse": HALVES}
    path = write_columns(tmp_path / "train.parquet", columns, features)
    text = refusal(config(tmp_path))
    assert text == (
        f"{path}: has 2 columns of labels (fine and coarse); "
        "say which with label_column, or set it to none for images without labels"
    )
    assert facts(config(tmp_path, label_column="fine")).num_classes == 4
    assert facts(config(tmp_path, label_column="coarse")).num_classes == 2
    assert facts(config(tmp_path, label_column="none")).num_classes == 0
    assert "label_column: there is no column x, but image, fine and coarse" in refusal(
        config(tmp_path, label_column="x")
    )


def test_several_columns_of_images_need_the_key(tmp_path: Path) -> None:
    columns = {"image": images_of(N), "mask": images_of(range(50, 90)), "label": HALVES}
    write_columns(tmp_path / "train.parquet", columns)
    text = refusal(config(tmp_path))
    assert text.endswith("has 2 columns of images (image and mask); say which with image_column")
    first, second = (source_of(config(tmp_path, image_column=name)).signature for name in ("image", "mask"))
    assert first != second
    assert "image_column: label is int64, which holds no images" in refusal(config(tmp_path, image_column="label"))


def test_a_column_that_may_hold_labels_is_pointed_out(tmp_path: Path) -> None:
    write_columns(tmp_path / "train.parquet", {"image": images_of(N), "kind": HALVES, "size": [1.5] * 40})
    (remark,) = facts(config(tmp_path)).remarks
    assert remark == (
        f"{tmp_path}: its images have no labels, as nothing says that a column holds classes; "
        "if kind does, name it with label_column"
    )
    named = facts(config(tmp_path, label_column="kind"))
    assert named.num_classes == 2 and not named.remarks
    assert not facts(config(tmp_path, label_column="none")).remarks
    many = {"image": images_of(N)} | {f"a{i}": HALVES for i in range(9)}
    write_columns(tmp_path / "many.parquet", many)
    assert "if one of a0, a1, a2, a3, a4, ... does" in facts(config(tmp_path / "many.parquet")).remarks[0]


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    kinds = {"floats": ([0.5] * 40, "the column label is double, and labels"), "lists": ([[1]] * 40, "is list<")}
    for name, (labels, expected) in kinds.items():
        write_columns(tmp_path / f"{name}.parquet", {"image": images_of(N), "label": labels})
        text = refusal(config(tmp_path / f"{name}.parquet"))
        assert expected in text and "or set it to none for images without labels" in text
    columns = {"image": images_of(N), "label": [i % 3 for i in N]}
    write_columns(tmp_path / "range.parquet", columns, {"label": classes("a", "b")})
    assert "range.parquet row 2: the label is 2, and those in the column label should be from 0 to 1" in refusal(
        config(tmp_path / "range.parquet")
    )


@pytest.mark.parametrize("absent", [-1, None])
def test_labels_that_are_not_published_are_refused(tmp_path: Path, absent: int | None) -> None:
    features = {"image": IMAGE, "label": classes("a", "b")}
    write_columns(tmp_path / "train.parquet", {"image": images_of(N), "label": HALVES}, features)
    write_columns(tmp_path / "test.parquet", {"image": images_of(range(3)), "label": [0, absent, absent]}, features)
    assert refusal(config(tmp_path)) == (
        f"{tmp_path}: 2 images have no label in the column label (test.parquet row 1 first); "
        "leave such files out, or set label_column to none"
    )


def test_files_without_images_say_what_they_have(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "train.parquet", {"text": ["x"] * 40, "label": HALVES})
    found = "text (string) and label (int64)"
    assert refusal(config(tmp_path)) == (
        f"{path}: has no column of images as bytes, but {found}; write the images as PNG or JPEG"
    )


def test_a_column_of_one_name_is_needed(tmp_path: Path) -> None:
    twice = pyarrow.table([images_of(N), HALVES, HALVES], names=["image", "label", "label"])
    write_table(twice, tmp_path / "train.parquet")
    assert "has several columns called label; rename all but one" in refusal(config(tmp_path))


def test_columns_are_for_folders_that_have_some(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match="label_column: digits is not read from columns; remove it"):
        DataConfig("digits", label_column="label")
    image_tree(tmp_path, *(f"{i:02d}.png" for i in range(20)))
    assert "holds image files and no table of labels" in refusal(config(tmp_path, label_column="x"))
    assert "holds image files, which have no columns; name" in refusal(config(tmp_path, image_column="x"))


# what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["32x32/train.parquet", "64x64/train.parquet"],
            "has parquet files in 32x32 and 64x64, which may be different",
        ),
        (["train.parquet", "sub/train-2.parquet"], "has parquet files in sub and the folder itself, which may be"),
        (["train.parquet", "extra.parquet"], "extra.parquet is of no split, but others of train; move it out of the"),
        (["test.parquet", "val.parquet"], "has parquet files of val and test but none of train; add them, or give"),
    ],
)
def test_files_that_can_be_read_in_two_ways_are_refused(tmp_path: Path, names: list[str], expected: str) -> None:
    for name in names:
        write_shard(tmp_path / name, range(3))
    assert expected in refusal(config(tmp_path))


def test_files_of_other_classes_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train-0.parquet", N)
    write_shard(tmp_path / "train-1.parquet", N, names=("finch", "auk"))
    assert "train-1.parquet: has other columns of images and labels, or other classes, than train-0.parquet" in refusal(
        config(tmp_path)
    )


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.parquet", range(1))
    assert "1 image is too few; give at least 20 to be split" in refusal(config(tmp_path))
    write_columns(tmp_path / "none.parquet", {"image": pyarrow.array([], pyarrow.struct({"bytes": pyarrow.binary()}))})
    assert "0 images are too few" in refusal(config(tmp_path / "none.parquet"))


def test_files_in_an_archive_have_to_be_unpacked(tmp_path: Path) -> None:
    content = write_shard(tmp_path / "train.parquet", N).read_bytes()
    archive = zipped(tmp_path / "birds.zip", {"train.parquet": content})
    assert "but 1 .parquet (train.parquet); unpack them and give their folder" in refusal(config(archive))


def test_pointers_pages_and_halves_of_files_are_named(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "half" / "train.parquet", N)
    path.write_bytes(path.read_bytes()[:-200])
    assert "half/train.parquet: cannot be read as a parquet file" in refusal(config(tmp_path / "half"))
    for name, content in {"lfs": b"version https://git-lfs.github.com/spec/v1\n", "page": b"<!DOCTYPE html>"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.parquet").write_bytes(content)
    assert "is a pointer of Git LFS, not the file itself" in refusal(config(tmp_path / "lfs"))
    assert "is an HTML page" in refusal(config(tmp_path / "page"))
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "train.parquet").symlink_to(tmp_path / "nowhere")
    assert "train.parquet: cannot be read (No such file or directory)" in refusal(config(tmp_path / "link"))


def test_all_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name in ("train-0", "train-1"):
        (tmp_path / f"{name}.parquet").write_bytes(b"PAR1 and then nothing")
    assert ": 2 files cannot be used; train-0.parquet and train-1.parquet: cannot be read as a parquet" in refusal(
        config(tmp_path)
    )


def test_a_damaged_page_is_said_once(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "train.parquet", N, group=10)
    content = bytearray(path.read_bytes())
    content[2000:6000] = bytes(4000)
    path.write_bytes(content)
    text = refusal(config(tmp_path))
    assert text.startswith(f"{path}: cannot be read as a parquet file (") and text.count("train.parquet") == 1


# images -------------------------------------------------------------------------------------------


def broken(path: Path, replaced: dict[int, bytes | None]) -> Path:
    """A file of images some of which are replaced."""
    images = [{**image, "bytes": replaced.get(i, image["bytes"])} for i, image in enumerate(images_of(N))]
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    return write_columns(path, {"image": pyarrow.array(images, kind), "label": HALVES}, group=7)


def test_images_that_cannot_be_decoded_are_named_by_file_and_row(tmp_path: Path) -> None:
    path = broken(tmp_path / "train.parquet", {9: b"", 10: b"no image", 33: b"no image"})
    (tmp_path / "out").mkdir()
    with pytest.raises(FilesError) as refused:
        prepare(config(tmp_path), tmp_path / "out")
    assert str(refused.value) == (
        f"{path.parent}: 3 images cannot be used; train.parquet row 9: cannot be decoded (it is empty); "
        "train.parquet row 10 and train.parquet row 33: cannot be decoded (it is not a picture); replace or remove them"
    )


def test_images_that_are_only_paths_are_named(tmp_path: Path) -> None:
    path = broken(tmp_path / "train.parquet", {3: None})
    assert refusal(config(tmp_path)) == (
        f"{path} row 3: has nothing in the column image.bytes; "
        "write the images themselves into the file, or remove such rows"
    )


def test_images_of_more_bytes_than_are_read_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.parquet", N)
    folder = folder_of(config(tmp_path))
    with pytest.raises(FilesError, match=r"train.parquet row 3: has [0-9]+ bytes, more than the 10 that are read"):
        folder.open().read(folder.paths[3], limit=10)


def test_what_is_noticed_about_images_names_file_and_row(tmp_path: Path) -> None:
    broken(tmp_path / "train.parquet", {i: encoded(picture(i, (5, 5)), "PNG") for i in (8, 21)})
    (tmp_path / "out").mkdir()
    made = prepare(config(tmp_path), tmp_path / "out")
    (sentence,) = made["source"]["noticed"]
    assert "2 of 40 images (train.parquet row 8 first) are smaller than 8x8 and were enlarged" in sentence


def test_a_file_that_changes_after_planning_is_noticed(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "data" / "train.parquet", N)
    source_fingerprint(config(path.parent))
    (tmp_path / "out").mkdir()
    for numbers in (range(1, 41), range(30)):  # other images, and fewer
        write_shard(path, numbers)
        with pytest.raises(DataError, match="has changed while it was read; leave it alone and run this again"):
            prepare(config(path.parent), tmp_path / "out")


# identity -----------------------------------------------------------------------------------------


def signature(root: Path) -> str:
    return source_of(config(root)).signature


def test_the_signature_is_that_of_the_images_not_of_the_files(tmp_path: Path) -> None:
    first = sharded(tmp_path / "first", train=2, test=1)
    moved = Path(shutil.copytree(first / "data", tmp_path / "moved"))
    table = pyarrow.concat_tables([read_table(moved / f"train-0000{i}-of-00002.parquet") for i in range(2)])
    for i in range(2):
        (moved / f"train-0000{i}-of-00002.parquet").unlink()
    write_table(table, moved / "train.parquet", compression="gzip", row_group_size=11)
    assert signature(moved) == signature(first)


def test_images_labels_names_and_splits_enter_the_signature(tmp_path: Path) -> None:
    features = {"image": IMAGE, "label": classes(*NAMES)}
    changed = {
        "same": ({"image": images_of(N), "label": HALVES}, features),
        "labels": ({"image": images_of(N), "label": [1 - half for half in HALVES]}, features),
        "images": ({"image": images_of(range(1, 41)), "label": HALVES}, features),
        "names": ({"image": images_of(N), "label": HALVES}, {**features, "label": classes("finch", "auk")}),
        "no names": ({"image": images_of(N), "label": HALVES}, None),
    }
    for name, (columns, said) in changed.items():
        write_columns(tmp_path / name / "train.parquet", columns, said)
    write_shard(tmp_path / "split" / "train.parquet", range(30))
    write_shard(tmp_path / "split" / "test.parquet", range(30, 40))
    found = {name: signature(tmp_path / name) for name in (*changed, "split")}
    assert len({*found.values()}) == len(found)
    write_shard(tmp_path / "again" / "all.parquet", N)
    assert signature(tmp_path / "again") == found["same"]


def test_a_column_that_is_found_may_be_named_without_another_signature(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.parquet", N)
    named = source_of(config(tmp_path, image_column="image", label_column="label"))
    assert named.signature == signature(tmp_path)


# reading ------------------------------------------------------------------------------------------


def test_any_order_gives_the_right_images(tmp_path: Path) -> None:
    sharded(tmp_path, group=7, train=3)
    files = folder_of(config(tmp_path)).open()
    paths = folder_of(config(tmp_path)).paths
    expected = [encoded(picture(i, (12, 10)), "PNG") for i in range(60)]
    for order in (range(60), reversed(range(60)), np.random.default_rng(0).permutation(60), [5, 5, 59, 5]):
        for i in map(int, order):
            assert files.read(paths[i]) == expected[i]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(files.read, paths)) == expected
    files.close()


def test_rows_are_passed_once_by_threads_that_go_on_side_by_side(tmp_path: Path, monkeypatch) -> None:
    write_shard(tmp_path / "train.parquet", range(200), group=1000)
    opened: list[Path] = []
    real = parquet_files.open_parquet
    monkeypatch.setattr(parquet_files, "open_parquet", lambda path: (opened.append(path), real(path))[1])
    folder = open_folder(str(tmp_path))
    files, meeting = folder.open(), threading.Barrier(4)

    def read_from(start: int) -> None:
        for path in folder.paths[start:200:40]:
            meeting.wait()
            files.read(path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_from, (0, 10, 20, 30)))
    assert len(opened) <= 4  # the first ones may come in another order


def test_what_was_passed_and_not_asked_for_is_bounded(tmp_path: Path, monkeypatch) -> None:
    write_shard(tmp_path / "train.parquet", range(100), group=1000)
    folder = open_folder(str(tmp_path))
    size = len(encoded(picture(0, (12, 10)), "PNG"))
    monkeypatch.setattr(parquet_files, "HELD_BYTES", 10 * size)
    files = folder.open()
    for i in (0, 9, 18, 27):
        files.read(folder.paths[i])
        assert sum(map(len, files._held.values())) == files._held_bytes <= 10 * size
    assert files.read(folder.paths[1]) == encoded(picture(1, (12, 10)), "PNG")  # dropped, and read again


def test_large_images_are_read_a_few_at_once(tmp_path: Path, monkeypatch) -> None:
    write_shard(tmp_path / "train.parquet", N)
    files = folder_of(config(tmp_path)).open()
    assert files.at_once(30) == 30
    monkeypatch.setattr(parquet_files, "BLOCK_BYTES", 3 * files.images.bytes_each)
    assert files.at_once(30) == 3
    monkeypatch.setattr(parquet_files, "BLOCK_BYTES", 1)
    assert files.at_once(30) == 1


def test_listing_reads_no_images(tmp_path: Path, monkeypatch) -> None:
    write_shard(tmp_path / "train.parquet", N)
    monkeypatch.setattr(parquet_files, "open_parquet", lambda path: pytest.fail("read images"))
    assert facts(config(tmp_path)).num_classes == 2


def test_reading_labels_and_hashing_say_how_far_they_are(tmp_path: Path) -> None:
    sharded(tmp_path, train=2, test=1)
    told: list[tuple[str, int, int]] = []
    source_fingerprint(config(tmp_path), lambda *step: told.append(step))
    assert [step for step in told if step[0] == "reading labels"] == [("reading labels", i, 3) for i in (1, 2, 3)]
    assert told[-1] == ("hashing images", 60, 60)


def hashed_elsewhere(path: Path, last: str) -> str:
    """Hash images in a process of its own, and return what it prints of an expression."""
    code = "import sys; from edm.data.folder import *; folder_fingerprint(open_folder(sys.argv[1])); import pyarrow; "
    command = [sys.executable, "-c", f"{code} print({last})", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    write_shard(tmp_path / "train.parquet", N)
    assert hashed_elsewhere(tmp_path, "'pandas' in sys.modules").strip() == "False"


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    images, place = [bytes(99_990) + b"%010d" % i for i in range(1000)], tmp_path / "train.parquet"
    table = pyarrow.table({"image": images})
    write_table(table, place, use_dictionary=False, compression="none", write_batch_size=8)
    assert place.stat().st_size > 99_000_000
    assert int(hashed_elsewhere(tmp_path, "pyarrow.default_memory_pool().max_memory()")) < 30_000_000


def test_unreadable_names_are_read(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "train.parquet", N)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/sub \xff\n"))
    odd.mkdir()
    path.rename(odd / "träin\n.parquet")
    assert facts(config(odd)).splits["train"] == 32 and len(source_fingerprint(config(odd))) == 64
