"""The networks of the literature: parameters as released, readings of their papers, initial weights, one step each."""

import dataclasses
import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edm.batches import TrainingSet
from edm.config import Architecture, FieldError, ModelConfig, NetworkConfig, TrainingConfig
from edm.cost import forward_flops, num_parameters
from edm.networks.build import build_network
from edm.networks.initialise import initialise
from edm.networks.song import Attention, ModulatedBlock, SongUNet
from edm.precondition import Denoiser
from edm.train import TrainState, train
from tests.edm.networks.literature import LITERATURE, Reading, random_weights, tiny

CIFAR, AUGMENTED = (3, 32), {"augment_labels": 9}
# trainable parameters: those that an optimizer changes. Fixed frequencies, phases and filters are not among them
RELEASED = [
    ("ddpmpp", {}, (*CIFAR, 10), AUGMENTED, 55_735_299),
    ("ddpmpp", {}, (*CIFAR, 0), AUGMENTED, 55_733_891),
    ("ncsnpp", {}, (*CIFAR, 10), AUGMENTED, 56_400_643),
    ("ncsnpp", {}, (*CIFAR, 0), AUGMENTED, 56_397_827),
    ("adm", {}, (3, 64, 1000), {}, 295_899_267),
    ("edm2", {"channels": 128}, (4, 64, 1000), {"uncertainty": True}, 124_713_253),  # XS
    ("edm2", {}, (4, 64, 1000), {"uncertainty": True}, 280_212_837),  # S
    ("edm2", {"channels": 256}, (4, 64, 1000), {"uncertainty": True}, 497_807_781),  # M
]


@pytest.mark.parametrize(("architecture", "model", "images", "more", "parameters"), RELEASED)
def test_trainable_parameters_are_those_of_the_released_networks(architecture, model, images, more, parameters):
    config = dataclasses.replace(ModelConfig(architecture=architecture, **model).network(*images), **more)
    with torch.device("meta"):
        denoiser = Denoiser(config, 0.5)
    assert sum(p.numel() for p in denoiser.parameters()) == parameters == num_parameters(config)


COUNTED = {
    **{name: tiny(name) for name in LITERATURE},
    **{f"{name} without classes": tiny(name, num_classes=0) for name in LITERATURE},
    **{f"{name} of three levels": tiny(name, multipliers=(2, 1, 3), depths=(2, 1, 1)) for name in LITERATURE},
    "ddpmpp told of augmentation": tiny("ddpmpp", augment_labels=9),
    "adm told of augmentation": tiny("adm", augment_labels=9),
    "adm with iDDPM's outputs": tiny("adm", "iddpm"),
}


@pytest.mark.parametrize("name", COUNTED)
def test_costs_counted_from_the_configuration_are_those_that_torch_counts(name):
    config = COUNTED[name]
    with torch.device("meta"):
        network = build_network(config).eval()
        x = torch.zeros(1, config.image_channels, config.resolution, config.resolution)
        inputs = (x, torch.zeros(1), torch.zeros(1, dtype=torch.int64), torch.zeros(1, config.augment_labels))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(*inputs)
    assert forward_flops(config) == counter.get_total_flops()
    assert num_parameters(config) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("architecture", ["ddpmpp", "ncsnpp", "adm"])
def test_the_network_is_what_its_paper_says(architecture, heads):
    config = tiny(architecture, augment_labels=9, heads=(heads, 2 * heads), bridge_heads=heads, attention=True)
    network = SongUNet(config).eval().requires_grad_(False)
    weights = random_weights(network)
    generator = torch.Generator().manual_seed(1)
    x, c_noise, augment = (torch.randn(size, generator=generator) for size in ((4, 3, 8, 8), (4,), (4, 9)))
    label = torch.tensor([0, 1, 2, 3])  # 3 is no label
    torch.testing.assert_close(
        network(x, c_noise, label, augment), Reading(config, weights)(x, c_noise, label, augment), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("architecture", LITERATURE)
def test_without_a_label_and_without_augmentation_are_the_null_ones(architecture):
    config = tiny(architecture, augment_labels=0 if architecture == "edm2" else 9)
    denoiser = Denoiser(config, 0.5).eval().requires_grad_(False)
    random_weights(denoiser)
    x, sigma = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, 2.0])
    null, augment = torch.full((2,), denoiser.null_label), torch.zeros(2, config.augment_labels)
    torch.testing.assert_close(denoiser(x, sigma), denoiser(x, sigma, null, augment))
    assert not torch.allclose(denoiser(x, sigma), denoiser(x, sigma, torch.zeros_like(null)))


def initialised(config: NetworkConfig) -> Denoiser:
    denoiser = Denoiser(config, 0.5)
    initialise(denoiser, torch.Generator().manual_seed(0))
    return denoiser


@pytest.mark.parametrize("architecture", LITERATURE)
def test_an_untrained_network_returns_nearly_nothing(architecture):
    network = initialised(tiny(architecture)).network.eval().requires_grad_(False)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(network(x, torch.zeros(2), torch.tensor([0, 3])).abs().max()) < 1e-3


@pytest.mark.parametrize("architecture", LITERATURE)
def test_initial_weights_come_from_the_generator_alone(architecture):
    torch.manual_seed(1)
    one = initialised(tiny(architecture)).state_dict()
    torch.manual_seed(2)
    other = initialised(tiny(architecture)).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_initial_weights_of_ddpmpp_are_edms():
    network = initialised(tiny("ddpmpp", channels=64)).network
    blocks = [module for module in network.modules() if isinstance(module, ModulatedBlock)]
    for block in blocks:
        inputs, outputs = (9 * c for c in (block.block.inputs, block.block.outputs))
        assert float(block.conv0.weight.detach().std()) == pytest.approx(math.sqrt(2 / (inputs + outputs)), rel=0.05)
        assert 0 < float(block.conv1.weight.detach().abs().max()) < 1e-5
    for each in [module for module in network.modules() if isinstance(module, Attention)]:
        channels = each.proj.weight.shape[0]
        assert float(each.qkv.weight.detach().std()) == pytest.approx(math.sqrt(0.2 * 2 / (4 * channels)), rel=0.05)


def test_initial_weights_of_adm_are_edms():
    network = initialised(tiny("adm", channels=64, augment_labels=9)).network
    assert isinstance(network, SongUNet) and network.embedding.label is not None
    assert float(network.embedding.label.weight.detach().std()) == pytest.approx(1, rel=0.05)
    assert network.embedding.augment is not None and not network.embedding.augment.weight.any()
    blocks = [module for module in network.modules() if isinstance(module, ModulatedBlock)]
    assert not any(block.conv1.weight.any() or block.conv1.bias.any() for block in blocks)
    bound = 1 / math.sqrt(9 * 64)
    assert float(blocks[0].conv0.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize("resolution", [8, 16])
@pytest.mark.parametrize("architecture", LITERATURE)
def test_a_step_of_training_moves_the_network(architecture, resolution):
    network = tiny(architecture, resolution=resolution)
    loss = "uncertainty" if architecture == "edm2" else "denoising"
    config = TrainingConfig(kimg=0.016, batch_size=8, lr=1e-2, loss=loss, ema_halflife_kimg=0.0)
    state = TrainState(config.prepared(network), config, 0.5, 0, torch.device("cpu"))
    before = {name: value.clone() for name, value in state.denoiser.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, resolution, resolution), generator=generator, dtype=torch.uint8)
    losses = [float(value) for value in train(state, TrainingSet(images, torch.arange(8) % 3))]
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    last = "network.gain" if architecture == "edm2" else "network.conv_out.weight"
    moved = {name for name, value in state.denoiser.named_parameters() if not torch.equal(value, before[name])}
    assert last in moved
    if architecture == "edm2":
        assert "uncertainty.linear.weight" in moved


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"architecture": "ddpmpp", "preset": "nano"}, "preset"),
        ({"architecture": "adm", "norm": "group"}, "norm"),
        ({"architecture": "edm2", "cond_channels": 16}, "cond_channels"),
        ({"architecture": "ncsnpp", "init": "edm"}, "init"),
        ({"multipliers": (1, 2)}, "multipliers"),
        ({"architecture": "ddpmpp", "multipliers": ()}, "multipliers"),
        ({"architecture": "ddpmpp", "multipliers": (1, 2), "depths": (1,)}, "multipliers"),
        ({"architecture": "ddpmpp", "depths": (1,)}, "depths"),
        ({"architecture": "ddpmpp", "channels": 9}, "channels"),
        ({"architecture": "adm", "channels": 8, "heads": (3, 3, 3, 3)}, "heads"),
    ],
)
def test_fields_of_another_architecture_are_refused_by_name(given, field):
    with pytest.raises(FieldError) as refusal:
        ModelConfig(**given)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("architecture", "resolution", "heads", "bridge_heads"),
    [
        ("ddpmpp", 32, (0, 1, 0), 1),
        ("ncsnpp", 64, (0, 0, 1), 1),
        ("adm", 64, (0, 6, 9, 12), 12),
        ("edm2", 64, (0, 0, 9, 12), 12),
    ],
)
def test_attention_is_at_the_resolutions_of_the_paper(
    architecture: Architecture, resolution: int, heads: tuple[int, ...], bridge_heads: int
) -> None:
    network = ModelConfig(architecture=architecture).network(3, resolution, 10)
    assert (network.heads, network.bridge_heads) == (heads, bridge_heads)
    without = ModelConfig(architecture=architecture, attention=False).network(3, resolution, 10)
    assert not any((*without.heads, without.bridge_heads))
