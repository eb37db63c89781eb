"""Inception-v3 (Szegedy et al. 2016) with the changes of pytorch-fid, whose published weights it takes by their names.

pytorch-fid follows TensorFlow's original: averages do not count the border, and the last block takes a maximum.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from edm.typed_torch import normalise_in_place

CLASSES = 1008  # of the published last layer, which the features come before
NORM_EPS = 1e-3

Pool = Literal["average", "maximum", "halving"]
Size = int | tuple[int, int]
Layer = tuple[str, int, Size, int]  # name, channels, kernel, stride: padded unless the stride halves the sides
Branch = tuple[list[Layer], list[Layer]]  # layers one after the other, then layers side by side on their result


class Convolution(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=NORM_EPS)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o u v"]:
        """Return `outputs` channels."""
        y = self.conv(x)
        in_place = y.device.type == "cpu" and not (self.training or y.requires_grad)
        # to the same bits; new memory for every norm takes a sixth of the time of a CPU
        return F.relu(normalise_in_place(self.bn, y) if in_place else self.bn(y), inplace=True)


class Mixed(nn.Module):
    """Branches of convolutions side by side, and a pooled one, whose results are joined along the channels.

    pool: of the last branch, which goes through the layer `branch_pool` unless it halves the sides.
    """

    def __init__(self, inputs: int, branches: list[Branch], pool: Pool, pool_channels: int = 0) -> None:
        super().__init__()
        self.branches = [([layer[0] for layer in chain], [layer[0] for layer in fork]) for chain, fork in branches]
        self.pool: Pool = pool
        for chain, fork in branches:
            before = inputs
            for name, channels, kernel, stride in chain:
                self.add_module(name, Convolution(before, channels, kernel, stride, padded=stride == 1))
                before = channels
            for name, channels, kernel, _ in fork:
                self.add_module(name, Convolution(before, channels, kernel))
        if pool != "halving":
            self.branch_pool = Convolution(inputs, pool_channels, 1)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o u v"]:
        """Return the joined branches."""
        found: list[Tensor] = []
        for chain, fork in self.branches:
            y = x
            for name in chain:
                y = self.get_submodule(name)(y)
            found += [self.get_submodule(name)(y) for name in fork] if fork else [y]
        return torch.cat([*found, self._pooled(x)], dim=1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "halving":
            return F.max_pool2d(x, 3, stride=2)
        if self.pool == "average":
            return self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))
        return self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))


def _chain(name: str, *layers: tuple[int, Size] | tuple[int, Size, int]) -> Branch:
    """Return a branch of layers called name_1, name_2 and so on; a single one has the plain name."""
    numbered = [name] if len(layers) == 1 else [f"{name}_{number}" for number in range(1, len(layers) + 1)]
    pairs = zip(numbered, layers, strict=True)
    return [(title, layer[0], layer[1], layer[2] if len(layer) == 3 else 1) for title, layer in pairs], []


def _forked(name: str, channels: int, *layers: tuple[int, Size]) -> Branch:
    """Return a branch that ends in a 1x3 and a 3x1 convolution side by side."""
    chain = [(f"{name}_{number}", *layer, 1) for number, layer in enumerate(layers, 1)]
    last = f"{name}_{len(layers) + 1}"
    return chain, [(f"{last}a", channels, (1, 3), 1), (f"{last}b", channels, (3, 1), 1)]


def _wide(inputs: int, pool_channels: int) -> Mixed:
    branches = [
        _chain("branch1x1", (64, 1)),
        _chain("branch5x5", (48, 1), (64, 5)),
        _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
    ]
    return Mixed(inputs, branches, "average", pool_channels)


def _factorised(inputs: int, c: int) -> Mixed:
    across, down = (1, 7), (7, 1)
    branches = [
        _chain("branch1x1", (192, 1)),
        _chain("branch7x7", (c, 1), (c, across), (192, down)),
        _chain("branch7x7dbl", (c, 1), (c, down), (c, across), (c, down), (192, across)),
    ]
    return Mixed(inputs, branches, "average", 192)


def _expanded(inputs: int, pool: Pool) -> Mixed:
    branches = [
        _chain("branch1x1", (320, 1)),
        _forked("branch3x3", 384, (384, 1)),
        _forked("branch3x3dbl", 384, (448, 1), (384, 3)),
    ]
    return Mixed(inputs, branches, pool, 192)


class InceptionV3(nn.Module):
    """Maps RGB images in [-1, 1], 299 pixels a side, to 2,048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b = _wide(192, 32)
        self.Mixed_5c = _wide(256, 64)
        self.Mixed_5d = _wide(288, 64)
        halving = [_chain("branch3x3", (384, 3, 2)), _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3, 2))]
        self.Mixed_6a = Mixed(288, halving, "halving")
        self.Mixed_6b = _factorised(768, 128)
        self.Mixed_6c = _factorised(768, 160)
        self.Mixed_6d = _factorised(768, 160)
        self.Mixed_6e = _factorised(768, 192)
        halving = [
            _chain("branch3x3", (192, 1), (320, 3, 2)),
            _chain("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
        ]
        self.Mixed_7a = Mixed(768, halving, "halving")
        self.Mixed_7b = _expanded(1280, "average")
        self.Mixed_7c = _expanded(2048, "maximum")
        self.fc = nn.Linear(2048, CLASSES)  # published with the rest, and not used

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        """Return the features of images."""
        halved = partial(F.max_pool2d, kernel_size=3, stride=2)
        x = halved(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images))))
        x = halved(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return F.adaptive_avg_pool2d(x, 1).flatten(1)
