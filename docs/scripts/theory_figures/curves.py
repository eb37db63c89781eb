"""Data of the figures over one number: solvers, slopes, preconditioning, schedules and noise levels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from edm.config import SamplingConfig, TrainingConfig
from edm.data.dataset import to_unit
from edm.loss import edm_weight
from edm.noise import Stream, normals, training_sigmas
from edm.samplers import Method, euler, heun, integrate
from edm.scalings import Scalings
from edm.schedules import ScheduleName, karras, noise_levels
from theory_figures.mixture import Mixture, as_images, line
from theory_figures.plane import Arrays

# solvers ---------------------------------------------------------------------------------------------

TOY_SPREAD, TOP, BOTTOM = 0.5, 5.0, 0.05  # standard deviation of the data; noise levels between which it is solved
STEP_COUNTS = (4, 8, 16, 32, 64, 128, 256)
FITTED_FROM = 32  # steps: with fewer, higher powers of the step still count
ONE_STEP = (0.5, 0.25)  # noise levels at which the pictured step begins and ends
METHODS = {"euler": Method(euler), "heun": Method(heun)}


def toy() -> Mixture:
    """Return one Gaussian on a line, for which the ODE has the solution `toy_solution`."""
    return Mixture(torch.zeros(1, 1, dtype=torch.float64), TOY_SPREAD)


def toy_solution(x: float, start: float, sigma: np.ndarray | float) -> np.ndarray:
    """Return the exact state at `sigma`, from `x` at noise level `start`: it keeps its share of the spread."""
    return x * np.sqrt((np.square(sigma) + TOY_SPREAD**2) / (start**2 + TOY_SPREAD**2))


def toy_states(method: Method, sigmas: list[float], x: float) -> list[float]:
    """Return the states at all `sigmas` that a sampler reaches from `x` at the first."""
    states = [as_images(torch.tensor([[x]], dtype=torch.float64))]
    for pair in pairwise(sigmas):
        states.append(integrate(toy(), states[-1], pair, method, lambda _: states[0]))
    return [float(state) for state in states]


def solvers() -> Arrays:
    """Return one step with its slopes, a coarse solution, and errors by number of steps with their fitted orders."""
    start, end = ONE_STEP
    x = 2.0
    middle = toy_states(METHODS["euler"], [start, end], x)[1]
    slopes = [
        float((at - toy().denoised(torch.tensor([[at]]), sigma)) / sigma) for at, sigma in ((x, start), (middle, end))
    ]
    data: Arrays = {
        "step_x": np.array([x, middle, *(toy_states(METHODS["heun"], [start, end], x)[1:])]),
        "step_slopes": np.array(slopes),
        "step_exact": np.array([float(toy_solution(x, start, end))]),
        "steps": np.array(STEP_COUNTS, dtype=float),
    }
    for name, method in METHODS.items():
        data[f"{name}_coarse"] = np.array(toy_states(method, _levels(5), 4.0))
        exact = float(toy_solution(4.0, TOP, BOTTOM))
        errors = [abs(toy_states(method, _levels(steps), 4.0)[-1] - exact) for steps in STEP_COUNTS]
        data[f"{name}_errors"] = np.array(errors)
        data[f"{name}_order"] = np.array([order(STEP_COUNTS, errors)])
    data["coarse_sigmas"] = np.array(_levels(5))
    return data


def _levels(steps: int) -> list[float]:
    """Noise levels of `steps` steps from TOP to BOTTOM."""
    return karras(steps + 1, BOTTOM, TOP, 7.0)


def order(steps: tuple[int, ...], errors: list[float]) -> float:
    """Return the fitted p of an error that falls as steps**-p."""
    fitted = [(np.log(n), np.log(error)) for n, error in zip(steps, errors, strict=True) if n >= FITTED_FROM]
    return float(-np.polyfit(*zip(*fitted, strict=True), 1)[0])


# where the slope points ------------------------------------------------------------------------------

TANGENTS_AT = (2.5, 1.4, 0.6)  # noise levels at which a tangent is drawn


def slope() -> Arrays:
    """Return paths of the ODE on a line, with the denoiser's output at some of their points."""
    mixture = line()
    sigmas = np.linspace(3.0, 0.005, 240)
    starts = torch.linspace(-4.5, 4.5, 13, dtype=torch.float64)[:, None]
    states = [as_images(starts)]
    for pair in pairwise(sigmas.tolist()):
        states.append(integrate(mixture, states[-1], pair, METHODS["heun"], lambda _: states[0]))
    paths = np.stack([state.flatten().numpy() for state in states])
    denoised = np.stack(
        [
            mixture.denoised(torch.from_numpy(x)[:, None], float(s)).flatten().numpy()
            for x, s in zip(paths, sigmas, strict=True)
        ]
    )
    grid = torch.linspace(-4.5, 4.5, 120, dtype=torch.float64)[:, None]
    density = np.stack(
        [mixture.log_density(grid, float(sigma)).exp().numpy() for sigma in np.linspace(0, 3, 80)], axis=1
    )
    return {"sigmas": sigmas, "paths": paths, "denoised": denoised, "density": density}


# preconditioning -------------------------------------------------------------------------------------

SIGMAS = np.geomspace(0.002, 80, 121)
MEASURED_AT = np.geomspace(0.002, 80, 13)


def preconditioning(images: Tensor, sigma_data: float) -> Arrays:
    """Return the coefficients over SIGMAS, and variances measured on images (uint8) of what the network gets and is asked for."""
    sigmas = torch.from_numpy(SIGMAS)
    scalings = Scalings.of(sigmas, sigma_data)
    data: Arrays = {"sigma": SIGMAS, "sigma_data": np.array([sigma_data]), "measured_at": MEASURED_AT}
    data |= {name: getattr(scalings, name).numpy() for name in ("c_skip", "c_out", "c_in")}
    data["weight"] = edm_weight(sigmas, sigma_data).numpy()
    parts = [inputs_and_targets(images, sigma_data, float(sigma)) for sigma in MEASURED_AT]
    data["input_variance"] = np.array([float(inputs.var()) for inputs, _ in parts])
    data["target_variance"] = np.array([float(targets.var()) for _, targets in parts])
    return data


def inputs_and_targets(images: Tensor, sigma_data: float, sigma: float) -> tuple[Tensor, Tensor]:
    """Return what the network gets, c_in (y + n), and what it is asked for, (y - c_skip (y + n)) / c_out (EDM, eq. 8)."""
    clean = to_unit(images).double()
    noisy = clean + sigma * normals(0, Stream.VALIDATION, torch.arange(len(clean)), tuple(clean.shape[1:]))
    s = Scalings.of(torch.tensor([sigma], dtype=torch.float64), sigma_data)
    return s.c_in * noisy, (clean - s.c_skip * noisy) / s.c_out


TARGETS_AT = (0.01, 0.1, 0.5, 2.0, 40.0)


def targets(images: Tensor, sigma_data: float) -> Arrays:
    """Return inputs and targets of the network for one image at each of TARGETS_AT."""
    parts = [inputs_and_targets(images, sigma_data, sigma) for sigma in TARGETS_AT]
    inputs, asked = (torch.stack([part[side][0] for part in parts]).numpy() for side in (0, 1))
    return {"sigma": np.array(TARGETS_AT), "inputs": inputs, "targets": asked, "image": to_unit(images[0]).numpy()}


# schedules and training ------------------------------------------------------------------------------

SCHEDULES: tuple[ScheduleName, ...] = ("karras", "exponential", "vp", "iddpm")
SCHEDULE_STEPS = 18


def schedules() -> Arrays:
    """Return the noise levels of each schedule, without the 0 at the end."""
    default = SamplingConfig()
    ends = default.sigma_min, default.sigma_max, default.rho
    return {name: np.array(noise_levels(name, SCHEDULE_STEPS, *ends)[:-1]) for name in SCHEDULES}


def training_noise(trained: dict[float, float], untrained: dict[float, float], config: TrainingConfig) -> Arrays:
    """Return the density of ln(sigma) in training, and the loss by noise level before and after training."""
    z = torch.linspace(-6, 6, 241, dtype=torch.float64)
    sigma = training_sigmas(z, config.p_mean, config.p_std).numpy()
    drawn = training_sigmas(normals(0, Stream.TRAINING_SIGMA, torch.arange(20_000)), config.p_mean, config.p_std)
    density, edges = np.histogram(drawn.log().numpy(), bins=np.linspace(np.log(0.002), np.log(80), 54), density=True)
    return {
        "sigma": sigma,
        "density": np.exp(-(z.numpy() ** 2) / 2) / np.sqrt(2 * np.pi) / config.p_std,
        "edges": np.exp(edges),
        "histogram": density,
        "levels": np.array(list(trained)),
        "trained": np.array(list(trained.values())),
        "untrained": np.array(list(untrained.values())),
    }
