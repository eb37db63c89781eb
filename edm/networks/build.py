"""Networks by their architecture."""

from __future__ import annotations

from typing import Literal

from torch import nn

from edm.config import Architecture, NetworkConfig
from edm.networks.diffusers import DiffusersUNet
from edm.networks.edm2 import MagnitudePreservingUNet
from edm.networks.song import SongUNet
from edm.networks.unet import UNet

NETWORKS: dict[Architecture | Literal["diffusers"], type[nn.Module]] = {
    "study": UNet,
    "ddpmpp": SongUNet,
    "ncsnpp": SongUNet,
    "adm": SongUNet,
    "edm2": MagnitudePreservingUNet,
    "diffusers": DiffusersUNet,
}


def build_network(config: NetworkConfig) -> nn.Module:
    """Return the network of a configuration, F(c_in x; c_noise, label, augment_labels), without initial weights."""
    return NETWORKS[config.architecture](config)
