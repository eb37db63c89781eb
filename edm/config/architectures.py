"""The networks of the literature beside the 2023 study's, in their papers' shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["study", "ddpmpp", "ncsnpp", "adm", "edm2"]
Precondition = Literal["edm", "vp", "ve", "iddpm"]

HEAD_CHANNELS = 64  # per attention head of ADM and EDM2


@dataclass(frozen=True)
class Shape:
    """The shape of a network in its paper.

    channels: the factor of all widths. multipliers: of each level. depth: residual blocks per level. attention: the
    sides in pixels at which blocks have attention. embedding: channels of the embedding of noise level and label, as a
    multiple of `channels`, or None for the width of the widest level. single_head: one attention head, whatever the
    width.
    """

    channels: int
    multipliers: tuple[int, ...]
    depth: int
    attention: tuple[int, ...]
    embedding: int | None = 4
    single_head: bool = False

    def heads(self, width: int) -> int:
        """Return the attention heads of a block of `width` channels: as many of 64 channels as divide it."""
        most = 1 if self.single_head else max(1, width // HEAD_CHANNELS)
        return next(number for number in range(most, 0, -1) if width % number == 0)


SHAPES: dict[Architecture, Shape] = {
    # EDM, appendix F.2 and Table 7: as Song et al. (2021) have them, with EDM's widths for CIFAR-10
    "ddpmpp": Shape(128, (2, 2, 2), 4, (16,), single_head=True),
    "ncsnpp": Shape(128, (2, 2, 2), 4, (16,), single_head=True),
    "adm": Shape(192, (1, 2, 3, 4), 3, (32, 16, 8)),  # Dhariwal and Nichol (2021), for ImageNet-64
    "edm2": Shape(192, (1, 2, 3, 4), 3, (16, 8), embedding=None),  # Karras et al. (2024), Table 6: EDM2-S
}
