"""Folders of images: layouts that are understood, layouts that are refused, and a fingerprint of content alone."""

import hashlib
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from edm.config import DataConfig
from edm.data import folder as folder_module
from edm.data import listing
from edm.data.catalogue import facts, source_fingerprint, split_indices
from edm.data.errors import DataError
from edm.data.folder import carve, folder_fingerprint, folder_splits, open_folder
from tests.datafiles import image_tree
from tests.planning import source_of

LOOSE = [f"{i:02d}.png" for i in range(20)]


def config(root: Path, **options: object) -> DataConfig:
    return DataConfig("folder", resolution=8, path=str(root), **options)


def signature(root: Path, **options: object) -> str:
    return source_of(config(root, **options)).signature


def touched(root: Path, *paths: str) -> Path:
    """A folder of empty files: enough for its layout."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_loose_images_have_no_classes_and_are_carved_by_tenths(tmp_path: Path) -> None:
    known = facts(config(touched(tmp_path, *(f"{i}.png" for i in range(57)))))
    assert known.num_classes == 0 and known.splits == {"train": 47, "val": 5, "test": 5}
    assert (known.channels, known.resolution) == (3, 8)
    assert facts(config(tmp_path, channels=1)).channels == 1


def test_the_carve_is_the_published_rule(tmp_path: Path) -> None:
    touched(tmp_path, *LOOSE)
    for seed in (0, 7):
        ranked = sorted(range(20), key=lambda i: hashlib.sha256(f"{seed}/{LOOSE[i]}".encode()).hexdigest())
        found = split_indices(config(tmp_path, split_seed=seed))
        assert found == {"train": sorted(ranked[4:]), "val": sorted(ranked[2:4]), "test": sorted(ranked[:2])}
    assert split_indices(config(tmp_path)) != split_indices(config(tmp_path, split_seed=7))


def test_carve_deals_everything_out_once() -> None:
    found = carve((str(i).encode() for i in range(10)), {"test": 3, "val": 2})
    assert sorted(found["test"] + found["val"] + found["train"]) == list(range(10))
    assert [len(found[name]) for name in ("test", "val", "train")] == [3, 2, 5]


def test_sub_folders_are_classes_whatever_lies_below_them(tmp_path: Path) -> None:
    touched(tmp_path, *(f"{c}/{'deep/' * (i % 3)}{i}.JPG" for c in ("dog", "cat") for i in range(10)))
    folder = open_folder(str(tmp_path))
    assert folder.classes == ("cat", "dog") and facts(config(tmp_path)).num_classes == 2
    assert folder.labels == tuple(int(path.startswith("dog")) for path in folder.paths)
    assert list(folder.paths) == sorted(folder.paths)


def test_classes_are_those_of_torchvisions_image_folder(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    image_tree(tmp_path, *(f"{c}/{'deep/' * (i % 2)}{i}.{'png' if i % 3 else 'PNG'}" for c in "Cab" for i in range(8)))
    theirs, ours = ImageFolder(tmp_path), open_folder(str(tmp_path))
    assert ours.classes == tuple(theirs.classes)
    by_path = {str(Path(path).relative_to(tmp_path)): label for path, label in theirs.samples}
    assert dict(zip(ours.paths, ours.labels, strict=True)) == by_path


def test_one_sub_folder_is_no_class(tmp_path: Path) -> None:
    folder = open_folder(str(touched(tmp_path, *(f"images/{path}" for path in LOOSE))))
    assert folder.classes == () and folder.labels == (0,) * 20


def test_train_val_and_test_are_taken_as_they_are(tmp_path: Path) -> None:
    touched(tmp_path, *(f"{s}/{c}/{i}.png" for s in ("train", "val", "test") for c in "ab" for i in range(2)))
    folder = open_folder(str(tmp_path))
    assert folder.classes == ("a", "b") and facts(config(tmp_path)).splits == {"train": 4, "val": 4, "test": 4}
    for split, indices in folder_splits(folder, 0).items():
        assert [folder.paths[i].partition("/")[0] for i in indices] == [split] * 4
    assert folder_splits(folder, 0) == folder_splits(folder, 1)


def test_splits_may_have_images_without_classes(tmp_path: Path) -> None:
    touched(tmp_path, *(f"{s}/{i}.png" for s in ("train", "val", "test") for i in range(2)))
    assert facts(config(tmp_path)).num_classes == 0


def test_what_is_no_image_or_hidden_is_passed_over(tmp_path: Path) -> None:
    touched(tmp_path, *LOOSE, "README.md", "a/notes.txt", "._00.png", ".cache/x.png")
    assert list(open_folder(str(tmp_path)).paths) == LOOSE


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], "holds no images (.jpg, .jpeg, .png"),
        (LOOSE[:19], "19 images are too few; give at least 20 to be split"),
        (["val/0.png", "test/0.png"], "has images in val and test but none in train; add the missing"),
        (["train/0.png", "bus/0.png"], "has images in train but none in val and test; add the missing ones, or rename"),
        (["train/0.png", "test/0.png"], "give at least 2 in each split and 20 in train, from which val is cut"),
        ([f"{s}/0.png" for s in ("train", "val", "test")], "give at least 2 in each of train, val and test"),
        ([f"{s}/{i}.png" for s in ("train", "val", "test", "x") for i in "01"], "x/0.png and x/1.png lie beside train"),
        ([f"{s}/{i}.png" for s in ("train", "val", "test") for i in "01"] + ["x.png"], "x.png lies beside train, val"),
        ([*LOOSE, "cat/0.png"], "09.png and 10 more lie in no class folder, but cat/0.png in cat; put either every"),
        (["train/a/0.png", "train/b/0.png", "val/0.png", "test/a/0.png"], "val/0.png lies in no class folder, but"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, paths: list[str], expected: str) -> None:
    with pytest.raises(DataError) as refusal:
        facts(config(touched(tmp_path, *paths)))
    assert expected in str(refusal.value) and str(refusal.value).startswith(f"{tmp_path}: ")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("birds/tarin", "did you mean 'HERE/birds/train'?"),
        ("brids/train", "did you mean 'HERE/birds'?"),
        (
            "oie\u0301",
            "'oi\u00e9' looks the same but has its accents in another Unicode form; rename it, or copy its name",
        ),
        ("elsewhere", "give a folder or a zip archive of images"),
    ],
)
def test_a_missing_folder_is_told_with_the_one_that_resembles_it(tmp_path: Path, asked: str, expected: str) -> None:
    for place in ("birds/train", "oi\u00e9"):
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(DataError) as refusal:
        facts(config(tmp_path / asked))
    assert str(refusal.value) == f"{tmp_path / asked}: no such folder; {expected.replace('HERE', str(tmp_path))}"


def test_a_folder_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; give a folder or a zip archive of images"):
        facts(config(tmp_path / "absent"))
    with pytest.raises(DataError, match="is a file, but no zip archive; give a folder or a zip"):
        facts(config(touched(tmp_path, "a.zip") / "a.zip"))


# what is no regular file, and what is left out ----------------------------------------------------


def test_a_pipe_a_device_or_a_socket_is_not_opened(tmp_path: Path, monkeypatch) -> None:
    touched(tmp_path / "images", *LOOSE)
    odd = tmp_path / "images" / "odd.png"
    os.mkfifo(odd)
    with pytest.raises(DataError, match=r"odd.png: is not a regular file, but a pipe; remove it"):
        facts(config(tmp_path / "images"))
    odd.unlink()
    odd.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"odd.png: is not a regular file, but a device; remove it"):
        facts(config(tmp_path / "images"))
    odd.unlink()
    monkeypatch.chdir(tmp_path / "images")  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("odd.png")
        with pytest.raises(DataError, match=r"odd.png: is not a regular file, but a socket; remove it"):
            facts(config(tmp_path / "images"))


def test_a_pipe_that_appears_after_planning_is_not_opened(tmp_path: Path) -> None:
    image_tree(tmp_path, *LOOSE)
    open_folder(str(tmp_path))
    (tmp_path / LOOSE[7]).unlink()
    os.mkfifo(tmp_path / LOOSE[7])
    with pytest.raises(DataError, match=r"07.png: is not a regular file, but a pipe"):
        source_fingerprint(config(tmp_path))


def test_a_pipe_or_a_device_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(DataError, match=f"is {what}; give a folder or a zip archive of images"):
            facts(config(path))


def test_a_file_too_large_for_memory_is_refused_unread(tmp_path: Path) -> None:
    touched(tmp_path, *LOOSE)
    os.truncate(tmp_path / LOOSE[0], 2**40)  # takes no room
    with pytest.raises(DataError, match=r"00.png: has 1,099,511,627,776 bytes, more than the 1,073,741,824"):
        facts(config(tmp_path))


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    touched(tmp_path, *LOOSE, "b.gif", "a.GIF", "sub/c.heic", "notes", ".hidden.gif", ".cache/d.heic")
    (remark,) = facts(config(tmp_path)).remarks
    assert remark == (
        f"{tmp_path}: 4 files are left out, being of other types: 2 .gif (a.GIF), 1 without a suffix (notes), "
        "1 .heic (sub/c.heic)"
    )
    assert facts(config(touched(tmp_path / "clean", *LOOSE))).remarks == ()


def test_a_folder_of_other_types_alone_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no images \(.*\), but 2 \.zip \(train.zip\); unpack them, or give one"):
        facts(config(touched(tmp_path / "zips", "train.zip", "val.zip")))
    with pytest.raises(
        DataError, match=r"but 2 \.npy \(a.npy\), 1 .txt \(c.txt\); write each image of the arrays as a PNG"
    ):
        facts(config(touched(tmp_path / "arrays", "a.npy", "b.npy", "c.txt")))
    with pytest.raises(DataError, match=r"but 1 \.txt \(c.txt\); give the folder that does"):
        facts(config(touched(tmp_path / "text", "c.txt")))


def test_arrays_of_numpy_are_recognised(tmp_path: Path) -> None:
    np.savez(tmp_path / "birds.npz", images=np.zeros((40, 8, 8, 3), np.uint8), labels=np.zeros(40))
    with pytest.raises(DataError, match=r"but 2 \.npy \(images.npy\); write each image of the arrays as a PNG file"):
        facts(config(tmp_path / "birds.npz"))


# few images ---------------------------------------------------------------------------------------


def test_a_class_that_train_lacks_is_said(tmp_path: Path) -> None:
    touched(tmp_path, *(f"{split}/{name}/{i}.png" for split in ("train", "val", "test") for name in "ab" for i in "01"))
    touched(tmp_path, "test/rare/0.png")
    (remark,) = facts(config(tmp_path)).remarks
    assert "no image in train shows 1 of 3 classes (rare), so that networks cannot learn them; add images" in remark


@pytest.mark.parametrize(("name", "in_train"), [("1.png", True), ("0.png", False)])
def test_one_image_in_a_class_has_to_be_in_train(tmp_path: Path, name: str, in_train: bool) -> None:
    folder = open_folder(str(touched(tmp_path, f"rare/{name}", *(f"usual/{path}" for path in LOOSE))))
    assert (folder.paths.index(f"rare/{name}") in folder_splits(folder, 0)["train"]) == in_train
    remarks = facts(config(tmp_path)).remarks
    assert remarks == () if in_train else "shows 1 of 2 classes (rare), so that networks cannot learn" in remarks[0]


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_another_name_of_val_is_recognised(tmp_path: Path, name: str) -> None:
    touched(tmp_path, *(f"{split}/{i}.png" for split in ("train", name, "test") for i in "01"))
    with pytest.raises(DataError, match=f"has images in train and test but none in val; rename {name} to val"):
        facts(config(tmp_path))


@pytest.mark.parametrize(("own", "cut"), [("test", "val"), ("val", "test")])
def test_a_split_that_has_no_folder_is_cut_from_train(tmp_path: Path, own: str, cut: str) -> None:
    touched(tmp_path, *(f"train/{i % 2}/{i}.png" for i in range(39)), f"{own}/0/0.png", f"{own}/1/1.png")
    (tmp_path / cut).mkdir()
    known, splits = facts(config(tmp_path)), split_indices(config(tmp_path))
    assert known.splits == {"train": 36, own: 2, cut: 3} and known.num_classes == 2 and not known.has_splits
    assert known.remarks == (f"{tmp_path}: has no images in {cut}, so 3 of those in train are used as {cut}",)
    paths = open_folder(str(tmp_path)).paths
    assert {paths[i].split("/")[0] for i in splits[own]} == {own}
    train = [path for path in paths if path.startswith("train/")]
    ranked = sorted(train, key=lambda path: hashlib.sha256(f"0/{path}".encode()).digest())
    assert [paths[i] for i in splits[cut]] == sorted(ranked[:3])
    assert sorted(i for chosen in splits.values() for i in chosen) == list(range(41))
    assert split_indices(config(tmp_path, split_seed=1))[cut] != splits[cut]
    assert signature(tmp_path, split_seed=1) != signature(tmp_path)


@pytest.mark.parametrize(("names", "named"), [(["Test", "Train"], "Test and Train"), (["dev", "test"], "dev and test")])
def test_classes_with_names_of_splits_are_remarked_on(tmp_path: Path, names: list[str], named: str) -> None:
    touched(tmp_path, *(f"{name}/{i:02d}.png" for name in names for i in range(20)))
    if "test" in names:  # a split by its very name
        with pytest.raises(DataError, match="has images in test but none in train and val"):
            facts(config(tmp_path))
        return
    (remark,) = facts(config(tmp_path)).remarks
    assert f"its classes ({named}) have names of splits; if they are splits, call their folders train" in remark


# links and names ----------------------------------------------------------------------------------


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    touched(tmp_path, *(f"a/{path}" for path in LOOSE))
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    with pytest.raises(DataError, match="remove the link that leads in a circle"):
        facts(config(tmp_path))


def test_paths_are_relative_to_here_and_know_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path / "pictures", *LOOSE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_folder("pictures") is open_folder("~/pictures") is open_folder(str(tmp_path / "pictures"))


def test_the_signature_is_that_of_the_content_not_of_the_place(tmp_path: Path) -> None:
    first = image_tree(tmp_path / "first", *LOOSE)
    copies = {
        name: Path(shutil.copytree(first, tmp_path / name)) for name in ("copy", "byte", "name", "fewer", "beside")
    }
    picture = copies["byte"] / LOOSE[3]
    picture.write_bytes(picture.read_bytes()[:-1] + b"\0")
    (copies["name"] / LOOSE[3]).rename(copies["name"] / "other.png")
    (copies["fewer"] / LOOSE[3]).write_bytes((first / LOOSE[4]).read_bytes())
    touched(copies["beside"], "README.md")
    found = {name: signature(path) for name, path in copies.items()}
    assert found["copy"] == found["beside"] == signature(first)
    assert len({*found.values()}) == 4


def test_preparation_enters_the_signature(tmp_path: Path) -> None:
    image_tree(tmp_path, *LOOSE)
    other_size = DataConfig("folder", resolution=16, path=str(tmp_path))
    signatures = {
        signature(tmp_path),
        signature(tmp_path, channels=1),
        signature(tmp_path, split_seed=1),
        source_of(other_size).signature,
    }
    assert len(signatures) == 4


def test_the_fingerprint_is_of_paths_and_contents(tmp_path: Path) -> None:
    image_tree(tmp_path, *LOOSE)
    whole = hashlib.sha256()
    for path in LOOSE:
        whole.update(path.encode() + b"\0" + hashlib.sha256((tmp_path / path).read_bytes()).digest())
    assert source_fingerprint(config(tmp_path)) == whole.hexdigest()


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    touched(tmp_path, *LOOSE)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"gone.png: is a link to a file that does not exist; restore or remove it"):
        source_fingerprint(config(tmp_path))


def test_all_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    touched(tmp_path, *LOOSE)
    for name in ("gone.png", "lost.png"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r": 2 files cannot be used; gone.png and lost.png: is a link to a file that"):
        facts(config(tmp_path))
    for name in ("gone.png", "lost.png"):
        (tmp_path / name).unlink()
    open_folder(str(tmp_path))
    for name in LOOSE[3:5]:
        (tmp_path / name).unlink()
    with pytest.raises(
        DataError, match=rf": 2 files cannot be used; {LOOSE[3]} and {LOOSE[4]}: cannot be read"
    ) as refused:
        source_fingerprint(config(tmp_path))
    assert str(refused.value).endswith("; make them readable or remove them")


def test_names_that_are_no_text_are_names_too(tmp_path: Path) -> None:
    touched(tmp_path, *LOOSE)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))).touch()
    assert facts(config(tmp_path)).splits["train"] == 17
    assert len(source_fingerprint(config(tmp_path))) == 64


def test_listing_and_hashing_say_how_far_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LISTED_AT_ONCE", 8)
    monkeypatch.setattr(folder_module, "PER_TASK", 8)
    told: list[tuple[str, int, int]] = []
    folder = open_folder(str(touched(tmp_path, *LOOSE)), lambda *step: told.append(step))
    first = folder_fingerprint(folder, lambda *step: told.append(step))
    num = len(LOOSE)
    assert [step for step in told if step[0] == "listing files"] == [
        ("listing files", n, 0) for n in range(8, num + 1, 8)
    ]
    hashed = [step for step in told if step[0] == "hashing images"]
    assert hashed == [("hashing images", min(n, num), num) for n in range(8, num + 8, 8)]
    assert folder_fingerprint(folder) == first and len(told) == len(hashed) + num // 8  # each folder is read once
