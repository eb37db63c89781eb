"""The UNet2DModel of diffusers as a network of this package. Only here is diffusers, an optional extra, imported."""

from __future__ import annotations

import importlib
import json
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig


class DiffusersUNet(nn.Module):
    """F(c_in x; c_noise), where c_noise is a time of the model's own; there are no labels.

    Raises ImportError where diffusers is not installed.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.unet = unet_of(json.loads(config.settings)["unet"])

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " b"],
        label: Int64[Tensor, " b"] | None = None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """Return the model's prediction for each image."""
        return self.unet(x.contiguous(), c_noise).sample


def unet_of(content: dict[str, Any]) -> Any:
    """Return the model that a config.json describes, without its weights."""
    diffusers: Any = importlib.import_module("diffusers")
    return diffusers.UNet2DModel.from_config(content)
