"""A model's image stream: the same whatever the batch and the slice, with balanced labels."""

import dataclasses
from typing import get_args

import pytest
import torch

from edm.config import GuideConfig, NetworkConfig, Sampler, SamplingConfig
from edm.data.dataset import to_uint8, to_unit
from edm.generate import NotFiniteError, draw, generate, labels_of
from edm.networks.initialise import initialise
from edm.noise import Stream, normals
from edm.precondition import Denoiser

CONFIG = SamplingConfig(steps=5, seed=3)
SAMPLINGS = {
    "heun": CONFIG,
    "euler": dataclasses.replace(CONFIG, sampler="euler"),
    "stochastic": dataclasses.replace(CONFIG, sampler="stochastic_heun"),
    "guided": dataclasses.replace(CONFIG, guidance=2.0),
    "multistep": dataclasses.replace(CONFIG, sampler="dpmpp_2m_sde", schedule="vp"),
}


def new_model(channels, seed):
    network = NetworkConfig(1, 8, 3, channels, depths=(1, 1), heads=(0, 2), bridge_heads=2, cond_channels=4)
    denoiser = Denoiser(network, 0.5)
    initialise(denoiser, torch.Generator().manual_seed(seed))
    return denoiser.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return new_model(channels=8, seed=0)


@pytest.fixture(scope="module")
def guide():
    """A smaller network."""
    return new_model(channels=4, seed=1)


def stream(model, config, start, stop, batch_size):
    drawn = list(generate(model, config, start, stop, batch_size))
    return torch.cat([part.images for part in drawn]), torch.cat([part.labels for part in drawn])


def first_inputs(model, config, start, stop, batch_size):
    """What the model is given at the first noise level, for every image of the slice."""
    seen = []
    with model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs)):
        list(generate(model, config, start, stop, batch_size))
    return torch.cat([x for x, sigma, _ in seen if sigma[0] == config.sigma_max])


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("batch_size", [1, 4, 8])
def test_images_do_not_depend_on_the_batch_size(model, sampling, batch_size):
    images, labels = stream(model, SAMPLINGS[sampling], 0, 6, 3)
    assert images.float().std() > 20  # of 255: neither empty nor saturated
    found, found_labels = stream(model, SAMPLINGS[sampling], 0, 6, batch_size)
    assert torch.equal(found, images)
    assert torch.equal(found_labels, labels)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_slice_is_part_of_the_whole(model, sampling):
    images, labels = stream(model, SAMPLINGS[sampling], 0, 12, 4)
    found, found_labels = stream(model, SAMPLINGS[sampling], 3, 9, 4)
    assert torch.equal(found, images[3:9])
    assert torch.equal(found_labels, labels[3:9])


@pytest.mark.parametrize(("start", "batch_size"), [(0, 1), (0, 5), (3, 4), (11, 7)])
def test_initial_noise_is_exactly_the_same_for_any_batch_and_slice(model, start, batch_size):
    found = first_inputs(model, CONFIG, start, 12, batch_size)[: 12 - start]
    whole = normals(CONFIG.seed, Stream.SAMPLING, torch.arange(12), (1, 8, 8)).double() * 80.0
    assert torch.equal(found, whole[start:])


def test_every_batch_is_padded_to_one_size(model):
    sizes = []
    with model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
        drawn = list(generate(model, CONFIG, 0, 11, 4))
    assert [len(part.images) for part in drawn] == [4, 4, 3]
    assert set(sizes) == {4}
    assert len(sizes) == 3 * CONFIG.nfe


def test_images_follow_their_index_and_the_seed(model):
    images, _ = stream(model, CONFIG, 0, 12, 12)
    assert len({image.numpy().tobytes() for image in images}) == 12
    other, _ = stream(model, dataclasses.replace(CONFIG, seed=4), 0, 12, 12)
    assert not torch.equal(other, images)


def test_samplers_start_from_the_same_noise_and_end_apart(model):
    noises = [first_inputs(model, SAMPLINGS[name], 0, 4, 4) for name in ("heun", "euler")]
    assert torch.equal(*noises)
    images = {name: stream(model, config, 0, 4, 4)[0].numpy().tobytes() for name, config in SAMPLINGS.items()}
    assert len(set(images.values())) == len(SAMPLINGS)


def test_labels_reach_the_images(model):
    index = torch.arange(6)
    first, second = (draw(model, CONFIG, index, torch.full((6,), label)) for label in (0, 1))
    assert first.dtype == torch.float64
    assert (first - second).abs().max() > 1e-3


def test_churn_noise_is_new_at_every_step(model):
    calls = []  # two a step: at the raised level, and Heun's correction
    churn = {"s_churn": 2.0, "s_min": 0.0, "s_max": 100.0, "s_noise": 1.0}
    config = dataclasses.replace(SAMPLINGS["stochastic"], **churn)
    with model.register_forward_hook(lambda _, inputs, output: calls.append((*inputs[:2], output))):
        list(generate(model, config, 0, 2, 2))
    x, level = 80.0 * normals(config.seed, Stream.SAMPLING, torch.arange(2), (1, 8, 8)).double(), 80.0
    for step in range(3):
        (raised_x, raised, denoised), (euler_x, to, denoised_there) = calls[2 * step : 2 * step + 2]
        raised, to = float(raised[0]), float(to[0])
        added = (raised_x - x) / (raised**2 - level**2) ** 0.5
        expected = normals(config.seed, Stream.SAMPLING, torch.arange(2), (1, 8, 8), step + 1)
        torch.testing.assert_close(added.float(), expected, rtol=1e-4, atol=1e-5)
        slope = (raised_x - denoised) / raised + (euler_x - denoised_there) / to
        x, level = raised_x + (to - raised) * slope / 2, to


@pytest.mark.parametrize("resolution", [4, 12, 16])
def test_images_of_another_resolution_come_from_noise_of_that_size(model, resolution):
    config = dataclasses.replace(CONFIG, resolution=resolution)
    images, _ = stream(model, config, 0, 3, 2)
    assert images.shape == (3, 1, resolution, resolution)
    assert images.float().std() > 20
    noise = normals(config.seed, Stream.SAMPLING, torch.arange(3), (1, resolution, resolution))
    assert torch.equal(first_inputs(model, config, 0, 3, 3), noise.double() * 80.0)


def test_the_trained_resolution_is_the_default(model):
    images, _ = stream(model, CONFIG, 0, 4, 4)
    assert torch.equal(images, stream(model, dataclasses.replace(CONFIG, resolution=8), 0, 4, 4)[0])


@pytest.mark.parametrize("resolution", [1, 6, 15])
def test_a_resolution_that_cannot_be_halved_often_enough_is_refused(model, resolution):
    config = dataclasses.replace(CONFIG, resolution=resolution)
    with pytest.raises(ValueError, match=f"resolution: {resolution} pixels cannot be halved 2 times; give a"):
        list(generate(model, config, 0, 1, 1))


def test_a_guide_leads_away_from_its_own_images(model, guide):
    config = dataclasses.replace(CONFIG, guidance=2.0, guide=GuideConfig(channels=4))
    drawn = list(generate(model, config, 0, 4, 2, guide=guide))
    images = torch.cat([part.images for part in drawn])
    assert not torch.equal(images, stream(model, CONFIG, 0, 4, 2)[0])
    weaker = dataclasses.replace(config, guidance=0.0)
    alone = torch.cat([part.images for part in generate(model, weaker, 0, 4, 2, guide=guide)])
    assert torch.equal(alone, stream(guide, CONFIG, 0, 4, 2)[0])


def test_bf16_images_are_those_of_fp32_but_for_a_few_grey_levels(model):
    exact, found = (stream(model, dataclasses.replace(CONFIG, precision=p), 0, 6, 6)[0] for p in ("fp32", "bf16"))
    difference = (exact.int() - found.int()).abs().float()
    assert 0 < difference.mean() < 2


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_drawing_reads_no_value_back_from_the_device(sampler):
    # the meta device has shapes and no values: whoever asks one for a number or a branch raises
    with torch.device("meta"):
        network = NetworkConfig(1, 8, 3, channels=8, depths=(1,), heads=(2,), bridge_heads=2, cond_channels=4)
        model = Denoiser(network, 0.5).eval()
    config = SamplingConfig(sampler=sampler, steps=3, guidance=2.0, guidance_interval=(0.01, 10.0))
    index = torch.arange(3, device="meta")
    images = draw(model, config, index, labels_of(index, 3))
    assert (images.device.type, images.shape) == ("meta", (3, 1, 8, 8))


def test_on_step_shows_the_way_from_noise_to_image(model):
    seen, index, labels = [], torch.arange(2), torch.tensor([0, 1])
    images = draw(model, CONFIG, index, labels, on_step=lambda *step: seen.append(step))
    assert [(step, sigma) for step, sigma, *_ in seen] == list(enumerate(CONFIG.sigmas[:-1]))
    assert all(x.shape == denoised.shape == images.shape for _, _, x, denoised in seen)
    assert torch.equal(seen[0][2], 80.0 * normals(CONFIG.seed, Stream.SAMPLING, index, (1, 8, 8)).double())
    torch.testing.assert_close(seen[-1][3], images)
    assert torch.equal(images, draw(model, CONFIG, index, labels))


@pytest.mark.parametrize("start", [0, 7])
def test_labels_are_balanced(start):
    labels = labels_of(torch.arange(start, start + 30), 10)
    assert torch.bincount(labels).tolist() == [3] * 10
    assert int(labels[0]) == start


def test_generated_labels_are_those_of_the_index(model):
    _, labels = stream(model, CONFIG, 4, 13, 5)
    assert labels.tolist() == [i % 3 for i in range(4, 13)]


def test_labels_without_classes_are_0():
    assert labels_of(torch.arange(5), 0).tolist() == [0] * 5


def test_every_grey_level_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_unit(levels)), levels)
    assert to_unit(levels).dtype == torch.float32
    assert to_unit(levels)[[0, 255]].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("value", "level"), [(-7.0, 0), (-1.0, 0), (0.0, 128), (-0.005, 127), (1.0, 255), (7.0, 255), (0.5, 191)]
)
def test_quantisation_is_edms(value, level):
    assert int(to_uint8(torch.tensor(value))) == level


@pytest.mark.parametrize(("precision", "remedy"), [("fp32", "may have diverged"), ("bf16", "try fp32")])
def test_an_image_that_is_no_number_is_refused_and_named(precision, remedy):
    broken = new_model(channels=4, seed=0)
    config = dataclasses.replace(CONFIG, precision=precision)
    factors = torch.tensor([1.0, 1.0, float("nan"), 1.0]).reshape(4, 1, 1, 1)
    handle = broken.register_forward_hook(lambda _model, _inputs, denoised: denoised * factors)
    with handle, pytest.raises(NotFiniteError, match=rf"image 6 holds .*\(1 of 4 do\).*{remedy}"):
        list(generate(broken, config, 4, 8, 4))
