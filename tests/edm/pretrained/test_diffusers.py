"""Models of diffusers: the change of variables against closed forms, and folders in the published layouts."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from edm.config import NetworkConfig, SamplingConfig
from edm.cost import forward_flops, num_parameters
from edm.discrete import BetaSchedule, DiscreteProcess, Prediction
from edm.files import load_model, save_model
from edm.generate import generate
from edm.noise import Stream, normals
from edm.precondition import Denoiser
from edm.pretrained.errors import PretrainedError
from edm.pretrained.read import digest_of, read_pretrained
from edm.samplers import sample
from edm.scalings import of_process
from tests.edm.networks.literature import tiny

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample")
SCHEDULES: tuple[BetaSchedule, ...] = ("linear", "scaled_linear", "squaredcos_cap_v2")
SIGMAS = torch.tensor([0.02, 0.3, 1.0, 5.0, 30.0], dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_levels_are_those_of_diffusers(schedule):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=100, beta_schedule=schedule, beta_start=1e-4, beta_end=0.02)
    kept = theirs.alphas_cumprod.double()
    ours = torch.tensor(DiscreteProcess(betas=schedule, steps=100).sigmas(), dtype=torch.float64)
    torch.testing.assert_close(ours, ((1 - kept) / kept).sqrt(), rtol=1e-3, atol=1e-6)


def test_times_are_the_steps_and_between_them_follow_the_logarithm():
    process = DiscreteProcess(steps=50)
    levels = torch.tensor(process.sigmas(), dtype=torch.float64)
    torch.testing.assert_close(of_process(levels, process).c_noise, torch.arange(50, dtype=torch.float64))
    halfway = (levels[:-1] * levels[1:]).sqrt()
    torch.testing.assert_close(of_process(halfway, process).c_noise, torch.arange(49, dtype=torch.float64) + 0.5)
    beyond = torch.tensor([levels[0] / 9, levels[-1] * 9], dtype=torch.float64)
    torch.testing.assert_close(of_process(beyond, process).c_noise, torch.tensor([0.0, 49.0], dtype=torch.float64))


class Best(torch.nn.Module):
    """The best prediction for data N(0, s**2), as a model in discrete time makes it from its own input and time."""

    def __init__(self, process: DiscreteProcess, s: float) -> None:
        super().__init__()
        self.process, self.s = process, s
        self.levels = torch.tensor(process.sigmas(), dtype=torch.float64).log()

    def forward(self, x, c_noise, label=None, augment_labels=None):
        below = c_noise.double().floor().long().clip(0, len(self.levels) - 2)
        share = c_noise.double() - below
        sigma = torch.lerp(self.levels[below], self.levels[below + 1], share).exp()[:, None, None, None]
        a = 1 / (1 + sigma**2)  # x is sqrt(a) y + sqrt(1 - a) n
        y = x.double() * a.sqrt() * self.s**2 / (a * self.s**2 + 1 - a)
        n = (x - a.sqrt() * y) / (1 - a).sqrt()
        return {"epsilon": n, "sample": y, "v_prediction": a.sqrt() * n - (1 - a).sqrt() * y}[self.process.prediction]


def best(prediction: Prediction, schedule: BetaSchedule, s: float) -> Denoiser:
    process = DiscreteProcess(prediction, schedule)
    model = Denoiser(tiny("ddpmpp"), 0.5)
    model.network, model.process = Best(process, s), process
    return model


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_denoiser_of_gaussian_data_is_the_closed_form(prediction, schedule):
    """E[y | y + sigma n] = x s**2 / (s**2 + sigma**2)."""
    s, x = 0.7, torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = best(prediction, schedule, s)(x, SIGMAS)
    expected = x * (s**2 / (s**2 + SIGMAS**2))[:, None, None, None]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_sampling_of_gaussian_data_ends_at_the_closed_form(prediction, schedule):
    s, model = 0.7, best(prediction, schedule, 0.7)
    noise = normals(0, Stream.SAMPLING, torch.arange(2), (3, 8, 8))
    config = SamplingConfig(steps=64, sigma_min=0.02, sigma_max=30.0)
    found = sample(lambda x, sigma: model(x, sigma), noise, config, lambda step: noise)
    torch.testing.assert_close(found, noise.double() * 30 * s / math.sqrt(s**2 + 900), rtol=5e-3, atol=5e-3)


# folders ------------------------------------------------------------------------------------------

SCHEDULER = {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


def unet(side: int = 8) -> Any:
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=side,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    ).eval()


def folder(
    place: Path, scheduler: dict[str, Any] | None = None, pipeline: bool = True, side: int = 8, **more: Any
) -> Any:
    """Write a model as save_pretrained does, and its scheduler's configuration; return the model."""
    model = unet(side)
    model.save_pretrained(place / "unet" if pipeline else place, safe_serialization=True)
    content = (SCHEDULER if scheduler is None else scheduler) | more
    where = place / "scheduler" if pipeline else place
    where.mkdir(exist_ok=True)
    (where / "scheduler_config.json").write_text(json.dumps(content))
    return model


@pytest.mark.parametrize("pipeline", [True, False])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_folder_is_the_denoiser_of_its_prediction(tmp_path, prediction, pipeline):
    from diffusers import DDPMScheduler

    theirs = folder(tmp_path / "ddpm", pipeline=pipeline, prediction_type=prediction)
    ours = read_pretrained(tmp_path / "ddpm")
    scheduler = DDPMScheduler(prediction_type=prediction, clip_sample=False)
    x, t = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), 400
    a = scheduler.alphas_cumprod[t]
    with torch.no_grad():
        expected = scheduler.step(theirs(x, t).sample, t, x).pred_original_sample
        found = ours(x / a.sqrt(), ((1 - a) / a).sqrt())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_its_costs_are_known_without_torch_and_it_draws(tmp_path):
    theirs = folder(tmp_path / "ddpm")
    model = read_pretrained(tmp_path / "ddpm")
    assert num_parameters(model.config) == sum(p.numel() for p in theirs.parameters())
    assert forward_flops(model.config) > 2 * num_parameters(model.config)
    (drawn,) = generate(model, SamplingConfig(steps=2), 0, 3, 3)
    assert drawn.images.shape == (3, 1, 8, 8)
    assert (model.config.halvings, model.config.num_classes) == (1, 0)


def test_a_copy_in_our_own_format_is_the_same_network(tmp_path):
    folder(tmp_path / "ddpm")
    model = read_pretrained(tmp_path / "ddpm")
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert digest_of(again) == digest_of(model) and again.config == model.config
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(x, 1.0), model(x, 1.0))  # their layouts in memory differ


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        ({**SCHEDULER, "prediction_type": "flow"}, "'flow' is not one of epsilon"),
        ({**SCHEDULER, "beta_schedule": "sigmoid"}, "'sigmoid' is not one of linear"),
        ({**SCHEDULER, "rescale_betas_zero_snr": True}, "rescale_betas_zero_snr, which cannot be read yet"),
        ({**SCHEDULER, "trained_betas": [0.1]}, "trained_betas, which cannot be read yet"),
        ({}, "scheduler_config.json is missing"),
    ],
)
def test_a_scheduler_that_is_not_understood_is_refused(tmp_path, scheduler, sentence):
    folder(tmp_path / "ddpm", scheduler)
    with pytest.raises(PretrainedError, match=sentence):
        read_pretrained(tmp_path / "ddpm")


def test_pickled_weights_are_not_read(tmp_path):
    folder(tmp_path / "ddpm")
    weights = tmp_path / "ddpm" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(PretrainedError, match="convert its weights to safetensors, as pickled ones are not read"):
        read_pretrained(tmp_path / "ddpm")


def test_without_diffusers_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    folder(tmp_path / "ddpm")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(PretrainedError, match="needs the package diffusers; install it"):
        read_pretrained(tmp_path / "ddpm")


def test_the_settings_are_part_of_the_configuration():
    assert NetworkConfig(1, 8, 0, 8, (1,), (0,), 0).settings == ""
