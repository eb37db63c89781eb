"""A sampler's own error against closed forms: Gaussian data, where the ODE has one."""

import dataclasses
import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from edm.config import EXACT_IMAGES, EXACT_STEPS, GuideConfig, NetworkConfig, Sampler, SamplingConfig
from edm.data.dataset import to_uint8
from edm.generate import generate, labels_of
from edm.metrics.truncation import exact_images, final_images, truncation_error
from edm.networks.initialise import initialise
from edm.noise import Stream, normals
from edm.precondition import Denoiser
from edm.samplers import sample

SD = 0.5  # of the Gaussian data
CLASSES = 3
DETERMINISTIC = ("euler", "heun", "dpm2", "dpmpp_2m", "dpmpp_3m", "unipc")
CHURNED = ("stochastic_euler", "stochastic_heun")
TINY = NetworkConfig(1, 4, CLASSES, 4, depths=(1,), heads=(0,), bridge_heads=0, cond_channels=2)


class GaussianModel(Denoiser):
    """The ideal denoiser of classes N(means[label], SD**2); the last mean is that of no class."""

    def __init__(self, means):
        super().__init__(TINY, SD)
        self.means = torch.tensor(means, dtype=torch.float64)
        self.batches = []
        self.eval()

    def forward(self, x, sigma, label=None, augment_labels=None):
        self.batches.append(len(x))
        share, mean = (column[:, None, None, None] for column in (SD**2 / (sigma**2 + SD**2), self.means[label]))
        return mean + share * (x - mean)


def gaussian_model(*means):
    return GaussianModel(means or (0.0,) * (CLASSES + 1))


def noise_of(seed=0, side=4):
    return normals(seed, Stream.SAMPLING, torch.arange(EXACT_IMAGES), (1, side, side)).double()


def carried(x, mean, top, bottom):
    """Where the ODE of N(mean, SD**2) takes `x` from noise level `top` to `bottom`."""
    return mean + (x - mean) * math.sqrt((SD**2 + bottom**2) / (SD**2 + top**2))


def solution(sampling, mean=0.0, side=4):
    """The closed form: the ODE down to sigma_min, then what the denoiser makes of it, as all samplers end."""
    top, low = sampling.sigmas[0], sampling.sigma_min
    x = carried(top * noise_of(sampling.seed, side), mean, top, low)
    return mean + (x - mean) * SD**2 / (low**2 + SD**2)


@pytest.fixture(scope="module")
def unet():
    """A network with random weights."""
    model = Denoiser(TINY, SD)
    initialise(model, torch.Generator().manual_seed(0))
    return model.eval().requires_grad_(False)


# The reference against the closed form


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sampler": "euler", "steps": 5, "rho": 3.0},
        {"sampler": "unipc", "schedule": "exponential"},
        {"sampler": "dpmpp_2m", "schedule": "vp"},
        {"sampler": "dpm2", "schedule": "iddpm"},  # which begins at 71.3
        {"sampler": "euler", "schedule": "iddpm", "steps": 1},  # at 80
        {"sigma_max": 14.6, "sigma_min": 0.03, "seed": 7},
        {"resolution": 8, "seed": 1},
    ],
)
def test_the_exact_images_are_the_odes_solution_in_closed_form(fields):
    sampling = SamplingConfig(**fields)
    exact, truth = exact_images(gaussian_model(), sampling), solution(sampling, side=sampling.resolution or 4)
    assert exact.dtype == torch.float64
    assert truth.std() > 0.9 * SD
    torch.testing.assert_close(exact, truth, rtol=1e-4, atol=0)
    assert truncation_error(exact, truth) < 5e-3  # grey levels


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_the_exact_images_are_guided_as_the_samplers_are(guidance):
    means = (-0.5, 0.1, 0.4, 0.0)
    exact = exact_images(gaussian_model(*means), SamplingConfig(guidance=guidance))
    asked = torch.tensor(means, dtype=torch.float64)[labels_of(torch.arange(EXACT_IMAGES), CLASSES)]
    truth = solution(SamplingConfig(), mean=guidance * asked[:, None, None, None])
    torch.testing.assert_close(exact, truth, rtol=0, atol=2e-4)


def test_the_exact_images_follow_the_guide():
    sampling = SamplingConfig(guidance=2.0, guide=GuideConfig(kimg=1.0))
    exact = exact_images(gaussian_model(*[0.3] * 4), sampling, gaussian_model(*[0.1] * 4))
    torch.testing.assert_close(exact, solution(sampling, mean=0.5), rtol=0, atol=2e-4)
    with pytest.raises(ValueError, match="guide: is set, but no guide was given"):
        exact_images(gaussian_model(), sampling)


def interval_solution(sampling, plain, guided):
    """The same through a guidance interval: one mean inside, another outside."""
    low, high = sampling.guidance_interval
    x = carried(80.0 * noise_of(), plain, 80.0, high)
    x = carried(carried(x, guided, high, low), plain, low, sampling.sigma_min)
    return plain + (x - plain) * SD**2 / (sampling.sigma_min**2 + SD**2)


def test_a_guidance_interval_costs_the_reference_accuracy_samplers_more():
    sampling = SamplingConfig(guidance=3.0, guidance_interval=(0.3, 2.0))
    model, truth = gaussian_model(0.2, 0.2, 0.2, 0.0), interval_solution(sampling, 0.2, 0.6)
    smooth = dataclasses.replace(sampling, guidance_interval=None)
    own = truncation_error(exact_images(model, sampling), truth)
    assert 0.02 < own < 0.1  # grey levels; without an interval 0.004
    coarse, coarse_smooth = (dataclasses.replace(config, steps=64) for config in (sampling, smooth))
    error = truncation_error(final_images(model, coarse), truth)
    assert error > 3 * own
    assert error > 2 * truncation_error(final_images(model, coarse_smooth), exact_images(model, smooth))


# Which samplings share it


@pytest.mark.parametrize("sampler", DETERMINISTIC)
@pytest.mark.parametrize("steps", [1, 5, 18, 512, 600])
@pytest.mark.parametrize("schedule", ["karras", "exponential", "ve", "linear_log_snr", "vp"])
def test_samplers_steps_and_schedules_from_one_level_share_a_reference(sampler, steps, schedule):
    sampling = SamplingConfig(sampler=sampler, steps=steps, schedule=schedule)
    assert sampling.exact() == SamplingConfig(sampler="heun", steps=EXACT_STEPS)


@pytest.mark.parametrize(("sigma_max", "rho"), [(80.0, 3.0), (80.0, 11.0), (14.6146, 7.0), (50.0, 5.0)])
def test_rounding_of_the_first_level_does_not_make_another_reference(sigma_max, rho):
    reference = SamplingConfig(sigma_max=sigma_max, rho=rho).exact()
    assert reference == SamplingConfig(steps=1, sigma_max=sigma_max).exact()
    assert reference.exact() == reference


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_iddpm_has_a_reference_from_its_own_first_level(sampler):
    references = {SamplingConfig(sampler=sampler, steps=steps, schedule="iddpm").exact() for steps in (2, 18, 100)}
    assert len(references) == 1
    assert references.pop().sigmas[0] == pytest.approx(SamplingConfig(schedule="iddpm").sigmas[0], rel=1e-12)
    assert SamplingConfig(sampler=sampler, steps=1, schedule="iddpm").exact() == SamplingConfig(steps=1).exact()


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"sigma_min": 0.01},
        {"sigma_max": 50.0},
        {"ema": 0.1},
        {"resolution": 8},
        {"guidance": 2.0},
        {"guidance": 2.0, "guidance_interval": (0.1, 2.0)},
        {"guidance": 2.0, "guide": GuideConfig(kimg=1.0)},
    ],
)
def test_whatever_changes_the_solution_changes_the_reference(fields):
    reference = SamplingConfig(**fields).exact()
    assert reference != SamplingConfig().exact()
    assert all(getattr(reference, name) == value for name, value in fields.items())


def test_what_does_not_change_the_solution_does_not_change_the_reference():
    for fields in (
        {"precision": "bf16"},
        {"eta": 0.5},
        {"s_noise": 1.0},
        {"sampler": "stochastic_heun", "s_churn": 0.0},
    ):
        assert SamplingConfig(**fields).exact() == SamplingConfig().exact()


# The error


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("dpm2", 2), ("dpmpp_2m", 2)])
def test_the_error_falls_with_the_order_of_the_sampler(sampler, order):
    model, steps = gaussian_model(), [32, 64, 128]
    exact = exact_images(model, SamplingConfig())
    errors = [truncation_error(final_images(model, SamplingConfig(sampler=sampler, steps=n)), exact) for n in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(order, abs=0.2)


def test_the_reference_itself_has_no_error():
    model, sampling = gaussian_model(), SamplingConfig(sampler="heun", steps=EXACT_STEPS)
    assert truncation_error(final_images(model, sampling), exact_images(model, sampling)) == 0
    churnless = dataclasses.replace(sampling, sampler="stochastic_heun", s_churn=0.0)
    assert truncation_error(final_images(model, churnless), exact_images(model, churnless)) == 0


def test_the_error_of_a_network_falls_with_its_evaluations(unet, monkeypatch):
    monkeypatch.setattr("edm.config.sampling.EXACT_STEPS", 128)  # a network takes its time
    exact = exact_images(unet, SamplingConfig())
    for sampler in ("euler", "heun", "dpmpp_2m"):
        samplings = [SamplingConfig(sampler=sampler, steps=steps) for steps in (12, 24, 48)]
        errors = [truncation_error(final_images(unet, sampling), exact) for sampling in samplings]
        assert all(after < before for before, after in pairwise(errors))
        assert 0 < errors[-1] < 5 < errors[0]  # grey levels


def test_the_error_is_a_root_mean_square_in_grey_levels():
    exact = torch.zeros(4, 1, 2, 2)
    assert truncation_error(exact + 1 / 127.5, exact) == pytest.approx(1.0)
    one_pixel = exact.clone()
    one_pixel[2, 0, 1, 0] = -8 / 127.5
    assert truncation_error(one_pixel, exact.double()) == pytest.approx(2.0)  # sqrt(64 / 16)
    assert truncation_error(exact, one_pixel) == truncation_error(one_pixel, exact)


# The images


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_final_images_are_the_evaluations_before_quantisation(unet, sampler):
    sampling = SamplingConfig(sampler=sampler, steps=4, seed=5, guidance=2.0)
    images = final_images(unet, sampling)
    evaluated = torch.cat([drawn.images for drawn in generate(unet, sampling, 0, EXACT_IMAGES, 32)])
    assert images.shape == (EXACT_IMAGES, 1, 4, 4)
    assert torch.equal(to_uint8(images), evaluated)
    assert len(images.unique()) > 256


@pytest.mark.parametrize("batch_size", [1, 24, 64, 100])
def test_every_batch_is_padded_and_the_images_are_the_same(batch_size):
    model, sampling = gaussian_model(-0.5, 0.1, 0.4, 0.0), SamplingConfig(steps=3)
    images = final_images(model, sampling, batch_size=batch_size)
    assert set(model.batches) == {batch_size}
    assert torch.equal(images, final_images(model, sampling))


def test_progress_counts_every_step_of_every_batch():
    told = []
    sampling = SamplingConfig(steps=5)
    final_images(gaussian_model(), sampling, on_progress=lambda *progress: told.append(progress), batch_size=24)
    assert told == [(done, 15) for done in range(16)]
    told.clear()
    exact_images(gaussian_model(), sampling, on_progress=lambda *progress: told.append(progress))
    assert told[-1] == (EXACT_STEPS, EXACT_STEPS)


def test_exact_images_are_drawn_without_tf32():
    allowed = []

    def look(_done, _total):
        allowed.append(torch.backends.cudnn.allow_tf32)

    before = torch.backends.cudnn.allow_tf32
    exact_images(gaussian_model(), SamplingConfig(), on_progress=look)
    assert set(allowed) == {False} and torch.backends.cudnn.allow_tf32 == before


# Samplers that add noise


@pytest.mark.parametrize("sampler", get_args(Sampler))
@pytest.mark.parametrize("still", [False, True])
def test_deterministic_is_who_asks_for_no_noise(sampler, still):
    asked = []

    def noise(step):
        asked.append(step)
        return torch.zeros(1, 1, 1, 1)

    sampling = SamplingConfig(sampler=sampler, **({"s_churn": 0.0, "eta": 0.0} if still else {}))
    sample(lambda x, sigma: x / 2, torch.ones(1, 1, 1, 1), sampling, noise)
    assert sampling.is_deterministic == (not asked)
    assert sampling.is_deterministic == (still or sampler in DETERMINISTIC)


@pytest.mark.parametrize("sampler", [*CHURNED, "dpmpp_2m_sde"])
def test_a_sampler_that_adds_noise_has_no_exact_images(sampler):
    with pytest.raises(ValueError, match=f"sampler: {sampler} adds noise on the way"):
        exact_images(gaussian_model(), SamplingConfig(sampler=sampler))
