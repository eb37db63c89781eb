"""Fine-tuning begins as the trained network, whatever its architecture; only what the data's classes decide is new."""

from dataclasses import replace

import pytest
import torch

from edm.batches import TrainingSet
from edm.config import NetworkConfig, Pretrained, TrainingConfig
from edm.precondition import Denoiser
from edm.train import TrainState, train
from edm.transfer import transfer
from tests.edm.networks.literature import LITERATURE, random_weights, tiny
from tests.edm.small import NETWORK

CPU = torch.device("cpu")
CONFIG = TrainingConfig(kimg=0.032, batch_size=16, lr=1e-3)
NETWORKS: dict[str, NetworkConfig] = {"study": NETWORK, **{name: tiny(name) for name in LITERATURE}}


def trained_as(network: NetworkConfig) -> Denoiser:
    model = Denoiser(network, 0.4).eval()
    random_weights(model)
    for name, value in model.named_buffers():
        if name.endswith("running_var"):
            value.abs_()
    return model


def to_train(trained: Denoiser, num_classes: int, **more: object) -> NetworkConfig:
    pretrained = Pretrained("somewhere", "digest", trained.config, trained.sigma_data)
    fields = {"resolution": trained.config.resolution, "dropout": 0.0} | more
    return pretrained.network.to_train(num_classes=num_classes, **fields)


def begun(network: NetworkConfig, trained: Denoiser, config: TrainingConfig = CONFIG, seed: int = 0) -> TrainState:
    return TrainState(config.prepared(network), config, trained.sigma_data, seed, CPU, trained=trained)


def inputs(network: NetworkConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, network.image_channels, network.resolution, network.resolution, generator=generator)
    return images, torch.tensor([0.1, 3.0]), torch.tensor([0, 1])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_weights_and_their_average_are_the_trained_ones(name: str) -> None:
    trained = trained_as(NETWORKS[name])
    state = begun(to_train(trained, trained.config.num_classes), trained, seed=7)
    given = trained.state_dict()
    for module in (state.denoiser, state.ema.module):
        assert all(torch.equal(value, given[key]) for key, value in module.state_dict().items())
    x, sigma, label = inputs(trained.config)
    with torch.no_grad():
        torch.testing.assert_close(state.denoiser.eval()(x, sigma, label), trained(x, sigma, label))


@pytest.mark.parametrize("before", [0, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_depends_on_classes_begins_anew(name: str, before: int) -> None:
    trained = trained_as(replace(NETWORKS[name], num_classes=before))
    network = to_train(trained, 3)
    kept = transfer(trained, Denoiser(network, 0.4))
    assert kept and {key.split(".")[-2] for key in kept} == {"label"}
    first, second = (begun(network, trained, seed=seed).denoiser.state_dict() for seed in (0, 1))
    differ = {key for key, value in first.items() if not torch.equal(value, second[key])}
    assert differ <= set(kept)  # the seed decides nothing else


def test_a_network_that_loses_its_classes_keeps_all_else() -> None:
    trained = trained_as(NETWORKS["ddpmpp"])
    denoiser = Denoiser(to_train(trained, 0), 0.4)
    assert transfer(trained, denoiser) == ()
    assert denoiser.state_dict().keys() < trained.state_dict().keys()


def test_it_has_the_parts_that_its_own_training_needs_and_no_others() -> None:
    augmented = trained_as(replace(NETWORKS["ddpmpp"], augment_labels=9, dropout=0.3))
    network = to_train(augmented, augmented.config.num_classes, dropout=0.1)
    assert (network.augment_labels, network.uncertainty, network.dropout) == (0, False, 0.1)
    same = begun(network, augmented, replace(CONFIG, augment=0.1)).denoiser
    assert all(torch.equal(value, augmented.state_dict()[key]) for key, value in same.state_dict().items())
    plain = trained_as(NETWORKS["ddpmpp"])
    denoiser = begun(to_train(plain, 3), plain, replace(CONFIG, augment=0.1, loss="uncertainty")).denoiser
    anew = {key for key in denoiser.state_dict() if key not in plain.state_dict()}
    assert anew and all("augment" in key or "uncertainty" in key for key in anew)


def test_another_resolution_begins_with_the_same_weights() -> None:
    trained = trained_as(NETWORKS["adm"])
    network = to_train(trained, trained.config.num_classes, resolution=16)
    assert network.resolution == 16 and transfer(trained, Denoiser(network, 0.4)) == ()


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_trained_on(name: str) -> None:
    trained = trained_as(NETWORKS[name])
    state = begun(to_train(trained, 3), trained)
    pixels = torch.randint(256, (32, *state.denoiser.image_shape), dtype=torch.uint8)
    list(train(state, TrainingSet(pixels, torch.arange(32) % 3)))
    moved = [not torch.equal(p, dict(trained.named_parameters())[key]) for key, p in state.denoiser.named_parameters()]
    assert sum(moved) > len(moved) / 2
    assert state.denoiser.sigma_data == trained.sigma_data
