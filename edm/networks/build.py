"""Builds the network of a configuration: by its architecture, or one that an extension defines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edm.config import Extension, NetworkConfig
from edm.extension import extensions_in
from edm.networks.diffusers import DiffusersUNet
from edm.networks.edm2 import MagnitudePreservingUNet
from edm.networks.initialise import initialise
from edm.networks.song import SongUNet
from edm.networks.unet import UNet
from edm.registry import Registration, Registry

MakeNetwork = Callable[[NetworkConfig], nn.Module]


def _of_extension(registration: Registration, extension: Extension) -> MakeNetwork:
    build = registration.bound(extension)
    return lambda config: build(config.image_channels, config.resolution, config.num_classes)


OWN_NETWORKS: dict[str, MakeNetwork] = {
    "study": UNet,
    "ddpmpp": SongUNet,
    "ncsnpp": SongUNet,
    "adm": SongUNet,
    "edm2": MagnitudePreservingUNet,
    "diffusers": DiffusersUNet,
}
NETWORKS = Registry(OWN_NETWORKS, _of_extension)


def build_network(config: NetworkConfig) -> nn.Module:
    """Return a network with weights that are not yet those of a training (see `start`)."""
    return NETWORKS[config.architecture](config)


def start(config: NetworkConfig, generator: torch.Generator) -> nn.Module:
    """Return a network with the initial weights that `generator` decides; the global generator is left as it was.

    A network of an extension initialises itself, and so do parts that are neither convolutions nor linear layers.
    """
    if any(extensions_in(config)):
        with torch.random.fork_rng([]):  # pyright: ignore[reportUnknownMemberType]
            torch.manual_seed(generator.initial_seed())  # pyright: ignore[reportUnknownMemberType]
            network = build_network(config)
    else:
        network = build_network(config)
    if not isinstance(config.architecture, Extension):
        initialise(network, generator, config.init)
    return network
