"""VP, VE and iDDPM preconditioning against their definitions (EDM, Table 1)."""

import math

import pytest
import torch

from edm.batches import Batches, TrainingSet
from edm.config import Precondition, SamplingConfig, TrainingConfig
from edm.loss import denoising_loss, inverse_variance_weight
from edm.noise import Stream, normals
from edm.precondition import Denoiser, Scalings
from edm.samplers import sample
from edm.schedules import iddpm_levels, noise_levels
from edm.train import TrainState, train
from tests.edm.networks.literature import random_weights, tiny

SIGMAS = torch.tensor([0.01, 0.3, 1.0, 7.0, 80.0], dtype=torch.float64)
OTHERS: tuple[Precondition, ...] = ("vp", "ve", "iddpm")


def test_vp_labels_noise_levels_by_999_times_their_time() -> None:
    """sigma(t)**2 = exp(beta_d t**2 / 2 + beta_min t) - 1 with beta_d 19.9 and beta_min 0.1."""
    t = torch.tensor([1e-5, 0.01, 0.3, 1.0], dtype=torch.float64)
    sigma = torch.expm1(19.9 * t**2 / 2 + 0.1 * t).sqrt()
    torch.testing.assert_close(Scalings.of(sigma, 0.5, "vp").c_noise, 999 * t)


def test_vp_keeps_the_variance_of_data_with_variance_one() -> None:
    s = Scalings.of(SIGMAS, 0.5, "vp")
    torch.testing.assert_close(s.c_in**2 * (1 + SIGMAS**2), torch.ones_like(SIGMAS))
    torch.testing.assert_close(s.c_skip, torch.ones_like(SIGMAS))
    torch.testing.assert_close(s.c_out, -SIGMAS)


def test_ve_labels_noise_levels_by_the_logarithm_of_their_half() -> None:
    s = Scalings.of(SIGMAS, 0.5, "ve")
    torch.testing.assert_close(s.c_noise, (SIGMAS / 2).log())
    torch.testing.assert_close(s.c_in, torch.ones_like(SIGMAS))
    torch.testing.assert_close(s.c_out, SIGMAS)


def test_iddpm_labels_noise_levels_by_the_nearest_of_its_own() -> None:
    """u_j of j = 0 to M - 1 decrease, and are labelled M - 1 - j: 0 is the least noise."""
    levels = torch.tensor(iddpm_levels(), dtype=torch.float64)
    between = (levels[:-2] + levels[1:-1]) / 2
    for sigma, labels in (
        (levels[:-1], torch.arange(999, -1, -1)),
        (between + 1e-4 * (levels[:-2] - between), torch.arange(999, 0, -1)),
    ):
        torch.testing.assert_close(Scalings.of(sigma, 0.5, "iddpm").c_noise, labels.double())


@pytest.mark.parametrize("precondition", OTHERS)
def test_the_denoiser_is_the_formula(precondition: Precondition) -> None:
    model = Denoiser(tiny("ddpmpp", precondition), 0.5).eval().requires_grad_(False)
    random_weights(model)
    x, sigma = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 1.0, 9.0])
    label, s = torch.tensor([0, 1, 3]), Scalings.of(sigma, 0.5, precondition)
    output = model.network(s.c_in[:, None, None, None] * x, s.c_noise, label)
    expected = x + s.c_out[:, None, None, None] * output[:, :3]  # of iDDPM's outputs the first half
    torch.testing.assert_close(model(x, sigma, label), expected)
    assert output.shape[1] == (6 if precondition == "iddpm" else 3)


@pytest.mark.parametrize("precondition", OTHERS)
def test_the_best_network_predicts_the_noise(precondition: Precondition) -> None:
    """The error of D is c_out (F - F*), where F* is the noise up to its sign: the weighted loss is that of F."""
    sigma, noise = SIGMAS.float(), torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    class Oracle(torch.nn.Module):
        def forward(self, x, c_noise, label=None, augment_labels=None):
            return -noise if precondition == "ve" else noise

    model = Denoiser(tiny("ddpmpp", precondition), 0.5)
    model.network = Oracle()
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    loss = denoising_loss(model, images, None, sigma, noise, weight=inverse_variance_weight)
    assert float(loss.max()) < 1e-3 * 5  # float32, at a noise level of 0.01


@pytest.mark.parametrize("precondition", OTHERS)
def test_sampling_of_gaussian_data_ends_at_the_closed_form(precondition: Precondition) -> None:
    """For data N(0, s**2), F* is known, and the ODE takes x at sigma to x s / sqrt(s**2 + sigma**2)."""
    s = 0.5

    class Gaussian(torch.nn.Module):
        sigma = torch.tensor(0.0)

        def forward(self, x, c_noise, label=None, augment_labels=None):
            scale = 1.0 if precondition == "ve" else math.sqrt(float(self.sigma) ** 2 + 1)
            noisy = scale * x
            denoised = noisy * s**2 / (s**2 + float(self.sigma) ** 2)
            return (denoised - noisy) / (self.sigma if precondition == "ve" else -self.sigma)

    model = Denoiser(tiny("ddpmpp", precondition), s)
    network = model.network = Gaussian()

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        network.sigma = sigma
        return model(x, sigma)

    config = SamplingConfig(steps=64, sigma_max=20.0)
    noise = normals(0, Stream.SAMPLING, torch.arange(4), (3, 8, 8))
    found = sample(denoiser, noise, config, lambda step: noise)
    expected = noise.double() * 20 * s / math.sqrt(s**2 + 400)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("precondition", OTHERS)
def test_it_is_trained_on_its_own_noise_levels(precondition: Precondition) -> None:
    """The network sees the times of its process, and at first a loss near 1, that of predicting no noise at all."""
    config = TrainingConfig(
        kimg=0.064, batch_size=16, noise_distribution=precondition, weighting="inverse_variance", augment=0.0
    )
    state = TrainState(tiny("ddpmpp", precondition), config, 0.5, 0, torch.device("cpu"))
    images = torch.randint(256, (32, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = TrainingSet(images, torch.arange(32) % 4)
    before = next(state.denoiser.parameters()).clone()
    losses = torch.stack(list(train(state, data)))
    torch.testing.assert_close(losses, torch.ones(4), atol=0.15, rtol=0)
    assert not torch.equal(next(state.denoiser.parameters()), before)
    batch = Batches(data, config, 0, 4)[0]
    labels = Scalings.of(batch.sigma, 0.5, precondition).c_noise
    last = math.log(50) if precondition == "ve" else 999
    assert float(labels.max()) <= last and len(labels.unique()) == 16


def test_the_preconditioning_is_part_of_a_training() -> None:
    assert noise_levels("vp", 2, 0.002, 80.0)  # a schedule of its own, which sampling chooses
    config = TrainingConfig()
    assert config.prepared(tiny("ddpmpp", "vp")) != config.prepared(tiny("ddpmpp", "ve"))
