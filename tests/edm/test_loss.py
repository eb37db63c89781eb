"""The denoising loss and its weights over noise levels, against their definitions."""

from functools import partial

import pytest
import torch

from edm.config import NetworkConfig
from edm.loss import denoising_loss, edm_weight, inverse_variance_weight, min_snr_weight
from edm.precondition import Denoiser, Scalings

SIGMAS = torch.tensor([0.002, 0.1, 0.5, 1.0, 10.0, 80.0], dtype=torch.float64)


def test_edms_weight_is_one_over_c_out_squared():
    c_out = SIGMAS * 0.5 / (SIGMAS**2 + 0.25).sqrt()
    torch.testing.assert_close(edm_weight(SIGMAS, 0.5), 1 / c_out**2)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_is_edms_weight_less_one_cut_at_gamma(gamma):
    """EDM weighs by (SNR + 1) / sigma_data**2, min-SNR by min(SNR, gamma) / sigma_data**2."""
    snr = edm_weight(SIGMAS, 0.5) * 0.25 - 1
    found = min_snr_weight(SIGMAS, 0.5, gamma) * 0.25
    torch.testing.assert_close(found, snr.clip(max=gamma), rtol=1e-9, atol=1e-9)


def test_loss_is_the_weighted_mean_squared_error_of_the_denoiser():
    model = Denoiser(NetworkConfig(1, 8, 3, 8, (1,), (0,), 0), 0.5).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(6, 1, 8, 8, generator=generator) for _ in range(2))
    sigma, label = SIGMAS.float(), torch.arange(6) % 3
    for weight in (edm_weight, partial(min_snr_weight, gamma=5.0)):
        found = denoising_loss(model, images, label, sigma, noise, None, weight)
        error = model(images + sigma[:, None, None, None] * noise, sigma, label) - images
        expected = weight(sigma, 0.5) * (error**2).mean(dim=(1, 2, 3))
        torch.testing.assert_close(found, expected)


def test_the_weight_of_other_preconditionings_is_the_inverse_variance():
    """EDM, Table 1: lambda is 1 / sigma**2 for VP, VE and iDDPM, which is 1 / c_out**2 there."""
    found = inverse_variance_weight(SIGMAS, 0.5)
    for precondition in ("vp", "ve", "iddpm"):
        torch.testing.assert_close(found, 1 / Scalings.of(SIGMAS, 0.5, precondition).c_out ** 2)
