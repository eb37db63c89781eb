"""Feature extractors: a classifier that can read, features free of how images are split, Inception and its file."""

import hashlib
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from pytorch_fid import inception
from torch import nn

from edm import features
from edm.config import ClassifierConfig, DataConfig
from edm.data.prepare import open_prepared, prepare
from edm.features import (
    EXTRACTOR_BATCH,
    INCEPTION_FILE,
    INCEPTION_SHA256,
    INCEPTION_URL,
    Classifier,
    Inception,
    WeightsError,
    extract,
    image_statistics,
    inception_file,
    train_classifier,
)
from edm.fid import Statistics, frechet_distance

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return open_prepared(folder, prepare(DataConfig("digits"), folder)["sigma_data"])


@pytest.fixture(scope="module")
def classifier(digits):
    *_, trained = train_classifier(ClassifierConfig(), digits, 10)
    return trained


def random_images(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_classifier_reads_digits_it_has_not_seen(classifier, digits):
    images, labels = digits.split("test")
    _, found = extract(classifier, images)
    assert float((found == labels).double().mean()) >= 0.95
    assert not classifier.training


def test_frechet_distance_of_classifier_features_tells_digits_from_noise(classifier, digits):
    train, test = (image_statistics(classifier, digits.split(name)[0]) for name in ("train", "test"))
    noise = image_statistics(classifier, random_images(300, 1, 8, 8))
    assert 10 * frechet_distance(train, test) < frechet_distance(train, noise)


def test_classifier_training_is_deterministic(digits):
    config = ClassifierConfig(channels=8, epochs=2)
    states = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):  # of the global generator, which must not matter
            torch.manual_seed(seed)
            *_, trained = train_classifier(config, digits, 10)
            states.append(trained.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    *_, other = train_classifier(ClassifierConfig(channels=8, epochs=2, seed=1), digits, 10)
    assert not torch.equal(other.classes.weight, states[0]["classes.weight"])


def test_classifier_is_yielded_after_every_epoch(digits):
    assert len(list(train_classifier(ClassifierConfig(channels=4, epochs=3), digits, 10))) == 3


@pytest.mark.parametrize(("image_channels", "resolution"), [(1, 8), (3, 32), (3, 64)])
def test_classifier_fits_any_data_set(image_channels, resolution):
    config = ClassifierConfig(channels=4, feature_channels=6)
    model = Classifier(config, image_channels, resolution, num_classes=5).eval()
    found, scores = model(random_images(2, image_channels, resolution, resolution))
    assert found.shape == (2, model.dimension) == (2, 6)
    assert scores.shape == (2, 5)


@pytest.mark.parametrize("sizes", [[250], [100, 100, 50], [1, 99, 150], [33, 217]])
def test_features_do_not_depend_on_how_images_are_split(classifier, digits, sizes):
    images = digits.images[:250]
    whole, classes = extract(classifier, images)
    parts = [extract(classifier, part) for part in images.split(sizes)]
    torch.testing.assert_close(torch.cat([found for found, _ in parts]), whole, rtol=0, atol=1e-5)
    assert torch.equal(torch.cat([found for _, found in parts]), classes)


def first_pixels(batch):
    """An extractor without classes: an image's first two pixels."""
    batch_sizes.append(len(batch))
    return batch.flatten(1)[:, :2].float(), None


batch_sizes = []


@pytest.mark.parametrize("num", [1, 99, 100, 101, 250])
def test_every_batch_has_one_size_and_padding_is_dropped(num):
    batch_sizes.clear()
    images = random_images(num, 1, 2, 2)
    first_pixels.dimension, first_pixels.knows_classes = 2, False
    found, classes = extract(first_pixels, images)
    assert classes is None
    assert torch.equal(found, images.flatten(1)[:, :2].float())
    assert batch_sizes == [EXTRACTOR_BATCH] * -(-num // EXTRACTOR_BATCH)


@pytest.mark.parametrize("chunk", [7, 100, 250, 1000])
def test_image_statistics_are_those_of_the_whole(classifier, digits, chunk):
    images, heard = digits.images[:250], []
    found = image_statistics(classifier, images, chunk=chunk, on_progress=heard.append)
    whole = Statistics.of(extract(classifier, images)[0])
    assert found.count == 250
    assert heard == [*range(chunk, 250, chunk), 250]
    torch.testing.assert_close(found.mean, whole.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.scatter, whole.scatter, rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def inception_weights():
    """Random weights of pytorch-fid's Inception, whose names and shapes are torchvision's, scaled to keep variances."""
    network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    return network.state_dict()


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32)])
def test_inception_features_are_pytorch_fids_own(inception_weights, monkeypatch, channels, side):
    fetch = inception.load_state_dict_from_url
    extractor = Inception(inception_weights, CPU)
    assert inception.load_state_dict_from_url is fetch
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: inception_weights)
    reference = inception.InceptionV3([3], resize_input=False).eval()

    images = random_images(2, channels, side, side)
    found, scores = extractor(images)
    unit = images.float() / 255
    color = torch.cat([unit] * 3, dim=1) if channels == 1 else unit
    resized = F.interpolate(color, size=(299, 299), mode="bilinear", align_corners=False)
    expected = reference(resized)[0].flatten(1)
    assert scores is None
    assert found.shape == (2, Inception.dimension)
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_fetch_function_is_put_back_if_the_weights_do_not_fit():
    fetch = inception.load_state_dict_from_url
    with pytest.raises(RuntimeError, match="Missing key"):
        Inception({}, CPU)
    assert inception.load_state_dict_from_url is fetch


@pytest.fixture
def no_network(monkeypatch):
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.delenv("EDM_SWEEP_WEIGHTS", raising=False)


@pytest.fixture
def other_content(monkeypatch):
    """Bytes that count as the published file."""
    content = b"weights"
    monkeypatch.setattr(features, "INCEPTION_SHA256", hashlib.sha256(content).hexdigest())
    return content


@pytest.mark.usefixtures("no_network")
def test_absent_weights_are_answered_with_file_checksum_and_place(tmp_path):
    with pytest.raises(WeightsError) as refusal:
        inception_file(tmp_path / "weights")
    message = str(refusal.value)
    place = str(tmp_path / "weights" / INCEPTION_FILE)
    for part in ("no route to host", INCEPTION_FILE, INCEPTION_SHA256, INCEPTION_URL, place, "EDM_SWEEP_WEIGHTS"):
        assert part in message
    assert "evaluation.features: classifier" in message
    assert isinstance(refusal.value.__cause__, URLError)


@pytest.mark.usefixtures("no_network")
def test_wrong_weights_are_answered_with_both_checksums(tmp_path):
    path = tmp_path / INCEPTION_FILE
    path.write_bytes(b"an error page")
    with pytest.raises(WeightsError) as refusal:
        inception_file(tmp_path)
    for part in (str(path), INCEPTION_SHA256, hashlib.sha256(b"an error page").hexdigest(), "replace"):
        assert part in str(refusal.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("by", ["file", "folder"])
def test_weights_are_found_where_the_variable_points(tmp_path, monkeypatch, other_content, by):
    path = tmp_path / ("mine.pth" if by == "file" else INCEPTION_FILE)
    path.write_bytes(other_content)
    monkeypatch.setenv("EDM_SWEEP_WEIGHTS", str(path if by == "file" else tmp_path))
    assert inception_file() == path


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("by", ["file", "folder"])
def test_wrong_weights_where_the_variable_points_are_refused(tmp_path, monkeypatch, by):
    path = tmp_path / ("mine.pth" if by == "file" else INCEPTION_FILE)
    path.write_bytes(b"something else")
    monkeypatch.setenv("EDM_SWEEP_WEIGHTS", str(path if by == "file" else tmp_path))
    with pytest.raises(WeightsError, match="not the published file") as refusal:
        inception_file()
    assert str(path) in str(refusal.value)


@pytest.mark.usefixtures("no_network")
def test_a_folder_that_is_given_comes_before_the_variable(tmp_path, monkeypatch, other_content):
    monkeypatch.setenv("EDM_SWEEP_WEIGHTS", str(tmp_path / "elsewhere"))
    (tmp_path / INCEPTION_FILE).write_bytes(other_content)
    assert inception_file(tmp_path) == tmp_path / INCEPTION_FILE


@pytest.mark.usefixtures("no_network")
def test_weights_are_looked_for_in_torchs_cache_by_default(tmp_path, monkeypatch, other_content):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / INCEPTION_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(other_content)
    assert inception_file() == path


def test_absent_weights_are_fetched_and_checked(tmp_path, monkeypatch, other_content):
    asked = []

    def fetch(url, place, **_):
        asked.append(url)
        with open(place, "wb") as file:
            file.write(other_content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    path = inception_file(tmp_path / "new")
    assert path == tmp_path / "new" / INCEPTION_FILE
    assert inception_file(tmp_path / "new") == path
    assert asked == [INCEPTION_URL]
