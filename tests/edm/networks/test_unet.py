"""The U-Net: parameter counts, EDM's options, what its output depends on, its attention and its initialisation."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from edm.config import ModelConfig, NetworkConfig
from edm.networks.blocks import AttentionBlock, ConditionalBatchNorm, ConditionalGroupNorm, ResidualBlock
from edm.networks.conditioning import _repeated
from edm.networks.initialise import initialise
from edm.networks.unet import UNet

# the 2023 study's ten networks: image channels, resolution, classes, depths, heads, heads of the bridge, parameters
REFERENCE = {
    "fashion_mnist_uncond": (1, 32, 10, (2, 2), (4, 4), 4, 5_031_081),
    "fashion_mnist_cond": (1, 32, 10, (2, 2), (4, 4), 4, 5_031_081),
    "fashion_mnist_cond_noattn": (1, 32, 10, (2, 2), (0, 0), 0, 4_150_953),
    "cifar10_uncond": (3, 32, 10, (2, 2), (4, 4), 4, 5_033_387),
    "cifar10_cond": (3, 32, 10, (2, 2), (4, 4), 4, 5_033_387),
    "cifar10_cond_noattn": (3, 32, 10, (2, 2), (0, 0), 0, 4_153_259),
    "celeba_tiny_noattn": (3, 128, 0, (1, 2, 4), (0, 0, 0), 0, 30_942_291),
    "celeba_tiny": (3, 128, 0, (1, 2, 4), (0, 0, 0), 4, 35_181_651),
    "celeba_small": (3, 128, 0, (2, 2, 2, 2), (0, 0, 0, 4), 4, 80_246_611),
    "celeba_big": (3, 128, 0, (2, 2, 2, 2), (0, 0, 4, 8), 8, 81_317_715),
}
PRESET_OF = {
    "fashion_mnist_uncond": ("mini", True),
    "fashion_mnist_cond": ("mini", True),
    "fashion_mnist_cond_noattn": ("mini", False),
    "cifar10_uncond": ("mini", True),
    "cifar10_cond": ("mini", True),
    "cifar10_cond_noattn": ("mini", False),
    "celeba_tiny_noattn": ("tiny", False),
    "celeba_tiny": ("tiny", True),
    "celeba_small": ("small", True),
    "celeba_big": ("big", True),
}
# the same by the words of an axis
PRESET_OF |= {f"{name} in words": (preset, "none") for name, (preset, on) in PRESET_OF.items() if not on}
PRESET_OF |= {"cifar10_cond in words": ("mini", "levels"), "celeba_tiny in words": ("tiny", "bridge")}
SMALL = NetworkConfig(
    image_channels=3,
    resolution=8,
    num_classes=4,
    channels=8,
    depths=(1, 2),
    heads=(0, 2),
    bridge_heads=2,
    cond_channels=8,
)


def small_network(config=SMALL, seed=0):
    network = UNet(config)
    initialise(network, torch.Generator().manual_seed(seed))
    return network.eval().requires_grad_(False)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", REFERENCE)
def test_parameter_count_is_the_reference_studys(name):
    channels, resolution, classes, depths, heads, bridge_heads, parameters = REFERENCE[name]
    config = NetworkConfig(channels, resolution, classes, 64, depths, heads, bridge_heads, cond_channels=8)
    with torch.device("meta"):
        network = UNet(config)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == parameters


@pytest.mark.parametrize("name", PRESET_OF)
def test_preset_is_the_reference_studys_network(name):
    preset, attention = PRESET_OF[name]
    channels, resolution, classes, depths, heads, bridge_heads, _ = REFERENCE[name.removesuffix(" in words")]
    network = ModelConfig(preset=preset, attention=attention).network(channels, resolution, classes)
    assert network == NetworkConfig(channels, resolution, classes, 64, depths, heads, bridge_heads, cond_channels=8)


@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize("resolution", [8, 12, 32])
def test_output_has_the_shape_of_the_input(image_channels, resolution):
    config = NetworkConfig(image_channels, resolution, 4, 8, (1, 1), (0, 2), 2)
    x = normal(3, image_channels, resolution, resolution)
    output = small_network(config)(x, torch.zeros(3), torch.zeros(3, dtype=torch.int64))
    assert output.shape == x.shape
    assert output.dtype == torch.float32
    assert output.std() > 1e-3


def test_output_depends_on_every_label_and_on_none():
    network, x = small_network(), normal(1, 3, 8, 8).expand(5, -1, -1, -1)
    outputs = network(x, torch.zeros(5), torch.arange(5))
    differences = torch.cdist(outputs.flatten(1), outputs.flatten(1))
    assert differences[~torch.eye(5, dtype=torch.bool)].min() > 1e-2
    unlabelled = network(x[:1], torch.zeros(1))
    assert (outputs - unlabelled).flatten(1).norm(dim=1).min() > 1e-2


def test_network_without_classes_ignores_labels():
    network = small_network(NetworkConfig(1, 8, 0, 8, (1,), (0,), 0))
    assert network.conditioning.label is None
    x, c_noise = normal(2, 1, 8, 8), torch.zeros(2)
    assert torch.equal(network(x, c_noise, torch.zeros(2, dtype=torch.int64)), network(x, c_noise))


def test_output_depends_on_the_noise_level():
    network, x = small_network(), normal(1, 3, 8, 8).expand(4, -1, -1, -1)
    levels = torch.tensor([0.002, 0.1, 1.0, 80.0]).log() / 4
    outputs = network(x, levels, torch.zeros(4, dtype=torch.int64)).flatten(1)
    assert torch.cdist(outputs, outputs)[~torch.eye(4, dtype=torch.bool)].min() > 1e-2


def test_every_pixel_of_the_output_sees_every_pixel_of_the_input():
    network = small_network()
    x = normal(1, 3, 8, 8).requires_grad_(True)
    network(x, torch.zeros(1))[0, 0, 0, 0].backward()
    assert (x.grad != 0).all()


def test_images_of_a_batch_do_not_meet_in_evaluation_mode():
    network, x = small_network(), normal(3, 3, 8, 8)
    c_noise, label = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0, 1, 4])
    alone = torch.cat([network(x[i : i + 1], c_noise[i : i + 1], label[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(x, c_noise, label), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_softmax_of_scaled_products(heads):
    channels, cond_channels, side = 8, 4, 3
    block = AttentionBlock(channels, heads, dataclasses.replace(SMALL, cond_channels=cond_channels))
    initialise(block, torch.Generator().manual_seed(0))
    block = block.double().eval().requires_grad_(False)
    block.qkv.weight.mul_(4)  # sharper than the initial weights make it
    x, cond = normal(2, channels, side, side).double(), normal(2, cond_channels, seed=1).double()

    qkv = block.qkv(block.norm(x, cond)).flatten(2)  # image, channel, pixel
    width = channels // heads
    expected = torch.empty_like(x).flatten(2)
    for image in range(2):
        for head in range(heads):
            q, k, v = (qkv[image, part * channels + head * width :][:width] for part in range(3))
            for pixel in range(side**2):
                scores = torch.stack([q[:, pixel] @ k[:, other] for other in range(side**2)]) / math.sqrt(width)
                mixed = (torch.exp(scores) / torch.exp(scores).sum()) @ v.T
                expected[image, head * width : (head + 1) * width, pixel] = mixed
    expected = x + block.out(expected.reshape(x.shape))
    torch.testing.assert_close(block(x, cond), expected, rtol=1e-10, atol=1e-10)
    assert (expected - x).abs().max() > 0.01


def test_conditional_batch_norm_scales_and_shifts_what_it_normalised():
    norm = ConditionalBatchNorm(3, 2)
    initialise(norm, torch.Generator().manual_seed(0))
    x, cond = normal(4, 3, 5, 5) * 3 + 2, normal(4, 2, seed=1)
    gamma, beta = (cond @ norm.scale_shift.weight.T + norm.scale_shift.bias).split(3, dim=1)
    mean, variance = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    expected = gamma[:, :, None, None] * (x - mean) / (variance + 1e-5).sqrt() + beta[:, :, None, None]
    torch.testing.assert_close(norm.train()(x, cond), expected, rtol=1e-4, atol=1e-5)


def test_initialise_sets_every_weight_reproducibly():
    states = []
    for seed in (3, 3, 4):
        network = UNet(SMALL)
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, math.nan)
        initialise(network, torch.Generator().manual_seed(seed))
        assert all(parameter.isfinite().all() for parameter in network.parameters())
        states.append(network.state_dict())
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    names = [name for name in first if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert "conditioning.frequencies" in names
    assert all(not torch.equal(first[name], other[name]) for name in names)


def test_initialise_leaves_the_global_generator_alone():
    network = UNet(SMALL)
    before = torch.get_rng_state()
    initialise(network, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_initialise_draws_from_torchs_default_distribution():
    network = UNet(NetworkConfig(3, 8, 0, 64, (1,), (0,), 0))
    initialise(network.requires_grad_(False), torch.Generator().manual_seed(0))
    weight = network.down[0][0].conv1.weight
    bound = 1 / math.sqrt(64 * 9)  # torch's default: uniform within 1 / sqrt(fan in)
    assert weight.abs().max() <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert network.down[0][0].conv1.bias.abs().max() <= bound


EDM = dataclasses.replace(SMALL, norm="group", resample="residual", init="edm")


def edm_network(**changes):
    config = dataclasses.replace(EDM, **changes)
    network = UNet(config)
    initialise(network, torch.Generator().manual_seed(0), config.init)
    return network


def test_group_norm_normalises_groups_then_scales_about_one_and_shifts():
    norm = ConditionalGroupNorm(8, 4)
    x, cond = normal(3, 8, 5, 5), normal(3, 4, seed=1)
    gamma, beta = norm.scale_shift(cond)[:, :, None, None].chunk(2, dim=1)
    groups = x.reshape(3, 2, -1)  # EDM: at least 4 channels in a group
    normal_groups = (groups - groups.mean(-1, keepdim=True)) / (
        groups.var(-1, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    torch.testing.assert_close(norm(x, cond), normal_groups.reshape_as(x) * (1 + gamma) + beta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (24, 6), (11, 1), (64, 16), (256, 32), (10, 2), (2, 1)])
def test_group_norm_has_at_least_four_channels_a_group(channels, groups):
    assert ConditionalGroupNorm(channels, 4).norm.num_groups == groups


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_either_norm_has_the_same_parameters(norm):
    network = UNet(dataclasses.replace(SMALL, norm=norm))
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in UNet(SMALL).parameters())


def test_images_meet_in_training_with_batch_norm_not_with_group_norm():
    x, c_noise = normal(4, 3, 8, 8), torch.zeros(4)
    for norm, meets in (("group", False), ("batch", True)):
        network = small_network(dataclasses.replace(SMALL, norm=norm)).train()
        together, alone = network(x, c_noise)[:2], network(x[:2], c_noise[:2])
        assert torch.allclose(together, alone, atol=1e-4) != meets


@pytest.mark.parametrize("scale", ["down", "up"])
def test_residual_resampling_passes_its_input_on_resampled(scale):
    block = ResidualBlock(4, 4, EDM, scale)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    x = normal(2, 4, 6, 6)
    if scale == "down":
        expected = x.reshape(2, 4, 3, 2, 3, 2).mean(dim=(3, 5))
    else:
        expected = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(block(x, torch.zeros(2, 8)), expected)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("resample", ["pool", "residual"])
def test_edms_initialisation_starts_at_zero_and_learns_from_there(norm, resample):
    network = edm_network(norm=norm, resample=resample)
    x = normal(4, 3, 8, 8)
    assert torch.equal(network(x, torch.zeros(4)), torch.zeros_like(x))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(3):  # the gradient reaches the last layers first, then those before them
        optimizer.zero_grad()
        (network(x, torch.zeros(4)) - x).square().mean().backward()
        optimizer.step()
    assert all((p.grad != 0).any() for name, p in network.named_parameters() if "label" not in name)


def test_edms_initialisation_makes_every_block_the_identity():
    network = edm_network().eval()
    x, cond = normal(2, 16, 4, 4), normal(2, 8, seed=3)
    residual, attention = network.down[1][2], network.down[1][3]
    assert torch.equal(residual(x, cond), x)
    assert torch.equal(attention(x, cond), x)


def test_dropout_drops_in_training_alone():
    network = edm_network(init="torch", dropout=0.5)
    x, c_noise = normal(2, 3, 8, 8), torch.zeros(2)
    assert not torch.equal(network(x, c_noise), network(x, c_noise))
    network.eval()
    assert torch.equal(network(x, c_noise), network(x, c_noise))


def test_augmentation_parameters_reach_the_output_and_none_are_zeros():
    network = edm_network(init="torch", augment_labels=9).eval()
    x, c_noise = normal(1, 3, 8, 8), torch.zeros(1)
    plain = network(x, c_noise)
    assert torch.equal(network(x, c_noise, None, torch.zeros(1, 9)), plain)
    for i in range(9):
        told = network(x, c_noise, None, torch.eye(9)[i : i + 1])
        assert (told - plain).abs().max() > 1e-4


def test_pixels_are_repeated_as_torchs_nearest_upsampling_does():
    x = torch.randn(2, 3, 4, 6).to(memory_format=torch.channels_last).requires_grad_(True)
    weight = torch.randn(2, 3, 8, 12)
    expected = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
    found = _repeated(x)
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=torch.channels_last)
    gradients = [torch.autograd.grad((output * weight).sum(), x)[0] for output in (found, expected)]
    torch.testing.assert_close(*gradients)
