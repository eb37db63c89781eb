"""EDM2's network: magnitudes that stay, weights that stay normalised, its uncertainty, and a reading of its paper."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edm.batches import TrainingSet
from edm.config import ModelConfig, TrainingConfig
from edm.loss import denoising_loss, uncertain
from edm.networks.edm2 import (
    MagnitudePreservingUNet,
    MPBlock,
    MPFourier,
    MPLayer,
    UncertaintyHead,
    mp_cat,
    mp_silu,
    mp_sum,
    normalise_weights,
    start,
)
from edm.precondition import Denoiser
from edm.train import TrainState, train
from tests.edm.networks.literature import random_weights, tiny

PRESERVED = {"rel": 0.05}  # magnitudes of many normal numbers


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=generator(seed))


def magnitude(x: Tensor) -> float:
    return float(x.detach().square().mean().sqrt())


def test_each_operation_preserves_the_magnitude_of_normal_inputs():
    a, b = normal(4, 64, 16, 16), normal(4, 32, 16, 16, seed=1)
    layer, linear, fourier = MPLayer(64, 48, 3), MPLayer(64, 48), MPFourier(64)
    for module in (layer, linear, fourier):
        start(module, generator())
    found = {
        "silu": mp_silu(a),
        "sum": mp_sum(a, normal(4, 64, 16, 16, seed=2), 0.3),
        "cat": mp_cat(a, b),
        "convolution": layer(normal(4, 64, 16, 16, seed=4))[
            :, :, 1:-1, 1:-1
        ],  # zeros beyond the border have no magnitude
        "linear": linear(normal(256, 64, seed=3)),
        "fourier": fourier(normal(256)),
    }
    for name, value in found.items():
        assert magnitude(value) == pytest.approx(1, **PRESERVED), name


def test_parts_of_a_concatenation_contribute_equally():
    joined = mp_cat(normal(8, 96, 8, 8), normal(8, 32, 8, 8, seed=1)).square().sum(dim=(0, 2, 3))
    assert float(joined[:96].sum()) == pytest.approx(float(joined[96:].sum()), **PRESERVED)


def test_magnitudes_are_preserved_through_the_whole_network():
    """EDM2, section 2.3: expected magnitudes stay near 1; correlated inputs of a sum may add some (appendix B.1)."""
    config = ModelConfig(architecture="edm2", channels=64, multipliers=(1, 2, 2), depths=(2, 2, 2)).network(3, 32, 10)
    network = MagnitudePreservingUNet(config).eval()
    network.initialise(generator())
    found: dict[str, float] = {}
    for name, module in network.named_modules():
        if isinstance(module, MPBlock):
            module.register_forward_hook(lambda _, __, output, name=name: found.update({name: magnitude(output)}))
    with torch.no_grad():
        network(normal(8, 3, 32, 32), normal(8), torch.arange(8))
    assert len(found) == 6 + 2 + 2 + 2 + 9
    assert all(0.8 < value < 1.3 for value in found.values()), found


def test_the_gradient_of_a_weight_is_orthogonal_to_it():
    layer = MPLayer(16, 8)
    start(layer, generator())
    layer(normal(32, 16)).square().sum().backward()
    assert layer.weight.grad is not None
    along = (layer.weight.grad * layer.weight).sum(dim=1) / layer.weight.grad.norm(dim=1) / layer.weight.norm(dim=1)
    assert float(along.detach().abs().max()) < 1e-3


def trained(steps: int, **config: object) -> TrainState:
    settings = {"kimg": 0.008 * steps, "batch_size": 8, "lr": 0.1, "loss": "uncertainty", **config}
    training = TrainingConfig(**settings)  # pyright: ignore[reportArgumentType]
    state = TrainState(training.prepared(tiny("edm2")), training, 0.5, 0, torch.device("cpu"))
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=generator(), dtype=torch.uint8)
    for _ in train(state, TrainingSet(images, torch.arange(8) % 3)):
        pass
    return state


def test_weights_stay_normalised_in_training():
    layers = {name: m for name, m in trained(3).denoiser.named_modules() if isinstance(m, MPLayer)}
    assert "uncertainty.linear" in layers
    for name, layer in layers.items():
        rows = layer.weight.detach().flatten(1).square().mean(dim=1).sqrt()
        torch.testing.assert_close(rows, torch.ones_like(rows), rtol=1e-3, atol=1e-3, msg=name)


def test_the_length_of_stored_weights_changes_nothing():
    denoiser = Denoiser(tiny("edm2"), 0.5).eval().requires_grad_(False)
    random_weights(denoiser)
    x, sigma, label = normal(4, 3, 8, 8), torch.tensor([0.1, 0.5, 2.0, 20.0]), torch.tensor([0, 1, 2, 3])
    before = denoiser(x, sigma, label)
    normalise_weights(denoiser)
    torch.testing.assert_close(denoiser(x, sigma, label), before, rtol=1e-2, atol=1e-3)


def test_a_training_resumed_midway_ends_in_the_same_bits():
    whole, halfway = trained(4), trained(4)
    again = TrainState(halfway.denoiser.config, halfway.config, 0.5, 0, torch.device("cpu"))
    data = TrainingSet(
        torch.randint(0, 256, (8, 3, 8, 8), generator=generator(), dtype=torch.uint8), torch.arange(8) % 3
    )
    steps = train(again, data)
    next(steps), next(steps)
    resumed = TrainState(halfway.denoiser.config, halfway.config, 0.5, 0, torch.device("cpu"))
    resumed.load({name: value.clone() for name, value in again.tensors().items()})
    for _ in train(resumed, data):
        pass
    assert all(torch.equal(value, resumed.tensors()[name]) for name, value in whole.tensors().items())


def test_the_best_uncertainty_is_the_logarithm_of_the_loss():
    """EDM2, eq. 21: L / exp(u) + u is least at u = ln L, where it is 1 + ln L."""
    denoiser = Denoiser(dataclasses.replace(tiny("edm2"), uncertainty=True), 0.5).eval().requires_grad_(False)
    random_weights(denoiser)
    images, noise, label = normal(4, 3, 8, 8), normal(4, 3, 8, 8, seed=1), torch.tensor([0, 1, 2, 3])
    sigma = torch.tensor([0.05, 0.3, 1.0, 20.0])
    plain = denoising_loss(denoiser, images, label, sigma, noise)
    losses = {}
    for shift in (-0.1, 0.0, 0.1):

        class Fixed(nn.Module):
            def forward(self, c_noise: Tensor, shift: float = shift) -> Tensor:
                return plain.log() + shift

        denoiser.uncertainty = Fixed()  # pyright: ignore[reportAttributeAccessIssue]
        losses[shift] = uncertain(plain, denoiser, sigma)
    torch.testing.assert_close(losses[0.0], 1 + plain.log())
    assert bool((losses[0.0] < losses[0.1]).all() and (losses[0.0] < losses[-0.1]).all())


def test_the_uncertainty_learns_the_loss_at_each_noise_level():
    """With the network held, u(sigma) moves to ln L(sigma)."""
    head = UncertaintyHead()
    head.initialise(generator())
    c_noise = torch.linspace(-1.5, 1.0, 64)
    target = 0.3 * c_noise + 0.2
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        u = head(c_noise)
        (target.exp() / u.exp() + u).mean().backward()
        optimizer.step()
    assert float((head(c_noise) - target).detach().abs().mean()) < 0.35


def test_the_network_is_what_its_paper_says():
    config = tiny("edm2", heads=(2, 1), bridge_heads=4, attention=True)
    network = MagnitudePreservingUNet(config).eval().requires_grad_(False)
    weights = random_weights(network)
    x, c_noise, label = normal(4, 3, 8, 8), normal(4, seed=1), torch.tensor([0, 1, 2, 3])
    expected = read(weights, config.heads, config.bridge_heads, x, c_noise, label)
    torch.testing.assert_close(network(x, c_noise, label), expected, rtol=1e-4, atol=1e-4)


# an independent reading of EDM2, Figure 21 and appendix B, for two levels of 1 and 2 blocks ---------------------------


def read(
    w: dict[str, Tensor], heads: tuple[int, ...], bridge: int, x: Tensor, c_noise: Tensor, label: Tensor
) -> Tensor:
    features = torch.sqrt(torch.tensor(2.0)) * torch.cos(
        torch.outer(c_noise, w["fourier.frequencies"]) + w["fourier.phases"]
    )
    rows = torch.cat([math.sqrt(3) * unit(w["label.weight"]).T / math.sqrt(3), torch.zeros(1, 16)])
    emb = silu((features @ (unit(w["noise.weight"]) / math.sqrt(8)).T + rows[label]) / math.sqrt(2))
    skips = [conv(w, "conv_in", torch.cat([x, torch.ones(4, 1, 8, 8)], 1))]
    skips.append(block(w, "encoder.level0_block0", skips[-1], emb, heads[0], down=True))
    skips.append(block(w, "encoder.down1", F.avg_pool2d(skips[-1], 2), emb, 0, down=True))
    for number in range(2):
        skips.append(block(w, f"encoder.level1_block{number}", skips[-1], emb, heads[1], down=True))
    x = block(w, "decoder.middle0", skips[-1], emb, bridge)
    x = block(w, "decoder.middle1", x, emb, 0)
    for number in range(3):
        x = block(w, f"decoder.level1_block{number}", join(x, skips.pop()), emb, heads[1])
    x = block(w, "decoder.up0", x.repeat_interleave(2, 2).repeat_interleave(2, 3), emb, 0)
    for number in range(2):
        x = block(w, f"decoder.level0_block{number}", join(x, skips.pop()), emb, heads[0])
    assert not skips
    return conv(w, "conv_out", x) * w["gain"]


def unit(weight: Tensor) -> Tensor:
    rows = weight.flatten(1)
    return (rows / (rows.norm(dim=1, keepdim=True) / math.sqrt(rows.shape[1]) + 1e-4)).reshape(weight.shape)


def conv(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, unit(weight) / math.sqrt(weight[0].numel()), padding=weight.shape[-1] // 2)


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x) / 0.596


def join(a: Tensor, b: Tensor) -> Tensor:
    total = a.shape[1] + b.shape[1]
    return torch.cat([a * math.sqrt(total / a.shape[1]), b * math.sqrt(total / b.shape[1])], 1) / math.sqrt(2)


def block(w: dict[str, Tensor], name: str, x: Tensor, emb: Tensor, heads: int, down: bool = False) -> Tensor:
    has_skip = f"{name}.skip.weight" in w
    if down:
        x = conv(w, f"{name}.skip", x) if has_skip else x
        x = x / (x.square().mean(1, keepdim=True).sqrt() + 1e-4)
    weight = unit(w[f"{name}.scale.weight"]) * w[f"{name}.gain"] / math.sqrt(emb.shape[1])
    h = conv(w, f"{name}.conv0", silu(x)) * (emb @ weight.T + 1)[:, :, None, None]
    h = conv(w, f"{name}.conv1", silu(h))
    x = conv(w, f"{name}.skip", x) if has_skip and not down else x
    x = (0.7 * x + 0.3 * h) / math.sqrt(0.7**2 + 0.3**2)
    if heads:
        b, c = x.shape[:2]
        qkv = conv(w, f"{name}.attention.qkv", x).reshape(b, 3, heads, c // heads, -1)
        q, k, v = (qkv / (qkv.square().mean(3, keepdim=True).sqrt() + 1e-4)).unbind(1)
        cosine = torch.einsum("bhcq,bhck->bhqk", q, k) / math.sqrt(c // heads)
        mixed = torch.einsum("bhqk,bhck->bhcq", cosine.softmax(-1), v).reshape(x.shape)
        x = (0.7 * x + 0.3 * conv(w, f"{name}.attention.proj", mixed)) / math.sqrt(0.7**2 + 0.3**2)
    return x.clip(-256, 256)
