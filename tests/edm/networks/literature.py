"""Small networks of the literature, and an independent reading of DDPM++, NCSN++ and ADM, for tests."""

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edm.config import Architecture, ModelConfig, NetworkConfig, Precondition

LITERATURE: tuple[Architecture, ...] = ("ddpmpp", "ncsnpp", "adm", "edm2")


def tiny(
    architecture: Architecture,
    precondition: Precondition = "edm",
    augment_labels: int = 0,
    resolution: int = 8,
    num_classes: int = 3,
    **model: Any,
) -> NetworkConfig:
    """A network of two levels, 8 and 16 channels wide, with attention at both."""
    shape: dict[str, Any] = {"channels": 8, "multipliers": (1, 2), "depths": (1, 2), "attention": "levels"}
    config = ModelConfig(architecture=architecture, precondition=precondition, **(shape | model))
    return dataclasses.replace(config.network(3, resolution, num_classes), augment_labels=augment_labels)


def random_weights(module: torch.nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Fill every tensor with normal numbers, so that nothing is hidden behind a layer of zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.state_dict().values():
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return dict(module.state_dict())


class Reading:
    """F of DDPM++, NCSN++ and ADM, read from the papers as a plain function of the weights `w`, by name.

    Song et al. (2021), appendix H; Dhariwal and Nichol (2021), appendix A; Karras et al. (2022), Table 7.
    """

    def __init__(self, config: NetworkConfig, w: dict[str, Tensor]) -> None:
        self.config, self.w = config, w
        self.adm = config.architecture == "adm"
        self.shrink = 1.0 if self.adm else 1 / math.sqrt(2)
        taps = torch.tensor([1.0, 3, 3, 1] if config.architecture == "ncsnpp" else [1.0, 1])
        self.kernel = torch.outer(taps, taps) / taps.sum() ** 2

    def __call__(self, x: Tensor, c_noise: Tensor, label: Tensor, augment: Tensor) -> Tensor:
        emb, image, skips = self.embedding(c_noise, label, augment), x, []
        x = self.conv("conv_in", x)
        skips.append(x)
        for level, depth in enumerate(self.config.depths):
            if level:
                x = self.block(f"encoder.down{level}", x, emb, 0, "down")
                if self.config.architecture == "ncsnpp":
                    image = self.halved(f"halved.down{level}.0", image)
                    x = image = (x + image) / math.sqrt(2)
                skips.append(x)
            for number in range(depth):
                x = self.block(f"encoder.level{level}_block{number}", x, emb, self.config.heads[level])
                skips.append(x)
        x = self.block("decoder.middle0", x, emb, self.config.bridge_heads)
        x = self.block("decoder.middle1", x, emb, 0)
        for level in reversed(range(len(self.config.depths))):
            if level < len(self.config.depths) - 1:
                x = self.block(f"decoder.up{level}", x, emb, 0, "up")
            for number in range(self.config.depths[level] + 1):
                last = number == self.config.depths[level]
                heads = self.config.heads[level] if self.adm or last else 0
                x = self.block(f"decoder.level{level}_block{number}", torch.cat([x, skips.pop()], 1), emb, heads)
        return self.conv("conv_out", F.silu(self.norm("norm_out", x)))

    def embedding(self, c_noise: Tensor, label: Tensor, augment: Tensor) -> Tensor:
        channels = self.config.channels * (2 if self.config.architecture == "ncsnpp" else 1)
        i, half = torch.arange(channels // 2), channels // 2
        if self.config.architecture == "ncsnpp":
            phase = 2 * math.pi * torch.outer(c_noise, self.w["embedding.noise.frequencies"])
        else:
            phase = torch.outer(c_noise, 10_000.0 ** (-i / (half if self.adm else half - 1)))
        parts = [phase.cos(), phase.sin()] if self.adm else [phase.sin(), phase.cos()]
        features = torch.cat(parts, dim=1) + augment @ self.w["embedding.augment.weight"].T
        columns = self.w["embedding.label.weight"].T
        labels = torch.cat([columns, torch.zeros(1, columns.shape[1])])[label]  # the last: no label
        if self.adm:
            return F.silu(self.linear("linear1", F.silu(self.linear("linear0", features))) + labels)
        features = features + math.sqrt(self.config.num_classes) * labels + self.w["embedding.label.bias"]
        return F.silu(self.linear("linear1", F.silu(self.linear("linear0", features))))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"embedding.{name}.weight"].T + self.w[f"embedding.{name}.bias"]

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        groups = x.reshape(len(x), min(32, x.shape[1] // 4), -1)
        mean, var = groups.mean(2, keepdim=True), groups.var(2, correction=0, keepdim=True)
        normal = ((groups - mean) / (var + (1e-5 if self.adm else 1e-6)).sqrt()).reshape(x.shape)
        return normal * self.w[f"{name}.weight"][:, None, None] + self.w[f"{name}.bias"][:, None, None]

    def scaled(self, x: Tensor, scale: str | None) -> Tensor:
        """By the filter, written as sums of shifted images."""
        if scale is None:
            return x
        b, c, h, w = x.shape
        pad = (len(self.kernel) - 1) // 2
        if scale == "up":  # zeros between the pixels, then the filter, whose taps sum to 4
            spread = torch.zeros(b, c, 2 * h, 2 * w)
            spread[:, :, ::2, ::2] = x
            return self.filtered(F.pad(spread, (len(self.kernel) - 1 - pad, pad) * 2), 4 * self.kernel)
        return self.filtered(F.pad(x, (pad, len(self.kernel) - 1 - pad) * 2), self.kernel)[:, :, ::2, ::2]

    @staticmethod
    def filtered(x: Tensor, kernel: Tensor) -> Tensor:
        n = len(kernel)
        h, w = x.shape[2] - n + 1, x.shape[3] - n + 1
        shifted = [kernel[i, j] * x[:, :, i : i + h, j : j + w] for i in range(n) for j in range(n)]
        return torch.stack(shifted).sum(0)

    def halved(self, name: str, image: Tensor) -> Tensor:
        """Convolve and filter: the image has a border of zeros, two pixels wide."""
        wide = F.conv2d(F.pad(image, (2, 2, 2, 2)), self.w[f"{name}.weight"], self.w[f"{name}.bias"])
        return self.filtered(wide, self.kernel)[:, :, ::2, ::2]

    def block(self, name: str, x: Tensor, emb: Tensor, heads: int, scale: str | None = None) -> Tensor:
        h = self.conv(f"{name}.conv0", self.scaled(F.silu(self.norm(f"{name}.norm0", x)), scale))
        values = (emb @ self.w[f"{name}.affine.weight"].T + self.w[f"{name}.affine.bias"])[:, :, None, None]
        if self.adm:
            gain, shift = values[:, : h.shape[1]], values[:, h.shape[1] :]
            h = self.norm(f"{name}.norm1", h) * (1 + gain) + shift
        else:
            h = self.norm(f"{name}.norm1", h + values)
        x = self.scaled(x, scale)
        if f"{name}.skip.weight" in self.w:
            x = self.conv(f"{name}.skip", x)
        x = (x + self.conv(f"{name}.conv1", F.silu(h))) * self.shrink
        return self.attention(f"{name}.attention", x, heads) if heads else x

    def attention(self, name: str, x: Tensor, heads: int) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.conv(f"{name}.qkv", self.norm(f"{name}.norm", x)).reshape(b, 3, heads, c // heads, -1).unbind(1)
        weights = (torch.einsum("bhcq,bhck->bhqk", q, k) / math.sqrt(c // heads)).softmax(-1)
        mixed = torch.einsum("bhqk,bhck->bhcq", weights, v).reshape(b, c, h, w)
        return (x + self.conv(f"{name}.proj", mixed)) * self.shrink
