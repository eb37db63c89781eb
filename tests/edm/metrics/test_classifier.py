"""The small classifier: what it learns, that its training can be repeated and resumed, and its schedule."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edm.config import ClassifierConfig, DataConfig
from edm.cost import classifier_flops
from edm.data.dataset import open_prepared
from edm.data.prepare import prepare
from edm.metrics.classifier import ClassifierTraining, one_cycle, train_classifier
from edm.metrics.features import Classifier, extract
from edm.metrics.fid import Statistics, frechet_distance

SMALL = ClassifierConfig(channels=8, epochs=2)


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
    return state.model.eval()


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def classifier(digits):
    return trained(ClassifierConfig(), digits)


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
    other = trained(ClassifierConfig(channels=8, epochs=2, seed=1), digits)
    assert not torch.equal(other.classes.weight, states[0]["classes.weight"])


@pytest.mark.parametrize("after", [1, 18, 30], ids=["in the first epoch", "at its end", "in the second"])
def test_a_training_that_was_resumed_ends_in_the_same_weights(after, digits):
    whole, first, second = (new(SMALL, digits) for _ in range(3))
    for _ in train_classifier(whole, digits):
        pass
    assert whole.steps_per_epoch == 18
    for _ in itertools.islice(train_classifier(first, digits), after):
        pass
    second.load({name: value.clone() for name, value in first.tensors().items()})
    assert second.step == after and second.images_seen == after * SMALL.batch_size
    for _ in train_classifier(second, digits):
        pass
    assert equal(whole.tensors(), second.tensors()) and second.images_seen == second.images_in_all


def test_a_classifiers_fingerprint_changes_as_it_learns(digits):
    state, prints = new(SMALL, digits), set()
    for _ in itertools.islice(train_classifier(state, digits), 3):
        prints.add(state.model.fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("steps", [2, 10, 432])
def test_the_schedule_is_torchs_one_cycle(steps):
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    for step in range(steps):
        group = optimizer.param_groups[0]
        assert one_cycle(step, steps, 2e-3) == (group["lr"], group["betas"][0])
        optimizer.step()
        if step + 1 < steps:
            schedule.step()


@pytest.mark.parametrize(("channels", "resolution"), [(1, 8), (1, 28), (3, 32), (3, 64)])
def test_operations_are_those_that_torch_counts(channels, resolution):
    config = ClassifierConfig(channels=4, feature_channels=6)
    model = Classifier(config, channels, resolution, num_classes=5).eval()
    with FlopCounterMode(display=False) as counted:
        model(torch.zeros(1, channels, resolution, resolution, dtype=torch.uint8))
    assert classifier_flops(config, channels, resolution, 5) == counted.get_total_flops()
