"""Identities of EDM's Table 1, and the loss of denoisers whose loss is known."""

import math

import pytest
import torch

from edm.config import NetworkConfig
from edm.loss import denoising_loss, edm_weight
from edm.precondition import Denoiser, Scalings

NETWORK = NetworkConfig(
    image_channels=1, resolution=8, num_classes=2, channels=8, depths=(1,), heads=(0,), bridge_heads=0
)
LEVELS = torch.logspace(math.log10(0.002), math.log10(80), 25, dtype=torch.float64)
data_deviations = pytest.mark.parametrize("sigma_data", [0.25, 0.5, 1.3])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@data_deviations
def test_network_input_has_unit_variance(sigma_data):
    variance = Scalings.of(LEVELS, sigma_data).c_in ** 2 * (LEVELS**2 + sigma_data**2)
    torch.testing.assert_close(variance, torch.ones_like(LEVELS), rtol=1e-12, atol=0)


@data_deviations
def test_training_target_has_unit_variance(sigma_data):
    # the target is (y - c_skip (y + n)) / c_out (EDM, eq. 8), for y and n of variances sigma_data**2 and sigma**2
    s = Scalings.of(LEVELS, sigma_data)
    variance = ((1 - s.c_skip) ** 2 * sigma_data**2 + s.c_skip**2 * LEVELS**2) / s.c_out**2
    torch.testing.assert_close(variance, torch.ones_like(LEVELS), rtol=1e-9, atol=0)


@data_deviations
@pytest.mark.parametrize("nudge", [-1e-3, 1e-3])
def test_c_skip_amplifies_errors_of_the_network_least(sigma_data, nudge):
    s = Scalings.of(LEVELS, sigma_data)
    c_skip = s.c_skip + nudge
    c_out_squared = (1 - c_skip) ** 2 * sigma_data**2 + c_skip**2 * LEVELS**2  # what unit variance would then demand
    assert (c_out_squared > s.c_out**2).all()


@data_deviations
def test_weight_undoes_the_output_scaling(sigma_data):
    s = Scalings.of(LEVELS, sigma_data)
    torch.testing.assert_close(edm_weight(LEVELS, sigma_data), 1 / s.c_out**2, rtol=1e-12, atol=0)


def test_noise_conditioning_is_a_quarter_of_the_logarithm():
    c_noise = Scalings.of(torch.tensor([1.0, math.e, math.exp(-4)]), 0.5).c_noise
    torch.testing.assert_close(c_noise, torch.tensor([0.0, 0.25, -1.0]))


def test_scalings_at_the_datas_own_deviation():
    level = torch.tensor([0.5], dtype=torch.float64)
    s = Scalings.of(level, 0.5)
    found = [float(value) for value in (s.c_skip, s.c_out, s.c_in, edm_weight(level, 0.5))]
    assert found == pytest.approx([0.5, 0.5 / math.sqrt(2), math.sqrt(2), 8.0], rel=1e-12)


def test_little_noise_leaves_the_image():
    model, x = Denoiser(NETWORK, 0.5).eval().requires_grad_(False), normal(4, 1, 8, 8).double()
    denoised = model(x, torch.full((4,), 1e-9, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(denoised, x, rtol=0, atol=1e-7)


def test_much_noise_leaves_the_network_alone():
    s = Scalings.of(torch.tensor([1e9], dtype=torch.float64), 0.5)
    assert float(s.c_skip) < 1e-12
    assert float(s.c_out) == pytest.approx(0.5)


def test_denoiser_puts_the_scalings_around_the_network():
    model = Denoiser(NETWORK, 0.5).eval().requires_grad_(False)
    x, sigma, label = normal(3, 1, 8, 8).double(), torch.tensor([0.01, 0.5, 20.0]).double(), torch.tensor([0, 1, 2])
    rows = []
    for i in range(3):
        s = Scalings.of(sigma[i : i + 1], 0.5)
        output = model.network((float(s.c_in) * x[i : i + 1]).float(), s.c_noise.float(), label[i : i + 1])
        rows.append(float(s.c_skip) * x[i : i + 1] + float(s.c_out) * output.double())
    denoised = model(x, sigma, label)
    assert denoised.dtype == torch.float64
    torch.testing.assert_close(denoised, torch.cat(rows), rtol=1e-5, atol=1e-5)


def gaussian_denoiser(deviation, sigma_data):
    """A denoiser in name that computes the ideal one of data from N(0, deviation**2)."""
    model = Denoiser(NETWORK, sigma_data)

    def ideal(x, sigma, label=None, augment_labels=None):
        return x * (deviation**2 / (deviation**2 + sigma**2))[:, None, None, None]

    model.forward = ideal
    return model


@pytest.mark.parametrize("sigma", [0.002, 0.1, 0.5, 3.0, 80.0])
@pytest.mark.parametrize("deviation", [0.3, 0.5, 1.0])
def test_loss_of_the_ideal_denoiser_has_its_closed_form(deviation, sigma):
    sigma_data, num = 0.5, 4000
    images, noise = deviation * normal(num, 1, 8, 8), normal(num, 1, 8, 8, seed=1)
    loss = denoising_loss(gaussian_denoiser(deviation, sigma_data), images, None, torch.full((num,), sigma), noise)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    closed_form = weight * deviation**2 * sigma**2 / (deviation**2 + sigma**2)
    standard_error = closed_form * math.sqrt(2 / (num * 64))
    assert loss.shape == (num,)
    assert float(loss.mean()) == pytest.approx(closed_form, abs=5 * standard_error)


@data_deviations
def test_untrained_network_has_a_loss_of_1_at_every_noise_level(sigma_data):
    model = Denoiser(NETWORK, sigma_data).eval().requires_grad_(False)
    torch.nn.init.zeros_(model.network.conv_out.weight)
    torch.nn.init.zeros_(model.network.conv_out.bias)
    num = 200
    for sigma in (0.002, 0.05, 0.5, 5.0, 80.0):
        images, noise = sigma_data * normal(num, 1, 8, 8), normal(num, 1, 8, 8, seed=1)
        labels = torch.zeros(num, dtype=torch.int64)
        loss = denoising_loss(model, images, labels, torch.full((num,), sigma), noise).mean()
        assert float(loss) == pytest.approx(1, abs=5 * math.sqrt(2 / (num * 64)))


def test_loss_of_an_image_is_its_own():
    model, num = gaussian_denoiser(0.5, 0.5), 5
    images, noise, sigma = normal(num, 1, 8, 8), normal(num, 1, 8, 8, seed=1), torch.linspace(0.1, 2, num)
    whole = denoising_loss(model, images, None, sigma, noise)
    for i in range(num):
        one = slice(i, i + 1)
        torch.testing.assert_close(whole[one], denoising_loss(model, images[one], None, sigma[one], noise[one]))


def test_denoiser_knows_its_images_and_its_null_label():
    model = Denoiser(NetworkConfig(3, 16, 7, 8, (1,), (0,), 0), 0.5)
    assert model.image_shape == (3, 16, 16)
    assert model.null_label == 7
    assert model.network.conditioning.label.num_embeddings == 8


def test_one_noise_level_serves_all_images_and_no_label_is_the_null_label():
    model = Denoiser(NETWORK, 0.5).eval().requires_grad_(False)
    x, label = normal(3, *model.image_shape), torch.full((3,), model.null_label)
    expected = model(x, torch.full((3,), 2.0), label)
    for sigma in (2.0, torch.tensor(2.0), torch.full((3,), 2.0)):
        assert torch.equal(model(x, sigma, label), expected)
        assert torch.equal(model(x, sigma), expected)
