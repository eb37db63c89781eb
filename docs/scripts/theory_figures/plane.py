"""Data of the figures in the plane: score field, paths with and without churn, and guidance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edm.config import SamplingConfig
from edm.guidance import guided
from edm.noise import Stream, normals
from edm.samplers import sample
from theory_figures.mixture import MixtureDenoiser, as_images, both

Arrays = dict[str, NDArray[np.floating]]

HALF = 2.6  # the pictured square is [-HALF, HALF]**2
LEVELS = (2.0, 0.8, 0.35, 0.02)  # noise levels that are pictured
NUM_PATHS, ARROWS = 12, 12  # arrows a side of the square
DETERMINISTIC = SamplingConfig(sampler="heun", steps=64)
CHURNED = SamplingConfig(sampler="stochastic_heun", steps=64, s_churn=8.0, s_noise=1.0)


def square(side: int) -> Tensor:
    """Return the points of a regular grid over the pictured square, row by row."""
    axis = torch.linspace(-HALF, HALF, side, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def field() -> Arrays:
    """Return score field and density at each of LEVELS, and paths down to them, without churn and with it."""
    mixture, arrows, fine = both(), square(ARROWS), square(90)
    data: Arrays = {
        "sigma": np.array(LEVELS),
        "score": np.stack([mixture.score(arrows, sigma).numpy() for sigma in LEVELS]),
        "log_density": np.stack([mixture.log_density(fine, sigma).reshape(90, 90).numpy() for sigma in LEVELS]),
    }
    for name, config in (("deterministic", DETERMINISTIC), ("churned", CHURNED)):
        data |= {f"{name}_{key}": value for key, value in _paths(config).items()}
    return data


def _paths(config: SamplingConfig) -> Arrays:
    """Return the noise levels and the states [step, path, 2] that sampling goes through, the end included."""
    index, states, sigmas = torch.arange(NUM_PATHS), [], []

    def noise(step: int) -> Tensor:
        return normals(4, Stream.SAMPLING, index, (2, 1, 1), step)

    def on_step(_step: int, sigma: float, x: Tensor, _denoised: Tensor) -> None:
        sigmas.append(sigma)
        states.append(x.flatten(1).numpy())

    final = sample(both(), noise(0), config, lambda step: noise(step + 1), on_step)
    return {"sigmas": np.array([*sigmas, 0.0]), "states": np.stack([*states, final.flatten(1).numpy()])}


GUIDED_POINTS, GUIDED_LABEL = 4000, 0
WIDER = 0.25  # by how much the components of autoguidance's weaker model are wider
GUIDANCE = SamplingConfig(sampler="heun", steps=24)
GUIDED = {  # title: how it samples
    "guidance 1": GUIDANCE,
    "guidance 2": replace(GUIDANCE, guidance=2.0),
    "guidance 4": replace(GUIDANCE, guidance=4.0),
    "guidance 4, only for\n0.3 < σ ≤ 1": replace(GUIDANCE, guidance=4.0, guidance_interval=(0.3, 1.0)),
    "autoguidance 2": replace(GUIDANCE, guidance=2.0),
}
ARROWS_AT = 0.5  # noise level at which the direction of guidance is pictured


def guidance() -> Arrays:
    """Return what guidance adds to the slope at ARROWS_AT, and points of class 0 drawn in each way of GUIDED."""
    model, weaker = MixtureDenoiser(), MixtureDenoiser(WIDER)
    index, arrows = torch.arange(GUIDED_POINTS), square(ARROWS)
    labels, noise = torch.full((GUIDED_POINTS,), GUIDED_LABEL), normals(0, Stream.SAMPLING, index, (2, 1, 1))
    level = torch.full((len(arrows),), ARROWS_AT, dtype=torch.float64)
    conditional, unconditional = (
        model(as_images(arrows), level, torch.full((len(arrows),), label)).flatten(1) for label in (0, 2)
    )
    data: Arrays = {
        "added": ((conditional - unconditional) / ARROWS_AT).numpy(),
        "log_density": model.mixtures[GUIDED_LABEL].log_density(square(90), 0.0).reshape(90, 90).numpy(),
        "log_density_noisy": model.mixtures[GUIDED_LABEL].log_density(square(90), ARROWS_AT).reshape(90, 90).numpy(),
    }
    for number, (title, config) in enumerate(GUIDED.items()):
        denoiser = guided(model, labels, config, weaker if title.startswith("auto") else None)
        data[f"points_{number}"] = sample(denoiser, noise, config, lambda _: noise).flatten(1).numpy()
    return data


def guided_summary(data: Arrays) -> dict[str, list[float]]:
    """Return, for each way of GUIDED, the points' spread around their mean and their mean ln p(x | class)."""
    mixture = MixtureDenoiser().mixtures[GUIDED_LABEL]
    points = [torch.from_numpy(data[f"points_{number}"]) for number in range(len(GUIDED))]
    return {
        "spread": [float(each.std(dim=0).square().sum().sqrt()) for each in points],
        "log_density": [float(mixture.log_density(each, 0.0).mean()) for each in points],
    }
