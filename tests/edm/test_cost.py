"""Costs counted from the configuration against torch's own count over the network itself."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edm.config import ModelConfig
from edm.cost import forward_flops, num_parameters
from edm.networks.unet import UNet

NETWORKS = {
    "nano": ModelConfig("nano").network(1, 8, 10),
    "nano without attention": ModelConfig("nano", attention=False).network(1, 8, 10),
    "micro without classes": ModelConfig("micro").network(1, 8, 0),
    "mini": ModelConfig("mini").network(3, 32, 10),
    "mini without attention": ModelConfig("mini", attention=False).network(1, 32, 10),
    "tiny": ModelConfig("tiny").network(3, 128, 0),
    "tiny without attention": ModelConfig("tiny", attention=False).network(3, 128, 0),
    "small": ModelConfig("small").network(3, 128, 0),
    "big": ModelConfig("big").network(3, 128, 0),
    "overridden": ModelConfig(
        "nano", channels=12, depths=(3, 1, 2), heads=(3, 0, 2), bridge_heads=0, cond_channels=6
    ).network(2, 16, 5),
    "residual resampling": ModelConfig("nano", resample="residual", norm="group").network(3, 8, 10),
    "told of augmentation": dataclasses.replace(ModelConfig("nano").network(3, 8, 10), augment_labels=9),
    "attention everywhere": ModelConfig("tiny", attention="levels", resample="residual").network(3, 32, 0),
    "one level": ModelConfig("nano", channels=8, depths=(2,), heads=(2,), bridge_heads=4).network(1, 6, 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_flops_are_those_that_torch_counts(name):
    config = NETWORKS[name]
    with torch.device("meta"):
        network = UNet(config).eval().requires_grad_(False)
        x = torch.zeros(1, config.image_channels, config.resolution, config.resolution)
        c_noise, label = torch.zeros(1), torch.zeros(1, dtype=torch.int64)
        augment_labels = torch.zeros(1, config.augment_labels)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(x, c_noise, label, augment_labels)
    assert forward_flops(config) == counter.get_total_flops()


def test_forward_flops_of_real_tensors_are_the_same():
    config = NETWORKS["nano"]
    network = UNet(config).eval().requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    assert forward_flops(config) == counter.get_total_flops()


@pytest.mark.parametrize("name", NETWORKS)
def test_num_parameters_is_the_networks(name):
    with torch.device("meta"):
        network = UNet(NETWORKS[name])
    assert num_parameters(NETWORKS[name]) == sum(p.numel() for p in network.parameters() if p.requires_grad)
