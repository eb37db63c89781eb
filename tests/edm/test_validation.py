"""The loss on the val split: fixed noise, fixed levels, EDM's weights."""

import pytest
import torch

from edm.config import NetworkConfig
from edm.precondition import Denoiser
from edm.validation import VALIDATION_SIGMAS, total_loss, validation_losses

NETWORK = NetworkConfig(1, 8, 3, 8, (1,), (0,), 0)


def zero_model(sigma_data=0.5):
    model = Denoiser(NETWORK, sigma_data).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    return model


def gray_images(num=40):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=generator), torch.arange(num) % 3


def test_a_network_of_zeros_scores_about_one_at_every_level():
    images, labels = gray_images(400)
    sigma_data = float((images.double() / 127.5 - 1).std())
    losses = validation_losses(zero_model(sigma_data), images, labels)
    assert tuple(losses) == VALIDATION_SIGMAS
    assert list(losses.values()) == pytest.approx([1.0] * len(losses), abs=0.05)
    assert total_loss(losses) == pytest.approx(1.0, abs=0.02)


def test_it_is_the_same_every_time_and_image_by_image():
    images, labels = gray_images()
    model = zero_model()
    whole = validation_losses(model, images, labels)
    assert validation_losses(model, images, labels) == whole
    alone = [validation_losses(model, images[:20], labels[:20]), validation_losses(model, images, labels)]
    for sigma in VALIDATION_SIGMAS:  # the first twenty have the noise that they have among forty
        assert 2 * alone[1][sigma] - alone[0][sigma] == pytest.approx(2 * whole[sigma] - alone[0][sigma])
    assert alone[0] != whole


def test_a_perfect_denoiser_of_constant_images_scores_nothing():
    class Perfect(Denoiser):
        def forward(self, x, sigma, label=None, augment_labels=None):
            return torch.zeros_like(x) + 1

    model = Perfect(NETWORK, 0.5).eval()
    images = torch.full((10, 1, 8, 8), 255, dtype=torch.uint8)
    assert total_loss(validation_losses(model, images, torch.zeros(10, dtype=torch.int64))) == pytest.approx(
        0, abs=1e-9
    )
