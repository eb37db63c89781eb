"""The small classifier: what it learns, when its training ends, and that this can be repeated and resumed."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edm.config import ClassifierConfig, DataConfig, FormerClassifierConfig
from edm.cost import classifier_flops
from edm.data.dataset import Dataset, open_prepared
from edm.data.prepare import prepare
from edm.metrics import classifier as classifier_module
from edm.metrics.classifier import ClassifierTraining, train_classifier
from edm.metrics.features import Classifier, extract
from edm.metrics.fid import Statistics, frechet_distance
from edm.step_graph import WARM_UP, ReplayedFunction
from tests.edm.test_step_graph import CallingRecorder

SMALL = ClassifierConfig(channels=8, batch_size=64, check_steps=10, most_checks=2)  # 36 steps


pytestmark = pytest.mark.usefixtures("one_thread")  # bits depend on the number of threads


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return open_prepared(folder, prepare(DataConfig("digits"), folder)["sigma_data"])


def new(config, data):
    return ClassifierTraining(config, 1, 8, 10, len(data.splits["train"]))


def trained(config, data):
    state = new(config, data)
    for _ in train_classifier(state, data):
        pass
    return state.trained()


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def classifier(digits):
    return trained(ClassifierConfig(), digits)


def test_a_replayed_gradient_trains_the_same_classifier(digits):
    plain, replayed = (new(ClassifierConfig(channels=4, batch_size=32), digits) for _ in range(2))
    replayed.gradient = ReplayedFunction(replayed.compute_gradient, CallingRecorder())
    for state in (plain, replayed):
        for _ in itertools.islice(train_classifier(state, digits), WARM_UP + 5):
            pass
    assert equal(plain.tensors(), replayed.tensors())


def test_classifier_reads_digits_it_has_not_seen(classifier, digits):
    images, labels = digits.split("test")
    _, found = extract(classifier, images)
    assert float((found == labels).double().mean()) >= 0.95


def test_frechet_distance_of_classifier_features_tells_digits_from_noise(classifier, digits):
    random = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sets = (digits.split("train")[0], digits.split("test")[0], random)
    train, test, noise = (Statistics.of(extract(classifier, images)[0]) for images in sets)
    assert 10 * frechet_distance(train, test) < frechet_distance(train, noise)


def test_classifier_training_is_deterministic(digits):
    states = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):  # of the global generator, which must not matter
            torch.manual_seed(seed)
            states.append(trained(SMALL, digits).state_dict())
    assert equal(*states)
    other = trained(replace(SMALL, seed=1), digits)
    assert not torch.equal(other.classes.weight, states[0]["classes.weight"])


@pytest.mark.parametrize(
    ("after", "steps"),
    [(1, 1), (19, 18), (30, 29)],
    ids=["in the first epoch", "within a check", "in the second epoch"],
)
def test_a_training_that_was_resumed_ends_in_the_same_weights(after, steps, digits):
    whole, first, second = (new(SMALL, digits) for _ in range(3))
    assert whole.steps_per_check == 18
    for _ in train_classifier(whole, digits):
        pass
    for _ in itertools.islice(train_classifier(first, digits), after):
        pass
    second.load({name: value.clone() for name, value in first.tensors().items()})
    assert second.step == steps and second.images_seen == steps * SMALL.batch_size
    for _ in train_classifier(second, digits):
        pass
    assert equal(whole.tensors(), second.tensors()) and second.images_seen == second.images_in_all


class Accuracies:
    """Stands in for the checks of a training, which then have these accuracies."""

    def __init__(self, monkeypatch, accuracies):
        left = iter(accuracies)

        def check(state, _held_out):
            state.take_in(next(left))
            yield

        monkeypatch.setattr(classifier_module, "_check", check)


@pytest.mark.parametrize(
    ("accuracies", "checks", "best"),
    [
        ([0.5, 0.6, 0.6, 0.5, 0.6, 0.9], 5, 2),
        ([0.5, 0.4, 0.4, 0.6, 0.1, 0.2, 0.3, 0.9], 7, 4),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 8, 8),
    ],
    ids=["three checks without a gain", "a gain begins the count again", "as many as there may be"],
)
def test_training_ends_when_the_held_out_accuracy_no_longer_rises(monkeypatch, digits, accuracies, checks, best):
    Accuracies(monkeypatch, accuracies)
    state = new(replace(SMALL, channels=2, check_steps=1, batch_size=1197, most_checks=8), digits)
    averages = {}
    for _ in train_classifier(state, digits):
        averages[state.step] = {name: value.clone() for name, value in state.average.state_dict().items()}
    assert (state.checks, state.step) == (checks, checks) and state.best_accuracy == accuracies[best - 1]
    assert equal(averages[best], state.trained().state_dict())
    assert checks == best or not equal(averages[best], state.average.state_dict())


def test_a_check_counts_the_held_out_images_that_are_read_right(digits):
    state = new(replace(SMALL, most_checks=1), digits)
    for _ in train_classifier(state, digits):
        pass
    images, labels = digits.split("val")
    found = extract(state.trained(), images)[1]
    assert state.best_accuracy == pytest.approx(float((found == labels).double().mean()), abs=1e-9)


def test_fewer_images_than_a_batch_are_trained_on(digits):
    few = Dataset(digits.images, digits.labels, {**digits.splits, "train": digits.splits["train"][:5]}, 0.5)
    state = new(replace(SMALL, most_checks=1), few)
    before = {name: value.clone() for name, value in state.average.state_dict().items()}
    for _ in train_classifier(state, few):
        pass
    assert state.step == SMALL.check_steps and state.images_seen == 5 * SMALL.check_steps
    assert not equal(before, state.average.state_dict())


def test_a_classifiers_fingerprint_changes_as_it_learns(digits):
    state, prints = new(SMALL, digits), set()
    for _ in itertools.islice(train_classifier(state, digits), 3):
        prints.add(state.model.fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("config", [ClassifierConfig, FormerClassifierConfig])
@pytest.mark.parametrize(("channels", "resolution"), [(1, 8), (1, 16), (1, 28), (3, 32), (3, 64), (1, 27), (1, 9)])
def test_operations_are_those_that_torch_counts(channels, resolution, config):
    config = config(channels=4, feature_channels=6)
    model = Classifier(config, channels, resolution, num_classes=5).eval()
    with FlopCounterMode(display=False) as counted:
        model(torch.zeros(1, channels, resolution, resolution, dtype=torch.uint8))
    assert classifier_flops(config, channels, resolution, 5) == counted.get_total_flops()
