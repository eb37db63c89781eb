"""Preparing a data set: once, from files in their real formats, to the same bytes however it is done."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from edm.config import SPLITS, DataConfig
from edm.data import loaders
from edm.data import prepare as preparation
from edm.data.catalogue import CATALOGUE, facts, source_fingerprint, split_indices
from edm.data.dataset import open_prepared
from edm.data.decoded import CONTENT, JOURNAL, Chunk, Decoded
from edm.data.loaders import ArrayPictures
from edm.data.prepare import FILES, PARTS, DataError, in_order, prepare
from edm.data.sources import Origin
from tests.datafiles import encoded, image_tree, tiny_celeba, tiny_cifar10, tiny_fashion_mnist, zipped

SIZES = {"train": 1197, "val": 300, "test": 300}
PUBLISHED = {"fashion_mnist": tiny_fashion_mnist, "cifar10": tiny_cifar10, "celeba": tiny_celeba}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folder, prepare(DataConfig("digits"), folder)


@pytest.fixture(scope="module")
def digits(written):
    folder, record = written
    return open_prepared(folder, record["sigma_data"])


@pytest.fixture(params=[*PUBLISHED, "folder"])
def any_set(request, tmp_path, monkeypatch) -> tuple[DataConfig, Origin | None]:
    """A configuration of every kind of data set but the digits, and where its tiny files are."""
    root = tmp_path / "files"
    if request.param == "folder":
        image_tree(root, *(f"{c}/{i}.png" for c in "ab" for i in range(15)))
        return DataConfig("folder", resolution=16, path=str(root)), None
    PUBLISHED[request.param](root, monkeypatch)
    return DataConfig(request.param), Origin.given(root)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def into(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


# digits -------------------------------------------------------------------------------------------


def test_images_and_labels_are_scikit_learns(digits) -> None:
    source = load_digits()
    assert digits.images.shape == (1797, 1, 8, 8) and digits.images.dtype == torch.uint8
    assert digits.labels.dtype == torch.int64 and np.array_equal(digits.labels.numpy(), source.target)
    assert np.array_equal(digits.images[:, 0].numpy(), np.round(source.images * 255 / 16))
    assert len(digits.images.unique()) == 17 and digits.images.max() == 255


def test_digits_have_the_fingerprint_that_is_pinned(written, digits) -> None:
    _, record = written
    direct = hashlib.sha256(digits.images.numpy().tobytes() + digits.labels.numpy().astype("<i8").tobytes())
    assert record["fingerprint"] == direct.hexdigest() == CATALOGUE["digits"].pinned


def test_sigma_data_of_the_digits_is_pinned_to_the_last_bit(written) -> None:
    assert written[1]["sigma_data"] == 0.7522098699400815  # what numpy's float64 std of the train split gave before


@pytest.mark.parametrize("part", ["images", "labels"])
def test_changed_digits_are_refused_with_a_remedy(monkeypatch, tmp_path, part: str) -> None:
    changed = loaders.load_digits(DataConfig(), Origin(tmp_path), lambda *_: None)
    assert isinstance(changed, ArrayPictures)
    getattr(changed, part).flat[1234] += 1
    monkeypatch.setitem(loaders.LOADERS, "digits", lambda *_: changed)
    with pytest.raises(DataError) as refusal:
        prepare(DataConfig("digits"), tmp_path)
    message = str(refusal.value)
    assert message.startswith("digits: ") and "reinstall" in message
    assert str(CATALOGUE["digits"].pinned)[:16] in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_is_its_images_and_labels(digits, name) -> None:
    images, labels = digits.split(name)
    assert len(images) == len(labels) == SIZES[name]
    assert torch.equal(images[-1], digits.images[digits.splits[name][-1]])
    assert labels.tolist() == [int(digits.labels[i]) for i in digits.splits[name]]
    assert torch.equal(digits.images[digits.indices(name)], images) and digits.indices(name).dtype == torch.int64


def test_prepared_data_cannot_be_changed_through_its_map(written) -> None:
    folder, record = written
    before = (folder / "images.npy").read_bytes()
    first = open_prepared(folder, record["sigma_data"])
    first.images[0] = 7
    assert (folder / "images.npy").read_bytes() == before
    assert not torch.equal(open_prepared(folder, record["sigma_data"]).images[0], first.images[0])


# every data set -----------------------------------------------------------------------------------


def test_what_is_prepared_is_what_the_plan_was_told(any_set, tmp_path) -> None:
    config, origin = any_set
    folder = into(tmp_path, "out")
    record = prepare(config, folder, origin)
    known, data = facts(config), open_prepared(folder, record["sigma_data"])
    assert data.images.shape == (sum(known.splits.values()), known.channels, known.resolution, known.resolution)
    assert data.images.dtype == torch.uint8 and data.splits == split_indices(config)
    assert set(data.labels.tolist()) <= set(range(max(known.num_classes, 1)))
    assert record["images"] == len(data.images) and record["splits"] == known.splits
    assert record["shape"] == list(data.images.shape[1:]) and record["num_classes"] == known.num_classes
    assert record["config"] == asdict(config) and record["source"]["fingerprint"] == source_fingerprint(config)
    json.dumps(record)


def test_sigma_data_is_the_deviation_of_the_train_split(any_set, tmp_path) -> None:
    config, origin = any_set
    record = prepare(config, tmp_path, origin)
    images = np.load(tmp_path / "images.npy").astype(np.longdouble)
    of = {name: float((images[i] / 127.5 - 1).std()) for name, i in split_indices(config).items()}
    assert record["sigma_data"] == pytest.approx(of["train"], rel=1e-15)
    assert record["sigma_data"] != pytest.approx(of["test"], rel=1e-6)


@pytest.mark.parametrize("num", [0, 1, preparation.PIECE, 2 * preparation.PIECE + 3])
def test_sums_of_the_largest_bytes_do_not_overflow(num: int) -> None:
    assert preparation._sums(np.full(num, 255, dtype=np.uint8)) == (255 * num, 255**2 * num)


def test_the_fingerprint_is_of_all_images_and_labels(any_set, tmp_path) -> None:
    record = prepare(any_set[0], tmp_path, any_set[1])
    images, labels = np.load(tmp_path / "images.npy"), np.load(tmp_path / "labels.npy")
    assert record["fingerprint"] == hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


def test_threads_and_chunks_do_not_change_a_byte(any_set, tmp_path, monkeypatch) -> None:
    config, origin = any_set
    first = prepare(config, into(tmp_path, "whole"), origin, threads=1)
    size = 3 * facts(config).channels * facts(config).resolution ** 2
    monkeypatch.setattr(preparation, "CHUNK_BYTES", size)  # three images
    second = prepare(config, into(tmp_path, "chunks"), origin, threads=4)
    assert first == second and contents(tmp_path / "whole") == contents(tmp_path / "chunks")


def test_progress_reaches_the_end(any_set, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(preparation, "MAX_CHUNK", 4)
    told: list[tuple[str, int, int]] = []
    record = prepare(any_set[0], tmp_path, any_set[1], lambda *step: told.append(step))
    done = [done for step, done, _ in told if step == "decoding"]
    assert done == sorted(done) and len(done) > 1
    assert told[-1] == ("decoding", record["images"], record["images"])


def test_what_an_earlier_attempt_left_is_overwritten(any_set, tmp_path) -> None:
    config, origin = any_set
    prepare(config, into(tmp_path, "fresh"), origin)
    used = into(tmp_path, "used")
    (used / "images.npy").write_bytes(b"half of it" * 10**6)
    (used / "splits.json").write_text("{")
    prepare(config, used, origin)
    assert contents(used) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_files_leave_nothing_behind(tmp_path, name: str) -> None:
    with pytest.raises(DataError, match=r"get (it|them) from"):
        prepare(DataConfig(name), into(tmp_path, "out"), Origin.given(into(tmp_path, "empty")))
    assert not list((tmp_path / "out").iterdir())


def test_a_broken_image_leaves_nothing_behind(tmp_path) -> None:
    root = image_tree(tmp_path / "files", *(f"{i}.png" for i in range(30)))
    (root / "7.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"7.png: cannot be decoded \(it is not a picture\)"):
        prepare(DataConfig("folder", resolution=8, path=str(root)), into(tmp_path, "out"))
    assert not list((tmp_path / "out").iterdir())


def test_images_of_one_value_are_refused(tmp_path) -> None:
    """Their deviation is 0, which the network's output is scaled by."""
    root = into(tmp_path, "files")
    for i in range(30):
        (root / f"{i}.png").write_bytes(encoded(Image.new("L", (8, 8), 7), "PNG"))
    with pytest.raises(
        DataError, match=r"files: all pixels of the images in train have one value.*; give other images"
    ):
        prepare(DataConfig("folder", resolution=8, path=str(root)), into(tmp_path, "out"))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("archive", [False, True])
def test_all_broken_images_are_named_at_once(tmp_path, monkeypatch, archive) -> None:
    monkeypatch.setattr(preparation, "MAX_CHUNK", 4)
    root = image_tree(tmp_path / "files", *(f"{c}/{i:02d}.png" for c in "ab" for i in range(30)))
    for name in ("b/03", "a/07", "a/08", "b/29"):
        (root / f"{name}.png").write_bytes(b"no picture")
    (root / "a" / "20.png").write_bytes((root / "a" / "20.png").read_bytes()[:60])
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    files = {name: (root / name).read_bytes() for name in names}
    place = zipped(tmp_path / "files.zip", files) if archive else root
    with pytest.raises(DataError) as refusal:
        prepare(DataConfig("folder", resolution=8, path=str(place)), into(tmp_path, "out"))
    message = str(refusal.value)
    assert message.startswith(f"{place}: 5 files cannot be used; a/07.png, a/08.png, b/03.png and b/29.png: ")
    assert "b/29.png: cannot be decoded (it is not a picture); a/20.png: cannot be decoded (" in message
    assert message.endswith("); replace or remove them") and not list((tmp_path / "out").iterdir())


def test_many_broken_images_are_counted(tmp_path) -> None:
    root = image_tree(tmp_path / "files", *(f"{i:02d}.png" for i in range(40)))
    for i in range(37):
        (root / f"{i:02d}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r": 37 files cannot be used; 00.png, .* and 09.png: .*; and 27 more; replace"):
        prepare(DataConfig("folder", resolution=8, path=str(root)), into(tmp_path, "out"))


def test_after_a_broken_image_nothing_more_is_kept(tmp_path, monkeypatch) -> None:
    """Otherwise a kill would leave the images that follow in the places of others."""
    monkeypatch.setattr(preparation, "MAX_CHUNK", 4)
    root = image_tree(tmp_path / "files", *(f"{i:02d}.png" for i in range(40)))
    (root / "09.png").write_bytes(b"no picture")
    kept: list[int] = []

    def look(_step: str, done: int, _total: int) -> None:
        kept.append(len((tmp_path / "out" / JOURNAL).read_text().splitlines()) - 1)
        told.append(done)

    told: list[int] = []
    with pytest.raises(DataError, match=r"09.png: cannot be decoded"):
        prepare(DataConfig("folder", resolution=8, path=str(root)), into(tmp_path, "out"), on_progress=look)
    assert told == list(range(4, 41, 4)) and kept == [1, *[2] * 9]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    def full(_decoded: Decoded, _chunk: Chunk) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Decoded, "add", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\); make room there"):
        prepare(DataConfig(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def killed(tmp_path) -> DataConfig:
    """A folder of 60 images whose preparation, into `out`, was killed after 20, in chunks of four."""
    root = image_tree(tmp_path / "files", *(f"{i}.png" for i in range(60)))
    config = DataConfig("folder", resolution=16, path=str(root))
    code = f"""
import os, signal
from pathlib import Path
from edm.config import DataConfig
from edm.data import prepare
prepare.MAX_CHUNK = 4
def kill(step, done, total):
    if done == 20: os.kill(os.getpid(), signal.SIGKILL)
prepare.prepare({config!r}, Path({str(into(tmp_path, "out"))!r}), on_progress=kill, threads=2)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -9
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(PARTS)
    return config


def flip(path: Path) -> None:
    """Change the last byte of what was decoded."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda _folder: None, 20),
        (lambda folder: flip(folder / CONTENT), 16),
        (lambda folder: (folder / CONTENT).unlink(), 0),
        (lambda folder: (folder / JOURNAL).write_text(""), 0),
        (lambda folder: (folder / JOURNAL).write_bytes((folder / JOURNAL).read_bytes()[:-9]), 16),
    ],
    ids=["as it is", "a changed byte", "no images", "an empty journal", "half a line"],
)
def test_what_was_decoded_before_a_kill_is_not_decoded_again(killed, tmp_path, monkeypatch, damage, kept) -> None:
    monkeypatch.setattr(preparation, "MAX_CHUNK", 4)
    damage(tmp_path / "out")
    decoded: list[int] = []
    original = loaders.FolderPictures.read

    def read(self, start: int, stop: int):
        decoded.extend(range(start, stop))
        return original(self, start, stop)

    monkeypatch.setattr(loaders.FolderPictures, "read", read)
    record = prepare(killed, tmp_path / "out")
    assert sorted(decoded) == list(range(kept, 60))
    assert record == prepare(killed, into(tmp_path, "undisturbed"))
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)


def test_other_chunks_than_before_the_kill_begin_again(killed, tmp_path) -> None:
    prepare(killed, tmp_path / "out")
    prepare(killed, into(tmp_path, "undisturbed"))
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_an_interrupted_preparation_keeps_what_is_decoded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(preparation, "MAX_CHUNK", 100)

    def interrupt(_step: str, done: int, _total: int) -> None:
        if done == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(DataConfig(), tmp_path, on_progress=interrupt)
    assert len((tmp_path / JOURNAL).read_text().splitlines()) >= 1 + 3


# order and look-ahead -----------------------------------------------------------------------------


def test_results_come_in_order_and_threads_run_only_a_little_ahead() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    results = []
    for result in in_order(work, range(100), threads=3):
        results.append(result)
        assert len(begun) <= len(results) + preparation.AHEAD * 3 + 1
    assert results == [i * i for i in range(100)]


def test_a_failure_ends_the_work() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 5:
            raise DataError("broken")
        return item

    with pytest.raises(DataError, match="broken"):
        list(in_order(work, range(10_000), threads=2))
    assert len(begun) < 50
