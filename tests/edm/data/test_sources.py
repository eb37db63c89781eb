"""Published files: found in the layouts that people have, fetched whole or not at all."""

import http.server
import os
import pickle
import shutil
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edm.data.catalogue import CATALOGUE, SourceFile
from edm.data.errors import DataError
from edm.data.sources import MissingFilesError, Origin, published
from tests.datafiles import md5, tiny_celeba, tiny_cifar10, tiny_fashion_mnist
from tests.edm.data.opened import load, quiet

OFFLINE = "http://127.0.0.1:9/"


def locate(name: str, origin: Origin, files: tuple[SourceFile, ...] | None = None) -> list[Path]:
    return published(name, files or CATALOGUE[name].files, origin, quiet)


def readdress(monkeypatch: pytest.MonkeyPatch, name: str, base: str) -> None:
    """Let the files of a data set be fetched below `base`."""
    known = CATALOGUE[name]
    files = tuple(replace(file, url=base + file.name) for file in known.files)
    monkeypatch.setitem(CATALOGUE, name, replace(known, files=files))


# looking ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "FashionMNIST", "FashionMNIST/raw"])
def test_torchvisions_layout_is_entered_at_any_level(tmp_path: Path, monkeypatch, inside: str) -> None:
    tiny_fashion_mnist(tmp_path, monkeypatch)
    paths = locate("fashion_mnist", Origin.given(tmp_path / inside))
    assert [path.parent for path in paths] == [tmp_path / "FashionMNIST" / "raw"] * 4


def test_a_flat_folder_will_do(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path / "tv", monkeypatch)
    flat = Path(shutil.copytree(tmp_path / "tv" / "celeba", tmp_path / "flat"))
    assert [path.parent for path in locate("celeba", Origin.given(flat))] == [flat] * 2


def test_a_file_of_several_may_be_given_for_all(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    folder = tmp_path / "celeba"
    expected = [folder / "img_align_celeba.zip", folder / "list_eval_partition.txt"]
    for path in expected:
        assert locate("celeba", Origin.given(path)) == expected


def test_an_archive_may_have_any_name(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-python.tar.gz").rename(tmp_path / "mine.tgz")
    assert list(Origin.given(tmp_path / "mine.tgz").archives("cifar10")) == [tmp_path / "mine.tgz"]


def test_layouts_may_have_wildcards_and_be_entered_at_any_level(tmp_path: Path) -> None:
    deepest = tmp_path / "datasets--uoft-cs--cifar10" / "snapshots" / "abc" / "plain_text"
    deepest.mkdir(parents=True)
    for place in (tmp_path, *list(deepest.parents)[:3], deepest):
        assert deepest in Origin.given(place).folders("cifar10")


def test_a_folder_to_fetch_into_need_not_exist_and_may_begin_with_a_tilde(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Origin.fetching(Path("~/sources")) == Origin(tmp_path / "sources", download=True)


def test_a_place_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such file or folder"):
        Origin.given(tmp_path / "absent")


def test_every_missing_file_is_named_with_size_checksum_place_and_address(tmp_path: Path, monkeypatch) -> None:
    tiny_fashion_mnist(tmp_path, monkeypatch)
    gone = [CATALOGUE["fashion_mnist"].files[i] for i in (1, 2)]
    for file in gone:
        (tmp_path / "FashionMNIST" / "raw" / file.name).unlink()
    with pytest.raises(DataError) as refusal:
        locate("fashion_mnist", Origin.given(tmp_path))
    message = str(refusal.value)
    for file in gone:
        assert f"{file.name} ({file.size:,} bytes, md5 {file.md5})" in message
    assert f"are not in {tmp_path}; get them from https://github.com/zalandoresearch/fashion-mnist" in message
    assert "train-images" not in message and message.endswith(" and put them there")
    assert isinstance(refusal.value, MissingFilesError)
    assert (refusal.value.dataset, list(refusal.value.files), refusal.value.folder) == ("fashion_mnist", gone, tmp_path)
    assert str(pickle.loads(pickle.dumps(refusal.value))) == message
    assert not list(tmp_path.rglob("*.part"))


# what is no file ----------------------------------------------------------------------------------


def test_a_pipe_or_a_device_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: is a pipe; give a file or a folder"):
        Origin.given(tmp_path / "pipe")
    with pytest.raises(DataError, match="/dev/zero: is a device; give a file or a folder"):
        Origin.given(Path("/dev/zero"))


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "celeba"])
def test_a_pipe_in_the_place_of_a_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    file = CATALOGUE[name].files[0]
    os.mkfifo(tmp_path / file.name)
    with pytest.raises(DataError, match=f"{file.name}.*is not (a regular file|in)"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "celeba"])
def test_a_folder_in_the_place_of_a_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    file = CATALOGUE[name].files[0]
    (tmp_path / file.name).mkdir()
    with pytest.raises(DataError, match=f"{file.name}.*is not (a regular file|in)"):
        load(name, tmp_path)


# fetching -----------------------------------------------------------------------------------------


def test_absent_files_are_fetched_into_torchvisions_layout(tmp_path: Path, monkeypatch) -> None:
    tiny_fashion_mnist(tmp_path / "web", monkeypatch)
    web = tmp_path / "web" / "FashionMNIST" / "raw"
    readdress(monkeypatch, "fashion_mnist", web.as_uri() + "/")
    paths = locate("fashion_mnist", Origin(tmp_path / "here", download=True))
    assert [path.relative_to(tmp_path / "here").parent for path in paths] == [Path("FashionMNIST/raw")] * 4
    assert [path.read_bytes() for path in paths] == [(web / path.name).read_bytes() for path in paths]
    readdress(monkeypatch, "fashion_mnist", OFFLINE)
    assert locate("fashion_mnist", Origin(tmp_path / "here", download=True)) == paths


def test_nothing_is_fetched_into_a_folder_that_was_given(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path / "web", monkeypatch)
    readdress(monkeypatch, "cifar10", (tmp_path / "web").as_uri() + "/")
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=r"is not in .*mine; get it from"):
        locate("cifar10", Origin.given(tmp_path / "mine"))
    assert not list((tmp_path / "mine").iterdir())


def test_offline_is_one_sentence_with_the_place_and_the_checksum(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path / "web", monkeypatch)
    readdress(monkeypatch, "cifar10", OFFLINE)
    with pytest.raises(DataError) as refusal:
        locate("cifar10", Origin(tmp_path / "here", download=True))
    message, file = str(refusal.value), CATALOGUE["cifar10"].files[0]
    assert f"md5 {file.md5}) is not in {tmp_path / 'here'} and could not be downloaded (" in message
    assert "refused" in message and f"get it from {OFFLINE}{file.name} and put it there" in message


def test_what_is_fetched_is_verified_before_it_has_its_name(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path / "web", monkeypatch)
    archive = tmp_path / "web" / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    readdress(monkeypatch, "cifar10", (tmp_path / "web").as_uri() + "/")
    found = md5(archive.read_bytes())
    with pytest.raises(DataError, match=rf"could not be downloaded \(the download is not .*: its md5 is {found}\)"):
        locate("cifar10", Origin(tmp_path / "here", download=True))
    assert not list((tmp_path / "here").iterdir())


@pytest.fixture
def breaking_server() -> Iterator[str]:
    """Announces more than it sends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"half of it")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_connection_that_breaks_leaves_a_part_alone(tmp_path: Path, monkeypatch, breaking_server: str) -> None:
    tiny_cifar10(tmp_path / "web", monkeypatch)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    readdress(monkeypatch, "cifar10", breaking_server)
    with pytest.raises(DataError, match=r"could not be downloaded \(the connection ended after 10 of"):
        locate("cifar10", Origin(tmp_path / "here", download=True))
    assert [path.read_bytes() for path in (tmp_path / "here").iterdir()] == [b"half of it"]


def test_celeba_without_gdown_says_what_is_missing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DataError) as refusal:
        locate("celeba", Origin(tmp_path, download=True))
    message = str(refusal.value)
    assert "img_align_celeba.zip (1,443,490,838 bytes, md5 00d2c5bc6d35e252742224ab0c1e8fcb)" in message
    assert "list_eval_partition.txt (2,836,386 bytes, md5 d32c9cbf5e040fd4025c592c306e6668)" in message
    assert f"are not in {tmp_path / 'celeba'}" in message and "pip install gdown" in message


def test_celeba_comes_from_the_drive_by_torchvision_where_gdown_is(tmp_path: Path, monkeypatch) -> None:
    """gdown itself is stood in for: it hands out files by their id."""
    tiny_celeba(tmp_path / "drive", monkeypatch)
    by_id = {file.drive_id: tmp_path / "drive" / "celeba" / file.name for file in CATALOGUE["celeba"].files}

    def download(id: str, output: str, **_: object) -> None:
        shutil.copy(by_id[id], output)

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    paths = locate("celeba", Origin(tmp_path / "here", download=True))
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in by_id.values()]
    assert {path.name for path in (tmp_path / "here" / "celeba").iterdir()} == {path.name for path in paths}
