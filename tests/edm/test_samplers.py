"""Samplers against closed forms, against the papers' algorithms written anew, and by their order of convergence."""

import math
import weakref
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from edm.config import Sampler, SamplingConfig
from edm.noise import Stream, normals
from edm.samplers import (
    MAX_GAMMA,
    Churn,
    integrate,
    method_of,
    phi,
    quadrature_weights,
    sample,
)
from edm.schedules import noise_levels

SD = 0.5  # of the Gaussian data
SAMPLERS = get_args(Sampler)
ORDERS = {"euler": 1, "heun": 2, "dpm2": 2, "dpmpp_2m": 2, "dpmpp_3m": 3, "unipc": 4}
STUDY = {"s_churn": math.inf, "s_min": 0.0, "s_max": math.inf, "s_noise": 1.0}  # the 2023 study's churn
GENTLE = {**STUDY, "s_churn": 10.0}


def gaussian_denoiser(x, sigma, mean=0.0):
    """The ideal denoiser of data from N(mean, SD**2)."""
    return mean + (x - mean) * SD**2 / (sigma**2 + SD**2)


def two_point_denoiser(x, sigma):
    """The ideal denoiser of data that is -1 or 1: nothing about it is linear."""
    return torch.tanh(x / sigma**2)


def mixture_denoiser(means, weights):
    """The ideal denoiser of a mixture of Gaussians N(means[k], SD**2) with the given weights."""
    centres = means.flatten(1)

    def denoise(x, sigma):
        variance = SD**2 + sigma**2
        away = x.flatten(1)[:, None] - centres
        share = torch.softmax(weights.log() - (away**2).sum(-1) / (2 * variance), dim=1)
        return (share[..., None] * (centres + SD**2 / variance * away)).sum(1).reshape(x.shape)

    return denoise


def float64(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noise_table(num_steps, shape, seed=1):
    table = normal(num_steps, *shape, seed=seed)
    return lambda step: table[step]


def no_noise(step):
    raise AssertionError("a deterministic sampler asked for noise")


TRIANGLE = mixture_denoiser(float64([[1.0, 0.3], [-0.8, 0.6], [0.1, -1.0]]), float64([0.5, 0.3, 0.2]))


# Order of accuracy


def runge_kutta(denoiser, x, top, bottom, steps):
    """The ODE in ln(sigma), dx/dln(sigma) = x - D, by the classical fourth-order method."""

    def slope(x, at):
        return x - denoiser(x, float64(math.exp(at)))

    h = math.log(bottom / top) / steps
    for i in range(steps):
        at = math.log(top) + i * h
        k1 = slope(x, at)
        k2 = slope(x + h / 2 * k1, at + h / 2)
        k3 = slope(x + h / 2 * k2, at + h / 2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3, at + h))
    return x


@pytest.fixture(scope="module")
def triangle_flow():
    """16 points of noise level 80, and where the ODE of a mixture of three Gaussians takes them at 0.05."""
    start = 80 * normal(16, 2, 1, 1)
    truth = runge_kutta(TRIANGLE, start, 80.0, 0.05, 600)
    # halved steps of a fourth-order method: the truth is 15 times as good as this
    torch.testing.assert_close(runge_kutta(TRIANGLE, start, 80.0, 0.05, 300), truth, rtol=0, atol=3e-8)
    return start, truth


def test_every_deterministic_sampler_has_its_order_fitted():
    assert set(ORDERS) == set(SAMPLERS) - {"stochastic_euler", "stochastic_heun", "dpmpp_2m_sde"}


@pytest.mark.parametrize("schedule", ["karras", "exponential"])
@pytest.mark.parametrize(("sampler", "order"), ORDERS.items())
def test_error_on_a_gaussian_mixture_falls_with_the_order_of_the_sampler(triangle_flow, schedule, sampler, order):
    start, truth = triangle_flow
    step_counts = [32, 64, 128, 256]  # from here on halving the step divides the error by 2**order
    errors = []
    for steps in step_counts:
        sigmas = [
            *noise_levels(schedule, steps + 1, 0.05, 80.0)[:-1],
            0.03,
            0.02,
            0.01,
        ]  # beyond: lower orders at the end
        found = {}
        integrate(
            *(TRIANGLE, start, sigmas, method_of(SamplingConfig(sampler=sampler)), no_noise),
            on_step=lambda step, _sigma, x, _denoised, found=found: found.update({step: x}),
        )
        errors.append(float((found[steps] - truth).abs().max()))
    assert errors[-1] > 2e-8  # ten times what the truth is off by, so that the fit sees the sampler alone
    slope = np.polyfit(np.log(step_counts), np.log(errors), 1)[0]
    assert -slope == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(
    ("sampler", "tolerance"), [("euler", 2e-2), ("heun", 1e-3), ("dpm2", 1e-3), ("dpmpp_2m", 1e-3), ("unipc", 1e-4)]
)
def test_probability_flow_ends_at_its_closed_form(sampler, tolerance):
    x = normal(2, 1, 3, 3)
    found = sample(gaussian_denoiser, x, SamplingConfig(sampler=sampler, steps=256), no_noise)
    truth = x * 80 * SD / math.sqrt(SD**2 + 80**2)
    torch.testing.assert_close(found, truth, rtol=tolerance, atol=0)


@pytest.mark.parametrize("schedule", ["exponential", "linear_log_snr", "ve", "vp", "iddpm"])
def test_every_schedule_leads_to_the_closed_form(schedule):
    config, x = SamplingConfig(sampler="heun", steps=400, schedule=schedule), normal(2, 1, 3, 3)
    top = config.sigmas[0]
    truth = x * top * SD / math.sqrt(SD**2 + top**2)
    torch.testing.assert_close(sample(gaussian_denoiser, x, config, no_noise), truth, rtol=3e-3, atol=0)


@pytest.fixture(scope="module")
def images_of_1000_steps():
    """One batch of noise taken down 1,000 steps to 8x8 images of a Gaussian mixture, by every deterministic sampler."""
    denoiser = mixture_denoiser(torch.tanh(normal(3, 1, 8, 8, seed=4)), float64([0.5, 0.3, 0.2]))
    noise = normal(8, 1, 8, 8, seed=5)
    return {s: sample(denoiser, noise, SamplingConfig(sampler=s, steps=1000), no_noise) for s in ORDERS}


@pytest.mark.parametrize(
    ("sampler", "tolerance"),  # a grey level is 8e-3
    [("euler", 8e-3), ("heun", 5e-5), ("dpm2", 5e-5), ("dpmpp_2m", 5e-5), ("dpmpp_3m", 2e-6)],
)
def test_all_deterministic_samplers_converge_to_the_same_image(images_of_1000_steps, sampler, tolerance):
    images = images_of_1000_steps
    assert images["unipc"].std() > 0.5  # images that differ from each other, with values about [-1, 1]
    assert float((images[sampler] - images["unipc"]).abs().max()) < tolerance


# The papers' algorithms, written anew


def test_samplers_take_one_step_as_worked_by_hand():
    def halve(x, sigma):
        return x / 2

    def stepped(sampler, to):
        x = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
        return float(integrate(halve, x, [2.0, to], method_of(SamplingConfig(sampler=sampler)), no_noise))

    # slope (3 - 1.5) / 2 = 0.75; Euler 3 - 0.75 = 2.25; slope there (2.25 - 1.125) / 1 = 1.125; mean 0.9375
    assert stepped("euler", 1.0) == 2.25
    assert stepped("heun", 1.0) == 3 - 0.9375
    # midway between 2 and 0.5 is 1: slope there 1.125
    assert stepped("dpm2", 0.5) == 3 - 1.5 * 1.125
    # without a past the multistep samplers are Euler, and into 0 all take D
    assert stepped("dpmpp_2m", 1.0) == stepped("dpmpp_3m", 1.0) == stepped("unipc", 1.0) == pytest.approx(2.25)
    assert [stepped(sampler, 0.0) for sampler in ORDERS] == [1.5] * len(ORDERS)


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


def algorithm_2(denoise, noise, t, config, epsilon, second_order=True):
    """EDM, Algorithm 2: stochastic sampling."""
    num = len(t) - 1
    x = t[0] * noise
    for i in range(num):
        inside = config.s_min <= t[i] <= config.s_max
        gamma = min(config.s_churn / num, math.sqrt(2) - 1) if inside else 0
        t_hat = t[i] + gamma * t[i]
        x_hat = x + math.sqrt(t_hat**2 - t[i] ** 2) * config.s_noise * epsilon(i)
        d = (x_hat - denoise(x_hat, t_hat)) / t_hat
        x = x_hat + (t[i + 1] - t_hat) * d
        if t[i + 1] != 0 and second_order:
            d_prime = (x - denoise(x, t[i + 1])) / t[i + 1]
            x = x_hat + (t[i + 1] - t_hat) * (d + d_prime) / 2
    return x


def dpmpp_3m(denoise, noise, t):
    """DPM-Solver++'s Taylor expansion of D in lambda = -ln(sigma) with three points, 2M and 1 while there are fewer.

    D2 estimates the second derivative, twice the second divided difference, as in the singlestep solver. The released
    multistep code leaves out the 2, which makes it second order (errors on the mixture fall by 4 a halving, not 8).
    """
    x, models, lambdas = t[0] * noise, [], []
    for s, to in pairwise(t):
        models, lambdas = [denoise(x, s), *models], [-math.log(s), *lambdas]
        if to == 0:
            return models[0]
        h = -math.log(to) - lambdas[0]
        e = math.expm1(-h)
        following = to / s * x - e * models[0]
        if len(models) > 1:
            r0 = (lambdas[0] - lambdas[1]) / h
            d1_0 = (models[0] - models[1]) / r0
        if len(models) == 2:
            following = following - 0.5 * e * d1_0
        if len(models) > 2:
            r1 = (lambdas[1] - lambdas[2]) / h
            d1_1 = (models[1] - models[2]) / r1
            d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1)
            d2 = 2 * (d1_0 - d1_1) / (r0 + r1)
            following = following + (e / h + 1) * d1 - ((e + h) / h**2 - 0.5) * d2
        x = following
    raise AssertionError("ends in 0")


def dpmpp_2m_sde(denoise, noise, t, eta, epsilon):
    """SDE-DPM-Solver++(2M), midpoint; with eta 0 it is DPM-Solver++(2M)."""
    x, before, h_before = t[0] * noise, None, None
    for i, (s, to) in enumerate(pairwise(t)):
        denoised = denoise(x, s)
        if to == 0:
            return denoised
        h = math.log(s / to)
        share = -math.expm1(-h - eta * h)
        x = to / s * math.exp(-eta * h) * x + share * denoised
        if before is not None:
            x = x + 0.5 * share / (h_before / h) * (denoised - before)
        if eta:
            x = x + epsilon(i) * to * math.sqrt(-math.expm1(-2 * eta * h))
        before, h_before = denoised, h
    raise AssertionError("ends in 0")


def unipc_rhos(rks, hh, b_h):
    """R_p(h) and its right-hand side, phi_p(h) / B(h) (Zhao et al. 2023, Theorem 3.1), solved: one rho for each r_k."""
    rows, right, phi_k, factorial = [], [], math.expm1(hh) / hh - 1, 1
    for k in range(1, len(rks) + 1):
        rows.append([r ** (k - 1) for r in rks])
        right.append(phi_k * factorial / b_h)
        factorial *= k + 1
        phi_k = phi_k / hh - 1 / factorial
    return [0.5] if len(rks) == 1 else list(np.linalg.solve(rows, right))


def unipc(denoise, noise, t, most=3):
    """UniPC (Zhao et al. 2023, Algorithms 1 and 2, data prediction), B(h) = e**h - 1; every D serves twice.

    The order is lower in the last steps, as in the authors' and in diffusers' code (`lower_order_final`).
    """
    x = t[0] * noise
    models, lambdas = [denoise(x, t[0])], [-math.log(t[0])]
    for left, (s, to) in zip(range(len(t) - 1, 0, -1), pairwise(t), strict=True):
        if to == 0:
            return models[0]
        order = min(most, left)
        h = -math.log(to) - lambdas[0]
        b_h = math.expm1(-h)
        rks = [(earlier - lambdas[0]) / h for earlier in lambdas[1:order]]
        d1s = [(model - models[0]) / rk for model, rk in zip(models[1:order], rks, strict=True)]
        base = to / s * x - b_h * models[0]
        predicted = base
        for rho, d1 in zip(unipc_rhos(rks, -h, b_h) if rks else [], d1s, strict=True):
            predicted = predicted - b_h * rho * d1
        model = denoise(predicted, to)
        x = base
        for rho, d1 in zip(unipc_rhos([*rks, 1.0], -h, b_h), [*d1s, model - models[0]], strict=True):
            x = x - b_h * rho * d1
        models, lambdas = [model, *models], [-math.log(to), *lambdas]
    raise AssertionError("ends in 0")


DENOISERS = [gaussian_denoiser, two_point_denoiser]


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("steps", [1, 2, 9, 18])
def test_heun_is_algorithm_1(denoiser, steps):
    x, config = normal(2, 3, 4, 4), SamplingConfig(sampler="heun", steps=steps, sigma_min=0.02)
    found = sample(denoiser, x, config, no_noise)
    torch.testing.assert_close(found, algorithm_1(denoiser, x, config.sigmas), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("sampler", ["stochastic_heun", "stochastic_euler"])
@pytest.mark.parametrize(
    "churn",
    [
        {"s_churn": 3.0, "s_min": 0.05, "s_max": 50.0, "s_noise": 1.003},
        STUDY,
        {"s_churn": 40.0, "s_min": 0.5, "s_max": 2.0, "s_noise": 1.1},
    ],
)
def test_churned_samplers_are_algorithm_2(denoiser, sampler, churn):
    x, config = normal(2, 1, 4, 4), SamplingConfig(sampler=sampler, steps=12, sigma_min=0.02, **churn)
    epsilon = noise_table(12, x.shape)
    found = sample(denoiser, x, config, epsilon)
    expected = algorithm_2(denoiser, x, config.sigmas, config, epsilon, second_order=sampler == "stochastic_heun")
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("schedule", ["karras", "vp"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 25, 200])
def test_multistep_samplers_are_their_papers_formulas(schedule, steps):
    x, epsilon = normal(4, 2, 1, 1), noise_table(steps, (4, 2, 1, 1))

    def found(sampler, noise=no_noise, **given):
        config = SamplingConfig(sampler=sampler, steps=steps, schedule=schedule, **given)
        return sample(TRIANGLE, x, config, noise)

    t = noise_levels(schedule, steps, 0.002, 80.0)
    for sampler, expected in [
        (found("dpmpp_2m"), dpmpp_2m_sde(TRIANGLE, x, t, 0.0, no_noise)),
        (found("dpmpp_3m"), dpmpp_3m(TRIANGLE, x, t)),
        (found("unipc"), unipc(TRIANGLE, x, t)),
        (found("dpmpp_2m_sde", epsilon, eta=1.0), dpmpp_2m_sde(TRIANGLE, x, t, 1.0, epsilon)),
        (found("dpmpp_2m_sde", epsilon, eta=0.3), dpmpp_2m_sde(TRIANGLE, x, t, 0.3, epsilon)),
    ]:
        torch.testing.assert_close(sampler, expected, rtol=1e-9, atol=1e-9)


DIFFUSERS = {  # steps: what UniPCMultistepScheduler of diffusers 0.42.1 makes of POINTS (order 3, bh2, ends in 0)
    1: [-0.018744874842918917, -0.00499917722532606, 0.0012498040672766309, 0.024990889768303990],
    2: [-0.04868218736106324, -0.012991999282800776, 0.0032481809157467595, 0.06486744542330532],
    3: [-0.5697746037805699, -0.1770499089485308, 0.044823350265847856, 0.6849468135860356],
    4: [-0.815498194024967, -0.3536971773351572, 0.0936256638996796, 0.8714082287477181],
    5: [-0.825335452306475, -0.42661712043765526, 0.11751172431915968, 0.8520001795367155],
    9: [-0.6121324161723928, -0.4262117963864996, 0.1319181337760531, 0.6220294141368929],
    18: [-0.587057610361596, -0.3262456161140195, 0.09688473322649198, 0.6242689284113044],
}
POINTS = [-1.5, -0.4, 0.1, 2.0]


@pytest.mark.parametrize("steps", DIFFUSERS)
def test_unipc_is_the_published_solver_to_the_last_digits(steps):
    x, config = float64(POINTS).view(4, 1, 1, 1), SamplingConfig("unipc", steps=steps, sigma_min=0.02)
    found = sample(lambda x, sigma: torch.tanh(x / (1 + sigma**2)), x, config, no_noise)
    torch.testing.assert_close(found.flatten(), float64(DIFFUSERS[steps]), rtol=1e-13, atol=1e-14)


def test_dpmpp_2m_sde_without_noise_is_dpmpp_2m_exactly():
    x = normal(2, 1, 4, 4)
    noiseless = sample(two_point_denoiser, x, SamplingConfig(sampler="dpmpp_2m_sde", eta=0.0), no_noise)
    assert torch.equal(noiseless, sample(two_point_denoiser, x, SamplingConfig(sampler="dpmpp_2m"), no_noise))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("z", [-30.0, -1.001, -0.999, -0.3, -1e-3, -1e-9, 2.0])
def test_phi_is_its_integral_to_the_last_digits(k, z):
    at, weights = np.polynomial.legendre.leggauss(60)
    u, weights = (at + 1) / 2, weights / 2
    integral = (weights * np.exp((1 - u) * z) * u ** (k - 1)).sum() / math.factorial(k - 1)
    assert phi(k, z) == pytest.approx(integral, rel=5e-14)


@pytest.mark.parametrize("nodes", [[0.0], [0.0, -0.7, -1.9], [0.0, -0.7, 1.0], [0.0, -1.1, -2.0, 1.0]])
@pytest.mark.parametrize("h", [1e-4, 0.1, 3.0])
def test_quadrature_is_exact_for_polynomials(nodes, h):
    at, weights = np.polynomial.legendre.leggauss(30)
    u, weights = (at + 1) / 2, weights / 2
    polynomial = np.polynomial.Polynomial(range(2, 2 + len(nodes)))
    found = np.dot(quadrature_weights(nodes, h), polynomial(np.array(nodes)))
    assert found == pytest.approx((weights * h * np.exp(h * (u - 1)) * polynomial(u)).sum(), rel=1e-12)


# Stochastic samplers: mean and covariance

MEAN = float64([0.3, -0.7])
COVARIANCE = float64([[0.5, 0.2], [0.2, 0.25]])
VARIANCES, AXES = torch.linalg.eigh(COVARIANCE)


def correlated_denoiser(x, sigma):
    """The ideal denoiser of N(MEAN, COVARIANCE)."""
    away = (x.flatten(1) - MEAN) @ AXES * (VARIANCES / (VARIANCES + sigma**2))
    return (MEAN + away @ AXES.T).reshape(x.shape)


def exact_moments(config):
    """Mean and covariance of what a sampler draws: for Gaussian data its images are affine in all of its noise.

    An image for every single noise number that is 1 while all others are 0 gives the matrix of that map.
    """
    num = 2 * (config.steps + 1)
    units = torch.cat([torch.eye(num), torch.zeros(1, num)]).double().reshape(num + 1, config.steps + 1, 2, 1, 1)
    drawn = sample(correlated_denoiser, units[:, 0], config, lambda step: units[:, step + 1]).flatten(1)
    response = drawn[:-1] - drawn[-1]
    return drawn[-1], response.T @ response


def covariance_errors(step_counts, **given):
    """Largest error of the covariance, relative to its largest entry, for every number of steps."""
    found = [exact_moments(SamplingConfig(steps=steps, **given))[1] for steps in step_counts]
    return [float((covariance - COVARIANCE).abs().max() / COVARIANCE.max()) for covariance in found]


@pytest.mark.parametrize(
    ("sampler", "given", "order"),
    [
        ("stochastic_euler", GENTLE, 1),
        ("stochastic_heun", GENTLE, 2),
        ("stochastic_heun", STUDY, 1),  # churn that does not shrink with the step costs Heun an order
        ("dpmpp_2m_sde", {"eta": 1.0}, 2),
        ("dpmpp_2m_sde", {"eta": 0.5}, 2),
    ],
)
def test_covariance_of_stochastic_samplers_tends_to_the_truth(sampler, given, order):
    step_counts = [64, 128, 256]
    errors = covariance_errors(step_counts, sampler=sampler, **given)
    assert -np.polyfit(np.log(step_counts), np.log(errors), 1)[0] == pytest.approx(order, abs=0.2)
    assert errors[-1] < (0.05 if order == 1 else 0.006)


def test_full_churn_leaves_euler_too_little_variance_at_any_step_count():
    # up by sqrt(2) and down again is a step that never shrinks: 1 / (4 - 2 sqrt(2)) = 0.854 is the limit for sigma -> 0
    limit = 1 - 1 / (4 - 2 * math.sqrt(2))
    errors = covariance_errors([128, 256, 512], sampler="stochastic_euler", **STUDY)
    assert errors[0] > errors[1] > errors[2] > limit > 0.14
    assert errors[2] == pytest.approx(limit, abs=0.015)


@pytest.mark.parametrize(
    ("sampler", "given"),
    [("stochastic_euler", GENTLE), ("stochastic_heun", GENTLE), ("stochastic_heun", STUDY), ("dpmpp_2m_sde", {})],
)
def test_mean_of_stochastic_samplers_is_the_truth(sampler, given):
    mean, _ = exact_moments(SamplingConfig(sampler=sampler, steps=64, **given))
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=1e-4)  # sigma_max 80 rather than infinity


@pytest.mark.parametrize(
    ("sampler", "given"),
    [
        ("stochastic_euler", GENTLE),
        ("stochastic_euler", STUDY),
        ("stochastic_heun", GENTLE),
        ("stochastic_heun", STUDY),
        ("dpmpp_2m_sde", {}),
    ],
)
def test_many_images_have_the_moments_that_the_sampler_should_give(sampler, given):
    config, index = SamplingConfig(sampler=sampler, steps=64, **given), torch.arange(10_000)
    noise = [normals(0, Stream.SAMPLING, index, (2, 1, 1), step) for step in range(65)]
    drawn = sample(correlated_denoiser, noise[0], config, lambda step: noise[step + 1]).flatten(1)
    mean, covariance = exact_moments(config)
    spread = covariance.diag().sqrt()
    standard_error = 10_000**-0.5
    assert ((drawn.mean(0) - mean).abs() < 5 * standard_error * spread).all()
    bound = (
        5 * standard_error * math.sqrt(2) * spread[:, None] * spread
    )  # an entry's error is at most that of its variances
    assert ((torch.cov(drawn.T) - covariance).abs() < bound).all()


def test_too_much_churn_noise_raises_the_variance():
    too_much = {**STUDY, "s_churn": 40.0, "s_noise": 1.05}
    _, covariance = exact_moments(SamplingConfig(sampler="stochastic_heun", steps=64, **too_much))
    assert (covariance.diag() > 1.05 * COVARIANCE.diag()).all()


# Churn


@pytest.mark.parametrize("order", ["euler", "heun"])
@pytest.mark.parametrize("unchurned", [{"s_churn": 0.0}, {"s_min": 81.0, "s_max": 100.0}])
def test_without_churn_stochastic_samplers_are_the_plain_ones_exactly(order, unchurned):
    x = normal(2, 1, 4, 4)
    found = sample(two_point_denoiser, x, SamplingConfig(sampler=f"stochastic_{order}", **unchurned), no_noise)
    assert torch.equal(found, sample(two_point_denoiser, x, SamplingConfig(sampler=order), no_noise))


@pytest.mark.parametrize("sampler", ORDERS)
def test_deterministic_samplers_ignore_churn_and_eta(sampler):
    x = normal(1, 1, 4, 4)
    plain = sample(two_point_denoiser, x, SamplingConfig(sampler=sampler, steps=8), no_noise)
    churned = SamplingConfig(sampler=sampler, steps=8, eta=0.5, **STUDY)
    assert torch.equal(plain, sample(two_point_denoiser, x, churned, no_noise))


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
    churn = Churn(s_churn=6.0, s_min=0.05, s_max=50.0, s_noise=1.0)
    assert churn.gamma(sigma, 20) == (0.3 if churns else 0.0)


def test_gamma_is_capped():
    assert Churn(**STUDY).gamma(80.0, 50) == math.sqrt(2) - 1 == MAX_GAMMA
    just_below, just_above = 50 * MAX_GAMMA - 1e-6, 50 * MAX_GAMMA + 1e-6
    assert Churn(just_below, 0.0, 80.0, 1.0).gamma(1.0, 50) < MAX_GAMMA
    assert Churn(just_above, 0.0, 80.0, 1.0).gamma(1.0, 50) == MAX_GAMMA


def levels_seen(config):
    """The noise levels at which the denoiser is evaluated."""
    seen = []

    def denoiser(x, sigma):
        seen.append(float(sigma))
        return gaussian_denoiser(x, sigma)

    sample(denoiser, normal(1, 1, 2, 2), config, noise_table(config.steps, (1, 1, 2, 2)))
    return seen


def test_churn_raises_the_level_that_the_denoiser_sees_at_its_steps_alone():
    config = SamplingConfig(
        sampler="stochastic_heun", steps=6, sigma_min=0.02, s_churn=0.6, s_min=0.05, s_max=50.0, s_noise=1.0
    )
    seen = levels_seen(config)
    expected = [s * 1.1 if 0.05 <= s <= 50 else s for s in config.sigmas[:-1]]
    assert seen[0::2] == pytest.approx(expected)  # every other call is Heun's correction
    assert seen[1::2] == config.sigmas[1:-1]


def test_the_studys_churn_raises_every_step():
    config = SamplingConfig(sampler="stochastic_euler", steps=5, **STUDY)
    assert levels_seen(config) == pytest.approx([s * math.sqrt(2) for s in config.sigmas[:-1]])


# The loop


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_number_of_denoiser_calls_is_nfe(sampler, steps):
    config = SamplingConfig(sampler=sampler, steps=steps)
    assert len(levels_seen(config)) == config.nfe


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_state_is_float64_whatever_the_noise(sampler):
    seen = []

    def denoiser(x, sigma):
        seen.append((x.dtype, sigma.dtype))
        return gaussian_denoiser(x, sigma)

    x = normal(1, 1, 2, 2).float()
    found = sample(denoiser, x, SamplingConfig(sampler=sampler, steps=4), lambda _: torch.ones(1, 1, 2, 2))
    assert found.dtype == torch.float64
    assert set(seen) == {(torch.float64, torch.float64)}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_step_reads_a_value_back_from_the_device(sampler):
    # the meta device has shapes and no values: whoever asks one for a number or a branch raises
    x = torch.empty(2, 1, 4, 4, device="meta")
    found = sample(gaussian_denoiser, x, SamplingConfig(sampler=sampler, steps=5), lambda _: torch.empty_like(x))
    assert (found.device.type, found.shape) == ("meta", x.shape)
    with pytest.raises(RuntimeError):
        bool((found > 0).all())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_is_asked_for_by_steps_that_add_some_alone(sampler):
    asked = []

    def noise(step):
        asked.append(step)
        return torch.ones(1, 1, 2, 2)

    config = SamplingConfig(sampler=sampler, steps=6, s_churn=1.0, s_min=0.0, s_max=50.0)
    sample(gaussian_denoiser, normal(1, 1, 2, 2), config, noise)
    expected = {
        "dpmpp_2m_sde": [0, 1, 2, 3, 4],
        "stochastic_euler": [1, 2, 3, 4, 5],
        "stochastic_heun": [1, 2, 3, 4, 5],
    }
    assert asked == expected.get(sampler, [])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_states_are_let_go_but_for_the_few_that_rules_still_read(sampler):
    states, alive = [], []

    def denoiser(x, sigma):
        states.append(weakref.ref(x))
        alive.append(sum(state() is not None for state in states))
        return gaussian_denoiser(x, sigma)

    config = SamplingConfig(sampler=sampler, steps=40)
    sample(denoiser, normal(1, 1, 2, 2), config, noise_table(40, (1, 1, 2, 2)))
    assert max(alive) <= 5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_on_step_sees_every_state_its_level_and_its_denoised_image(sampler):
    seen = []
    config = SamplingConfig(sampler=sampler, steps=6)
    x, noise = normal(2, 1, 2, 2), noise_table(6, (2, 1, 2, 2))
    found = sample(gaussian_denoiser, x, config, noise, lambda *step: seen.append(step))
    assert torch.equal(found, sample(gaussian_denoiser, x, config, noise))  # looking changes nothing
    assert [index for index, *_ in seen] == list(range(6))
    assert torch.equal(seen[0][2], 80 * x)
    for (_, sigma, state, denoised), level in zip(seen, config.sigmas, strict=False):
        assert level <= sigma <= level * math.sqrt(2)
        assert torch.equal(denoised, gaussian_denoiser(state, float64(sigma)))
    torch.testing.assert_close(found, seen[-1][3])  # the last step goes to D


class Recorded:
    """A denoiser that is another one at every step, and remembers which served whom."""

    def __init__(self):
        self.steps, self.calls = [], []

    def for_step(self, sigma):
        self.steps.append(sigma)

        def denoise(x, at):
            self.calls.append((sigma, float(at)))
            return gaussian_denoiser(x, at)

        return denoise


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_denoiser_by_step_is_chosen_once_a_step_by_the_unchurned_level(sampler):
    recorded = Recorded()
    config = SamplingConfig(sampler=sampler, steps=6)
    sample(recorded, normal(1, 1, 2, 2), config, noise_table(6, (1, 1, 2, 2)))
    assert recorded.steps == config.sigmas[:-1]
    per_step = [sum(step == sigma for step, _ in recorded.calls) for sigma in config.sigmas[:-1]]
    twice = sampler in ("heun", "dpm2", "stochastic_heun")
    assert per_step == [2, 2, 2, 2, 2, 1] if twice else [1] * 6
    assert [at for _, at in recorded.calls] == levels_seen(config)
