"""Guidance: which network is asked for which labels at which steps, how the answers are mixed, in which precision."""

import dataclasses
from typing import get_args

import pytest
import torch

from edm.config import GuideConfig, NetworkConfig, Sampler, SamplingConfig
from edm.generate import draw
from edm.guidance import guided
from edm.networks.initialise import initialise
from edm.precondition import Denoiser

LABELS = torch.tensor([0, 2, 1, 2])
NULL = torch.full((4,), 3)
SIGMA = torch.tensor(0.7, dtype=torch.float64)
AUTO = GuideConfig(kimg=1.0)


def new_model(num_classes=3, channels=8, seed=0):
    network = NetworkConfig(1, 8, num_classes, channels, depths=(1,), heads=(0,), bridge_heads=2, cond_channels=4)
    model = Denoiser(network, 0.5)
    initialise(model, torch.Generator().manual_seed(seed))
    return model.eval().requires_grad_(False)


def new_guide(num_classes=3):
    """A smaller network than `new_model`."""
    return new_model(num_classes, channels=4, seed=1)


def noisy_images():
    return torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def denoised(model, guidance, weaker=None, **given):
    """What the guided denoiser makes of noisy images at a step that begins at SIGMA."""
    config = SamplingConfig(guidance=guidance, **given)
    return guided(model, LABELS, config, weaker).for_step(float(SIGMA))(noisy_images(), SIGMA)


class Calls:
    """Counts the images that go through a model, by whether they have a label."""

    def __init__(self, model):
        self.passes = []
        model.register_forward_pre_hook(lambda _, inputs: self.passes.append(inputs[2].tolist()))

    @property
    def images(self):
        return sum(map(len, self.passes))

    @property
    def labelled(self):
        return sum(label < 3 for labels in self.passes for label in labels)


def branch(model, labels):
    return model(noisy_images(), SIGMA.expand(4), labels)


@pytest.mark.parametrize(("guidance", "labels"), [(1.0, LABELS), (0.0, NULL)])
def test_at_0_and_1_one_branch_decides_in_one_forward_pass(guidance, labels):
    model = new_model()
    calls = Calls(model)
    output = denoised(model, guidance)
    assert calls.passes == [labels.tolist()]
    assert torch.equal(output, branch(model, labels))


@pytest.mark.parametrize("guidance", [2.0, 0.3, -1.0])
def test_elsewhere_both_branches_go_through_in_one_batch_and_are_mixed(guidance):
    model = new_model()
    calls = Calls(model)
    output = denoised(model, guidance)
    assert [sorted(labels) for labels in calls.passes] == [sorted([3] * 4 + LABELS.tolist())]
    unconditional, conditional = branch(model, NULL), branch(model, LABELS)
    assert (conditional - unconditional).abs().max() > 1e-2
    expected = unconditional + guidance * (conditional - unconditional)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("guidance", [2.0, 0.3, -1.0])
@pytest.mark.parametrize("num_classes", [3, 0])
def test_a_guide_takes_the_unconditional_branchs_place(guidance, num_classes):
    model, guide = new_model(num_classes), new_guide(num_classes)
    of_model, of_guide = Calls(model), Calls(guide)
    output = denoised(model, guidance, guide, guide=AUTO)
    assert of_model.passes == of_guide.passes == [LABELS.tolist()]
    weaker, main = branch(guide, LABELS), branch(model, LABELS)
    assert (main - weaker).abs().max() > 1e-2
    torch.testing.assert_close(output, weaker + guidance * (main - weaker), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("guidance", "asked"), [(1.0, "model"), (0.0, "guide")])
def test_at_0_the_guide_decides_alone_and_at_1_the_model(guidance, asked):
    networks = {"model": new_model(), "guide": new_guide()}
    calls = {name: Calls(network) for name, network in networks.items()}
    output = denoised(networks["model"], guidance, networks["guide"])
    assert {name: of.images for name, of in calls.items()} == {"model": 0, "guide": 0, asked: 4}
    assert torch.equal(output, branch(networks[asked], LABELS))


def test_a_configured_guide_must_be_given():
    with pytest.raises(ValueError, match=r"guide: is set, but no guide was given; pass its network"):
        denoised(new_model(), 2.0, guide=AUTO)
    denoised(new_model(), 1.0, guide=AUTO)  # unguided, where nothing reads it


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("trains", ["model", "guide"])
def test_training_mode_is_refused(guidance, trains):
    networks = {"model": new_model(), "guide": new_guide()}
    networks[trains].train()
    with pytest.raises(AssertionError, match="evaluation mode"):
        denoised(networks["model"], guidance, networks["guide"])


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
def test_model_without_classes_has_one_branch(guidance):
    model = new_model(num_classes=0)
    expected = model(noisy_images(), SIGMA.expand(4), None)
    calls = Calls(model)
    assert torch.equal(denoised(model, guidance), expected)
    assert calls.images == 4


@pytest.mark.parametrize("guide", [None, new_guide()])
@pytest.mark.parametrize("guidance", [0.0, 2.0])
@pytest.mark.parametrize(("low", "high", "inside"), [(0.0, 0.7, True), (0.7, 2.0, False), (0.1, 0.6, False)])
def test_outside_of_its_interval_there_is_no_guidance(low, high, inside, guide, guidance):
    model = new_model()
    everywhere, plain = denoised(model, guidance, guide), branch(model, LABELS)
    assert (everywhere - plain).abs().max() > 1e-2
    output = denoised(model, guidance, guide, guidance_interval=(low, high))
    assert torch.equal(output, everywhere if inside else plain)


def test_a_steps_own_level_decides_for_all_of_its_evaluations():
    model, config = new_model(), SamplingConfig(sampler="stochastic_heun", steps=6, guidance=2.0)
    top, second, third = config.sigmas[:3]
    # churn lifts the second step's level above `high`, and its correction is evaluated below `low`
    churned = dataclasses.replace(config, s_churn=6 * 0.1, s_max=80.0, guidance_interval=(third * 1.05, second * 1.05))
    calls, levels = Calls(model), []
    model.register_forward_pre_hook(lambda _, inputs: levels.append(float(inputs[1][0])))
    draw(model, churned, torch.arange(4), LABELS)
    assert [len(labels) for labels in calls.passes] == [4, 4, 8, 8] + [4] * 7
    assert levels[2:4] == pytest.approx([second * 1.1, third])
    assert top > second * 1.05


@pytest.mark.parametrize("guide", [None, AUTO])
@pytest.mark.parametrize("interval", [None, (0.01, 30.0)])
@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_network_evaluations_per_image_are_those_of_the_configuration(sampler, guidance, interval, guide):
    model, weaker = new_model(), new_guide()
    of_model, of_guide = Calls(model), Calls(weaker)
    config = SamplingConfig(
        sampler=sampler, steps=3, guidance=guidance, guidance_interval=interval, guide=guide, s_churn=1.0
    )
    draw(model, config, torch.arange(2), LABELS[:2], weaker if guide else None)
    other = of_guide.images if guide else of_model.images - of_model.labelled
    assert config.evaluations == {"main": of_model.labelled / 2, "other": other / 2}
    assert config.nfe == (of_model.images + of_guide.images) / 2


@pytest.mark.parametrize("guide", [None, new_guide()])
@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_low_precision_is_the_networks_alone_and_close_to_fp32(precision, dtype, guide):
    model, seen = new_model(), []
    model.network.conv_in.register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    exact, found = denoised(model, 2.0, guide), denoised(model, 2.0, guide, precision=precision)
    assert seen == [torch.float32, dtype]
    assert found.dtype == torch.float64
    assert 0 < (found - exact).abs().max() < 0.03 * exact.abs().max()


def test_fp32_is_exactly_the_model_itself():
    model = new_model()
    assert torch.equal(denoised(model, 1.0, precision="fp32"), branch(model, LABELS))
    assert not torch.is_autocast_enabled("cpu")
