"""NVlabs' networks by name: downloaded from a real server, checked by content and SHA-256, refused in one sentence."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edm.checksums import sha256_of
from edm.precondition import Denoiser
from edm.pretrained.errors import PretrainedError
from edm.pretrained.published import PUBLISHED_NETWORKS, PublishedNetwork, fetched
from edm.pretrained.read import digest_of, read_pretrained
from tests.edm.pretrained.published import nvlabs_file
from tests.edm.pretrained.publisher import NAME, SMALL, publishing, small


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    with publishing(tmp_path / "served") as folder:
        yield folder


@pytest.fixture
def model(served: Path) -> Denoiser:
    """A network of that name, as the server has it."""
    return nvlabs_file(served / f"{NAME}.pkl", small())


def test_a_network_is_downloaded_once_and_its_sha256_noted(model: Denoiser, served: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    place = fetched(SMALL, tmp_path / "networks", lambda done, total: heard.append((done, total)))
    assert digest_of(read_pretrained(place)) == digest_of(model)
    assert heard[-1] == (place.stat().st_size,) * 2
    assert place.with_suffix(".sha256").read_text() == f"{sha256_of(place)}\n"
    (served / f"{NAME}.pkl").unlink()
    assert fetched(SMALL, tmp_path / "networks") == place  # without the server
    assert {path.name for path in place.parent.iterdir()} == {f"{NAME}.pkl", f"{NAME}.sha256"}


def test_a_file_that_changed_since_is_refused(model: Denoiser, tmp_path: Path) -> None:
    place = fetched(SMALL, tmp_path)
    nvlabs_file(place, small(num_classes=5))
    with pytest.raises(PretrainedError, match=rf"has the sha256 .* delete it and {NAME}\.sha256 to have it downloaded"):
        fetched(SMALL, tmp_path)


def test_a_known_sha256_is_demanded_before_the_file_is_kept(model: Denoiser, served: Path, tmp_path: Path) -> None:
    right = PublishedNetwork(NAME, "ddpmpp", 8, 10, sha256=sha256_of(served / f"{NAME}.pkl"))
    wrong = PublishedNetwork(NAME, "ddpmpp", 8, 10, sha256="0" * 64)
    with pytest.raises(PretrainedError, match="the download is not the published file: its sha256 is"):
        fetched(wrong, tmp_path / "networks")
    assert list((tmp_path / "networks").iterdir()) == []
    assert fetched(right, tmp_path / "networks").is_file()


def test_another_network_under_the_name_is_refused(served: Path, tmp_path: Path) -> None:
    nvlabs_file(served / f"{NAME}.pkl", small(num_classes=5))
    with pytest.raises(PretrainedError, match="holds ddpmpp for images of 8 pixels a side and 5 classes, not ddpmpp"):
        fetched(SMALL, tmp_path / "networks")
    assert not (tmp_path / "networks" / f"{NAME}.sha256").exists()


def test_a_page_instead_of_a_network_is_refused(served: Path, tmp_path: Path) -> None:
    (served / f"{NAME}.pkl").write_text("<html>")
    with pytest.raises(PretrainedError, match=NAME):
        fetched(SMALL, tmp_path / "networks")


def test_where_there_is_no_file_a_sentence_says_where_to_put_it(served: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=rf"could not be downloaded from .*404.*; put the file at .*{NAME}\.pkl"):
        fetched(SMALL, tmp_path / "networks")
    (tmp_path / "networks").mkdir(exist_ok=True)
    nvlabs_file(tmp_path / "networks" / f"{NAME}.pkl", small())
    assert fetched(SMALL, tmp_path / "networks").is_file()  # as somebody put it there by hand


def test_a_note_that_cannot_be_read_gets_a_sentence(model: Denoiser, tmp_path: Path) -> None:
    place = fetched(SMALL, tmp_path)
    place.with_suffix(".sha256").unlink()
    place.with_suffix(".sha256").mkdir()
    with pytest.raises(PretrainedError, match=r"cannot be used \(.*; make it readable"):
        fetched(SMALL, tmp_path)


def test_the_names_are_those_of_the_published_files() -> None:
    assert len(PUBLISHED_NETWORKS) == 9
    network = PUBLISHED_NETWORKS["edm-cifar10-32x32-cond-vp"]
    assert network.url == "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/edm-cifar10-32x32-cond-vp.pkl"
    assert (network.architecture, network.resolution, network.num_classes) == ("ddpmpp", 32, 10)
    for name, network in PUBLISHED_NETWORKS.items():
        assert (network.num_classes > 0) == ("-cond-" in name) and f"{network.resolution}x" in name
