"""Samplers against closed forms, against the paper's algorithms written anew, and by their order of convergence."""

import math

import numpy as np
import pytest
import torch

from edm.config import SamplingConfig
from edm.noise import karras_sigmas
from edm.samplers import MAX_GAMMA, Churn, euler_step, heun_step, integrate, sample

SD = 0.5  # of the Gaussian data
STEP_RULES = {"euler": euler_step, "heun": heun_step}


def gaussian_denoiser(x, sigma, mean=0.0):
    """The ideal denoiser of data from N(mean, SD**2)."""
    return mean + (x - mean) * SD**2 / (sigma**2 + SD**2)


def two_point_denoiser(x, sigma):
    """The ideal denoiser of data that is -1 or 1: nothing about it is linear."""
    return torch.tanh(x / sigma**2)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noise_table(num_steps, shape, seed=1):
    table = normal(num_steps, *shape, seed=seed)
    return lambda step: table[step]


def no_noise(step):
    raise AssertionError("a deterministic sampler asked for noise")


@pytest.mark.parametrize(("rule", "order"), [("euler", 1), ("heun", 2)])
def test_error_falls_with_the_order_of_the_rule(rule, order):
    start = normal(1, 1, 2, 2) * 80
    step_counts = [64, 128, 256, 512]
    errors = []
    for steps in step_counts:
        sigmas = karras_sigmas(steps, 0.002, 80.0, 7.0)[:-1]  # down to sigma_min, where the closed form is exact too
        found = integrate(gaussian_denoiser, start, sigmas, STEP_RULES[rule])
        truth = start * torch.sqrt((SD**2 + sigmas[-1] ** 2) / (SD**2 + sigmas[0] ** 2))
        errors.append(float((found - truth).abs().max()))
    slope = np.polyfit(np.log(step_counts), np.log(errors), 1)[0]
    assert -slope == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(("rule", "tolerance"), [("euler", 2e-2), ("heun", 1e-3)])
def test_probability_flow_ends_at_its_closed_form(rule, tolerance):
    x = normal(2, 1, 3, 3)
    config = SamplingConfig(sampler=rule, steps=256)
    found = sample(gaussian_denoiser, x, karras_sigmas(256, 0.002, 80.0, 7.0), config, no_noise)
    truth = x * 80 * SD / math.sqrt(SD**2 + 80**2)
    torch.testing.assert_close(found, truth, rtol=tolerance, atol=0)


def test_rules_take_one_step_as_worked_by_hand():
    x, sigma, to = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64), torch.tensor(2.0), torch.tensor(1.0)

    def halve(x, sigma):
        return x / 2

    # slope (3 - 1.5) / 2 = 0.75; Euler 3 - 0.75 = 2.25; slope there (2.25 - 1.125) / 1 = 1.125; mean 0.9375
    assert float(euler_step(halve, x, sigma, to)) == 2.25
    assert float(heun_step(halve, x, sigma, to)) == 3 - 0.9375
    assert float(heun_step(halve, x, sigma, torch.tensor(0.0))) == 1.5


def algorithm_1(denoise, noise, t):
    """EDM, Algorithm 1: deterministic sampling."""
    x = t[0] * noise
    for i in range(len(t) - 1):
        d = (x - denoise(x, t[i])) / t[i]
        following = x + (t[i + 1] - t[i]) * d
        if t[i + 1] != 0:
            d_prime = (following - denoise(following, t[i + 1])) / t[i + 1]
            following = x + (t[i + 1] - t[i]) * (d / 2 + d_prime / 2)
        x = following
    return x


def algorithm_2(denoise, noise, t, config, epsilon):
    """EDM, Algorithm 2: stochastic sampling."""
    num = len(t) - 1
    x = t[0] * noise
    for i in range(num):
        inside = config.s_min <= t[i] <= config.s_max
        gamma = min(config.s_churn / num, math.sqrt(2) - 1) if inside else 0
        t_hat = t[i] + gamma * t[i]
        x_hat = x + torch.sqrt(t_hat**2 - t[i] ** 2) * config.s_noise * epsilon(i)
        d = (x_hat - denoise(x_hat, t_hat)) / t_hat
        x = x_hat + (t[i + 1] - t_hat) * d
        if t[i + 1] != 0:
            d_prime = (x - denoise(x, t[i + 1])) / t[i + 1]
            x = x_hat + (t[i + 1] - t_hat) * (d + d_prime) / 2
    return x


@pytest.mark.parametrize("denoiser", [gaussian_denoiser, two_point_denoiser])
@pytest.mark.parametrize("steps", [1, 2, 9, 18])
def test_heun_is_algorithm_1(denoiser, steps):
    x, sigmas = normal(2, 3, 4, 4), karras_sigmas(steps, 0.02, 80.0, 7.0)
    found = sample(denoiser, x, sigmas, SamplingConfig(sampler="heun", steps=steps), no_noise)
    torch.testing.assert_close(found, algorithm_1(denoiser, x, sigmas), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("denoiser", [gaussian_denoiser, two_point_denoiser])
@pytest.mark.parametrize(
    "churn",
    [
        {"s_churn": 3.0, "s_min": 0.05, "s_max": 50.0, "s_noise": 1.003},
        {"s_churn": math.inf, "s_min": 0.0, "s_max": math.inf, "s_noise": 1.0},
        {"s_churn": 40.0, "s_min": 0.5, "s_max": 2.0, "s_noise": 1.1},
    ],
)
def test_stochastic_heun_is_algorithm_2(denoiser, churn):
    x, sigmas = normal(2, 1, 4, 4), karras_sigmas(12, 0.02, 80.0, 7.0)
    config = SamplingConfig(sampler="stochastic_heun", steps=12, **churn)
    epsilon = noise_table(12, x.shape)
    found = sample(denoiser, x, sigmas, config, epsilon)
    torch.testing.assert_close(found, algorithm_2(denoiser, x, sigmas, config, epsilon), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("s_churn", [10.0, 40.0, math.inf])
def test_stochastic_sampler_reaches_mean_and_variance_of_the_data(s_churn):
    mean, steps, shape = 0.3, 128, (1, 1, 300, 300)
    churn = {"s_churn": s_churn, "s_min": 0.0, "s_max": math.inf, "s_noise": 1.0}
    config = SamplingConfig(sampler="stochastic_heun", steps=steps, **churn)
    generator = torch.Generator().manual_seed(5)
    found = sample(
        lambda x, sigma: gaussian_denoiser(x, sigma, mean),
        normal(*shape),
        karras_sigmas(steps, 0.002, 80.0, 7.0),
        config,
        lambda _: torch.randn(shape, dtype=torch.float64, generator=generator),
    )
    standard_error = SD / 300
    assert float(found.mean()) == pytest.approx(mean, abs=5 * standard_error)
    assert float(found.var()) == pytest.approx(SD**2, rel=0.025)  # five standard errors, sqrt(2) / 300 each


def test_too_much_churn_noise_raises_the_variance():
    shape, steps = (1, 1, 200, 200), 64
    config = SamplingConfig(sampler="stochastic_heun", steps=steps, s_churn=40.0, s_min=0.0, s_max=80.0, s_noise=1.05)
    sigmas = karras_sigmas(steps, 0.002, 80.0, 7.0)
    found = sample(gaussian_denoiser, normal(*shape), sigmas, config, noise_table(steps, shape))
    assert float(found.var()) > 1.05 * SD**2


def test_no_churn_is_heun_exactly():
    x, sigmas = normal(2, 1, 4, 4), karras_sigmas(18, 0.002, 80.0, 7.0)
    stochastic = SamplingConfig(sampler="stochastic_heun", s_churn=0.0)
    found = sample(two_point_denoiser, x, sigmas, stochastic, no_noise)
    assert torch.equal(found, sample(two_point_denoiser, x, sigmas, SamplingConfig(sampler="heun"), no_noise))


def test_churn_outside_every_sigma_is_heun_exactly():
    x, sigmas = normal(2, 1, 4, 4), karras_sigmas(18, 0.002, 80.0, 7.0)
    stochastic = SamplingConfig(sampler="stochastic_heun", s_min=81.0, s_max=100.0)
    found = sample(two_point_denoiser, x, sigmas, stochastic, no_noise)
    assert torch.equal(found, sample(two_point_denoiser, x, sigmas, SamplingConfig(sampler="heun"), no_noise))


def test_deterministic_samplers_ignore_churn_settings():
    x, sigmas = normal(1, 1, 4, 4), karras_sigmas(8, 0.002, 80.0, 7.0)
    for sampler in ("euler", "heun"):
        plain = sample(two_point_denoiser, x, sigmas, SamplingConfig(sampler=sampler), no_noise)
        churned = SamplingConfig(sampler=sampler, s_churn=math.inf, s_min=0.0, s_max=math.inf)
        assert torch.equal(plain, sample(two_point_denoiser, x, sigmas, churned, no_noise))


@pytest.mark.parametrize(
    ("sigma", "churns"),
    [
        (0.05, True),
        (math.nextafter(0.05, 0), False),
        (1.0, True),
        (50.0, True),
        (math.nextafter(50.0, 100), False),
        (80.0, False),
    ],
)
def test_gamma_at_and_outside_the_edges(sigma, churns):
    churn = Churn(s_churn=6.0, s_min=0.05, s_max=50.0, s_noise=1.0, noise=no_noise)
    assert churn.gamma(sigma, 20) == (0.3 if churns else 0.0)


def test_gamma_is_capped():
    churn = Churn(s_churn=math.inf, s_min=0.0, s_max=math.inf, s_noise=1.0, noise=no_noise)
    assert churn.gamma(80.0, 50) == math.sqrt(2) - 1 == MAX_GAMMA
    just_below, just_above = 50 * MAX_GAMMA - 1e-6, 50 * MAX_GAMMA + 1e-6
    assert Churn(just_below, 0.0, 80.0, 1.0, no_noise).gamma(1.0, 50) < MAX_GAMMA
    assert Churn(just_above, 0.0, 80.0, 1.0, no_noise).gamma(1.0, 50) == MAX_GAMMA


def test_churn_raises_the_level_that_the_denoiser_sees_at_its_steps_alone():
    seen = []

    def denoiser(x, sigma):
        seen.append(float(sigma))
        return gaussian_denoiser(x, sigma)

    sigmas = karras_sigmas(6, 0.02, 80.0, 7.0)
    config = SamplingConfig(sampler="stochastic_heun", steps=6, s_churn=0.6, s_min=0.05, s_max=50.0)
    sample(denoiser, normal(1, 1, 2, 2), sigmas, config, noise_table(6, (1, 1, 2, 2)))
    expected = [s * 1.1 if 0.05 <= s <= 50 else s for s in sigmas[:-1].tolist()]
    assert seen[0::2] == pytest.approx(expected)  # every other call is Heun's correction
    assert seen[1::2] == sigmas[1:-1].tolist()


@pytest.mark.parametrize("sampler", ["euler", "heun", "stochastic_heun"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_number_of_denoiser_calls_is_nfe(sampler, steps):
    calls = []

    def denoiser(x, sigma):
        calls.append(sigma)
        return gaussian_denoiser(x, sigma)

    config = SamplingConfig(sampler=sampler, steps=steps)
    sigmas = karras_sigmas(steps, 0.002, 80.0, 7.0)
    sample(denoiser, normal(1, 1, 2, 2), sigmas, config, noise_table(steps, (1, 1, 2, 2)))
    assert len(calls) == config.nfe


def test_state_is_float64_whatever_the_noise():
    seen = []

    def denoiser(x, sigma):
        seen.append(x.dtype)
        return gaussian_denoiser(x, sigma)

    x = normal(1, 1, 2, 2).float()
    config = SamplingConfig(sampler="stochastic_heun", steps=4)
    sigmas = karras_sigmas(4, 0.002, 80.0, 7.0)
    found = sample(denoiser, x, sigmas, config, lambda _: torch.ones(1, 1, 2, 2))
    assert found.dtype == torch.float64
    assert set(seen) == {torch.float64}
