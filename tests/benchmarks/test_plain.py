"""The plain loop computes what edm does, so that ratios between them compare like with like."""

import itertools
import warnings

import torch

from benchmarks.plain import (
    PlainDenoiser,
    PlainImages,
    features_of_pictures,
    plain_distance,
    plain_sampling,
    plain_scores,
    plain_training,
    write_pictures,
)
from edm.config import NetworkConfig
from edm.metrics.features import Inception
from edm.metrics.fid import Statistics, frechet_distance
from edm.metrics.inception import InceptionV3
from edm.networks.initialise import initialise
from edm.precondition import Denoiser

CPU = torch.device("cpu")
NETWORK = NetworkConfig(1, 8, 3, 8, (1, 1), (0, 2), 2, 4)


def random_images(num: int) -> torch.Tensor:
    return torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_its_denoiser_is_edms() -> None:
    plain, ours = PlainDenoiser(NETWORK, 0.5), Denoiser(NETWORK, 0.5)
    initialise(ours, torch.Generator().manual_seed(0))
    plain.network.load_state_dict(ours.network.state_dict())
    x, sigma, label = torch.randn(4, 1, 8, 8), torch.tensor([0.01, 0.5, 3.0, 60.0]), torch.tensor([0, 1, 2, 3])
    torch.testing.assert_close(plain.eval()(x, sigma, label), ours.eval()(x, sigma, label), rtol=1e-4, atol=1e-5)


def test_it_learns_and_draws() -> None:
    model = PlainDenoiser(NETWORK, 0.5)
    initialise(model, torch.Generator().manual_seed(0))
    data = PlainImages(torch.full((64, 1, 8, 8), 200, dtype=torch.uint8), torch.arange(64) % 3)
    losses = list(itertools.islice(plain_training(model, data, 16, CPU, lr=3e-3), 60))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    for guidance in (1.0, 2.0):
        images = next(plain_sampling(model, 6, guidance, CPU))
        assert images.shape == (10, 1, 8, 8) and images.dtype == torch.uint8
        assert abs(float(images.double().mean()) - 200) < 40


def test_its_scores_are_edms(tmp_path) -> None:
    images = random_images(6)
    network = InceptionV3()
    extractor = Inception(network.state_dict(), CPU)
    with torch.no_grad():
        expected = extractor(images)[0]
    found = features_of_pictures(write_pictures(images, tmp_path), network.eval(), CPU)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_its_distance_is_edms(tmp_path) -> None:
    features = (
        torch.randn(2, 200, 16, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.3])[:, None, None]
    )
    both = [Statistics.of(part) for part in features]
    moments = [(part.mean.numpy(), part.covariance.numpy()) for part in both]
    assert abs(plain_distance(*moments) / frechet_distance(*both) - 1) < 1e-6

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference = (moments[0][0][:3], moments[0][1][:3, :3])
        scores = plain_scores(random_images(4), [reference, reference], Mean(), CPU, tmp_path)
    assert scores[0] == scores[1] > 0
