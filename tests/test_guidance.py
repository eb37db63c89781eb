"""Classifier-free guidance: which branches are evaluated, with which labels, and how they are mixed."""

import pytest
import torch

from edm.config import NetworkConfig, SamplingConfig
from edm.generate import draw
from edm.guidance import guided
from edm.network import initialise
from edm.precondition import Denoiser

LABELS = torch.tensor([0, 2, 1, 2])
SIGMA = torch.tensor(0.7, dtype=torch.float64)


def new_model(num_classes=3):
    network = NetworkConfig(1, 8, num_classes, channels=8, depths=(1,), heads=(2,), bridge_heads=2, cond_channels=4)
    model = Denoiser(network, 0.5)
    initialise(model, torch.Generator().manual_seed(0))
    return model.eval().requires_grad_(False)


def noisy_images():
    return torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def recorded(model, guidance):
    """The guided denoiser's output and the labels of every forward pass it made."""
    labels = []
    with model.register_forward_pre_hook(lambda _, inputs: labels.append(inputs[2].tolist())):
        output = guided(model, LABELS, guidance)(noisy_images(), SIGMA)
    return output, labels


def branch(model, labels):
    return model(noisy_images(), SIGMA.expand(4), labels)


@pytest.mark.parametrize(("guidance", "labels"), [(1.0, LABELS), (0.0, torch.full((4,), 3))])
def test_at_0_and_1_one_branch_decides_in_one_forward_pass(guidance, labels):
    model = new_model()
    output, passes = recorded(model, guidance)
    assert passes == [labels.tolist()]
    assert torch.equal(output, branch(model, labels))


@pytest.mark.parametrize("guidance", [2.0, 0.3, -1.0])
def test_elsewhere_both_branches_are_mixed(guidance):
    model = new_model()
    output, passes = recorded(model, guidance)
    assert [sorted(labels) for labels in passes] == [sorted([3] * 4 + LABELS.tolist())]
    unconditional, conditional = branch(model, torch.full((4,), 3)), branch(model, LABELS)
    assert (conditional - unconditional).abs().max() > 1e-2
    expected = unconditional + guidance * (conditional - unconditional)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
def test_training_mode_is_refused(guidance):
    with pytest.raises(AssertionError, match="evaluation mode"):
        guided(new_model().train(), LABELS, guidance)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
def test_model_without_classes_has_one_branch(guidance):
    model = new_model(num_classes=0)
    output, passes = recorded(model, guidance)
    assert len(passes) == 1
    assert len(passes[0]) == 4
    torch.testing.assert_close(output, model(noisy_images(), SIGMA.expand(4), None))


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_network_evaluations_per_image_are_nfe(guidance, sampler):
    model, sizes = new_model(), []
    config = SamplingConfig(sampler=sampler, steps=4, guidance=guidance)
    with model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
        draw(model, config, torch.arange(4), LABELS)
    assert sum(sizes) / 4 == config.nfe
