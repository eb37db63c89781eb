"""Initial weights: PyTorch's default scheme, as in the 2023 study, or EDM's."""

from __future__ import annotations

import math

import torch
from torch import nn

from edm.config import Initialisation
from edm.networks.blocks import AttentionBlock, ConditionalBatchNorm, Conditioning, ResidualBlock
from edm.networks.conditioning import OwnWeights, xavier
from edm.networks.unet import UNet


def initialise(network: nn.Module, generator: torch.Generator, scheme: Initialisation = "torch") -> None:
    """Set every weight of `network` by `scheme`, drawing from `generator` and never from the global one.

    Networks of the literature have schemes of their own.
    """
    own = [module for module in network.modules() if isinstance(module, OwnWeights)]
    theirs = {id(part) for module in own for part in module.modules()}
    for module in network.modules():
        if id(module) in theirs:
            continue
        if isinstance(module, nn.Conv2d | nn.Linear):
            (_torch_weights if scheme == "torch" else xavier)(module, generator)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, Conditioning):
            nn.init.normal_(module.frequencies, generator=generator)
    for module in own:
        module.initialise(generator)
    if scheme == "edm":
        _start_as_identity(network)


def _torch_weights(module: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)


@torch.no_grad()
def _start_as_identity(network: nn.Module) -> None:
    """Zero the last layer of every residual branch, and the last convolution (EDM, appendix F)."""
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.conv2.weight.zero_()
        elif isinstance(module, AttentionBlock):
            module.out.weight.zero_()
            module.qkv.weight.mul_(math.sqrt(0.2))
        elif isinstance(module, ConditionalBatchNorm):  # its scale is gamma, where group norm's is 1 + gamma
            module.scale_shift.bias[: module.norm.num_features].fill_(1)
        elif isinstance(module, UNet):
            module.conv_out.weight.zero_()
