"""Networks that the store does not have: files in the formats of `model.from`, and published networks by name."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from edm.config import SamplingConfig
from edm.data.dataset import to_uint8
from edm.generate import draw
from edm.pretrained import published
from edm.pretrained.read import digest_of, read_pretrained
from edm.pretrained.study import configurations
from experiments.cli.main import app
from experiments.demo import networks
from experiments.demo.drawing import Drawing
from experiments.demo.networks import Network, load, offers
from experiments.demo.recipes import python_lines
from experiments.demo.settings import form_of, read
from experiments.demo.studio import Studio
from experiments.errors import UserError
from experiments.store.store import Store
from tests.edm.pretrained.published import nvlabs_file
from tests.edm.pretrained.publisher import NAME, SMALL, publishing, small
from tests.edm.pretrained.test_diffusers import folder as diffusers_folder
from tests.edm.pretrained.test_study import checkpoint

CPU = torch.device("cpu")
FORM = form_of(SamplingConfig(steps=3), images=2)


def offered(name: str | Path, folder: Path) -> Network:
    store = Store(folder / "store")
    [offer] = offers([str(name)], store)
    return load(offer, store, CPU)


def test_networks_of_nvlabs_and_of_diffusers_are_drawn_from(tmp_path: Path) -> None:
    nvlabs_file(tmp_path / "network.pkl", small())
    diffusers_folder(tmp_path / "ddpm")
    for name, classes in (("network.pkl", 10), ("ddpm", 0)):
        network = offered(tmp_path / name, tmp_path)
        assert network.model.config.num_classes == classes
        drawing = Drawing(network, read(FORM, network), threading.Event())
        *_, last = drawing.frames()
        assert last.step == 2 and drawing.images is not None and drawing.images.shape == (2, 1, 8, 8)


def test_sampling_begins_no_higher_than_a_discrete_model_knows(tmp_path: Path) -> None:
    diffusers_folder(tmp_path / "ddpm", beta_end=0.004)
    network = offered(tmp_path / "ddpm", tmp_path)
    assert network.model.process is not None
    assert network.sampling.sigma_max == network.model.process.sigmas()[-1] < 80


def test_the_python_lines_draw_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nvlabs_file(tmp_path / "network.pkl", small())
    network = offered(tmp_path / "network.pkl", tmp_path)
    wanted = read(FORM, network)
    found: dict[str, torch.Tensor] = {}
    exec(python_lines(network, wanted, Store(tmp_path / "store")), found)
    expected = draw(network.model, wanted.sampling, torch.arange(2), torch.arange(2))
    assert torch.equal(to_uint8(found["images"]), to_uint8(expected))
    assert (tmp_path / "grid.png").is_file()


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: path.write_bytes(b"no pickle"), "network.pkl"),
        (lambda path: path.mkdir(), "is in no known format; give a model folder"),
        (lambda path: None, "does not exist; give the path of a trained network"),
    ],
)
def test_a_file_without_a_network_gets_a_sentence(tmp_path: Path, write, sentence: str) -> None:
    write(tmp_path / "network.pkl")
    with pytest.raises(UserError, match=sentence):
        offered(tmp_path / "network.pkl", tmp_path)


def test_a_study_checkpoint_needs_the_spread_of_its_images(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint.pth", list(configurations())[1])
    with pytest.raises(UserError, match=r"does not say the spread of the images .* run a sweep with model\.from"):
        offered(tmp_path / "checkpoint.pth", tmp_path)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small network is one of those that are known by name."""
    for module in (published, networks):
        monkeypatch.setattr(module, "PUBLISHED_NETWORKS", {NAME: SMALL})


def test_a_published_network_is_downloaded_by_its_name(
    known: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command itself, up to the page; the second time without the server."""
    shown: list[tuple[Studio, Network]] = []
    monkeypatch.setattr("experiments.demo.page.serve", lambda studio, first, *_: shown.append((studio, first)))
    monkeypatch.setenv("EDM_SWEEP_DATA", str(tmp_path / "data"))
    words = ["demo", NAME, "--store", str(tmp_path / "store"), "--device", "cpu"]
    with publishing(tmp_path / "served") as served:
        model = nvlabs_file(served / f"{NAME}.pkl", small())
        first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "published by NVlabs under the license CC BY-NC-SA 4.0" in first.output
    assert f"downloading {NAME}: from http://127.0.0.1:" in first.output
    second = CliRunner().invoke(app, words)
    assert second.exit_code == 0 and "downloading" not in second.output
    for studio, network in shown:
        assert list(studio.offers) == [NAME] and digest_of(network.model) == digest_of(model)
        assert network.takes_label and not network.takes_guidance  # it was trained with all labels
    place = tmp_path / "data" / "networks" / f"{NAME}.pkl"
    assert digest_of(read_pretrained(place)) == digest_of(model)


def test_what_cannot_be_downloaded_is_a_sentence(known: None, tmp_path: Path) -> None:
    with publishing(tmp_path / "served"):
        result = CliRunner().invoke(app, ["demo", NAME, "--store", str(tmp_path / "store")])
    assert isinstance(result.exception, UserError)
    assert "could not be downloaded from http://127.0.0.1:" in str(result.exception)


def test_classes_of_cifar_10_are_named(tmp_path: Path) -> None:
    names = ["edm-cifar10-32x32-cond-ve", "edm-cifar10-32x32-uncond-vp", "edm-imagenet-64x64-cond-adm"]
    assert [offer.classes[3:4] for offer in offers(names, Store(tmp_path))] == [("cat",), (), ()]


def test_known_names_are_offered_without_a_file(tmp_path: Path) -> None:
    [offer] = offers(["edm-cifar10-32x32-uncond-vp"], Store(tmp_path))
    assert offer.file is not None and offer.label_dropout == 0.0
    with pytest.raises(UserError, match="does not exist"):
        load(replace(offer, file=tmp_path / "absent.pkl"), Store(tmp_path), CPU)
