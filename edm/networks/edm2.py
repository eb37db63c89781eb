"""EDM2's magnitude-preserving U-Net (Karras et al. 2024, section 2.3 and appendix B, config G).

Every layer keeps the expected magnitude (root mean square) of its inputs, and every weight vector is kept at magnitude
1, so that neither activations nor weights grow in training. Layers have no biases; a channel of ones beside the image
takes their place.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig
from edm.networks.attention import attend, split_heads
from edm.networks.conditioning import Resampling, one_hot
from edm.networks.layout import NO_FILTER, UNCERTAINTY_CHANNELS, NetworkBlock, decoder, encoder, stem_channels
from edm.typed_torch import lengths

SILU_MAGNITUDE = 0.596  # of SiLU for normal inputs (eq. 81)
LABEL_BALANCE = 0.5  # of label and noise level in the embedding
RESIDUAL_BALANCE, ATTENTION_BALANCE = 0.3, 0.3  # of the branch in its sum with the shortcut (Table 6)
MAX_ACTIVATION = 256.0  # beyond which activations are clipped, so that fp16 suffices
EPS = 1e-4


def normalised(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Return `x` at magnitude 1 along `dim` (eq. 30 and 66)."""
    length = lengths(x, dim)
    magnitude = length * math.sqrt(length.numel() / x.numel())
    return x / (magnitude + EPS).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """Return SiLU, scaled to preserve the magnitude of normal inputs (eq. 81)."""
    return F.silu(x) / SILU_MAGNITUDE


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the weighted sum of uncorrelated inputs, preserving their magnitude (eq. 88). t: the weight of `b`."""
    return torch.lerp(a, b, t) / math.sqrt((1 - t) ** 2 + t**2)


def mp_cat(a: Float[Tensor, "b i h w"], b: Float[Tensor, "b j h w"]) -> Float[Tensor, "b k h w"]:
    """Return the channels of both inputs, which then contribute equally, whatever their number (eq. 103)."""
    i, j = a.shape[1], b.shape[1]
    scale = math.sqrt((i + j) / 2)
    return torch.cat((a * (scale / math.sqrt(i)), b * (scale / math.sqrt(j))), dim=1)


class MPFourier(nn.Module):
    """Cosines of c_noise at random frequencies and phases, of magnitude 1 (eq. 75)."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(channels))
        self.register_buffer("phases", torch.zeros(channels))

    def forward(self, c_noise: Float[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Return the features of each noise level."""
        return math.sqrt(2) * (c_noise[:, None] * self.frequencies + self.phases).cos()


class MPLayer(nn.Module):
    """A linear layer or, with a kernel, a convolution, that preserves magnitudes (eq. 47 and 66).

    Only the directions of the weights count: they are normalised wherever they are used, and `normalise_weights`
    keeps the stored ones normalised.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, *(() if kernel is None else (kernel, kernel))))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Return the layer's output, times `gain`."""
        fan_in = self.weight[0].numel()
        weight = normalised(self.weight, tuple(range(1, self.weight.ndim))) * (gain / math.sqrt(fan_in))
        if self.weight.ndim == 2:
            return F.linear(x, weight.to(x.dtype))
        return F.conv2d(x, weight.to(x.dtype), padding=self.weight.shape[-1] // 2)

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring every stored weight vector to magnitude 1 (forced weight normalisation, eq. 66)."""
        self.weight.copy_(normalised(self.weight, tuple(range(1, self.weight.ndim))))


def normalise_weights(module: nn.Module) -> None:
    """Bring the weights of all magnitude-preserving layers in `module` to magnitude 1, as after every training step."""
    for layer in module.modules():
        if isinstance(layer, MPLayer):
            layer.normalise()


@torch.no_grad()
def start(module: nn.Module, generator: torch.Generator) -> None:
    """Set the initial weights of `module`: normal directions, random frequencies and phases."""
    for layer in module.modules():
        if isinstance(layer, MPLayer):
            layer.weight.normal_(generator=generator)
            layer.normalise()
        elif isinstance(layer, MPFourier):
            layer.frequencies.normal_(std=2 * math.pi, generator=generator)
            layer.phases.uniform_(0, 2 * math.pi, generator=generator)


class MPBlock(nn.Module):
    """A residual block, and cosine attention after it where it has heads (Figure 21).

    On the way down its input is normalised over channels; on the way up it joins a skip connection.
    """

    def __init__(self, block: NetworkBlock, config: NetworkConfig, encodes: bool) -> None:
        super().__init__()
        width, self.block, self.encodes, self.dropout = block.outputs, block, encodes, config.dropout
        self.resampled = Resampling(block.scale, NO_FILTER)
        self.skip = MPLayer(block.inputs, width, 1) if block.inputs != width else None
        self.conv0 = MPLayer(width if encodes else block.inputs, width, 3)
        self.conv1 = MPLayer(width, width, 3)
        self.scale = MPLayer(config.cond_channels, width)
        self.gain = nn.Parameter(torch.zeros([]))  # the embedding has no influence at first
        self.attention = CosineAttention(width, block.heads) if block.heads else None

    def forward(self, x: Float[Tensor, "b i h w"], embedding: Float[Tensor, "b k"]) -> Float[Tensor, "b o u v"]:
        """Return `outputs` channels, at half or twice the resolution where the block resamples."""
        x = self.resampled(x)
        if self.encodes:
            x = normalised(x if self.skip is None else self.skip(x), dim=1)
        h = self.conv0(mp_silu(x)) * (1 + self.scale(embedding, self.gain))[:, :, None, None]
        h = self.conv1(F.dropout(mp_silu(h), self.dropout, self.training))
        if not self.encodes and self.skip is not None:
            x = self.skip(x)
        x = mp_sum(x, h, RESIDUAL_BALANCE)
        if self.attention is not None:
            x = mp_sum(x, self.attention(x), ATTENTION_BALANCE)
        return x.clip(-MAX_ACTIVATION, MAX_ACTIVATION)


class CosineAttention(nn.Module):
    """Multi-head self-attention over pixels, with queries, keys and values normalised within each head."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = MPLayer(channels, 3 * channels, 1), MPLayer(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return a tensor of the shape of `x`."""
        qkv = split_heads(self.qkv(x), self.heads)
        return self.proj(attend(normalised(qkv, dim=-1), x.shape[2:]))


class MagnitudePreservingUNet(nn.Module):
    """The U-Net F(c_in x; c_noise, label) of EDM2."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        first, wide = config.level_channels[0], config.cond_channels
        self.num_classes = config.num_classes
        self.fourier, self.noise = MPFourier(first), MPLayer(first, wide)
        self.label = MPLayer(config.num_classes, wide) if config.num_classes else None
        self.conv_in = MPLayer(config.image_channels + 1, stem_channels(config), 3)
        self.encoder = nn.ModuleDict({b.name: MPBlock(b, config, encodes=True) for b in encoder(config)})
        self.decoder = nn.ModuleDict({b.name: MPBlock(b, config, encodes=False) for b in decoder(config)})
        self.conv_out = MPLayer(first, config.output_channels, 3)
        self.gain = nn.Parameter(torch.zeros([]))  # the output starts at zero

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " b"],
        label: Int64[Tensor, " b"] | None = None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """Return F(x; c_noise, label); each image has its own condition. There is no input for augmentation."""
        embedding = mp_silu(self._embedded(c_noise, label))
        x = self.conv_in(torch.cat((x, torch.ones_like(x[:, :1])), dim=1))
        skips = [x]
        for block in self.encoder.values():
            x = block(x, embedding)
            skips.append(x)
        for block in self.decoder.values():
            assert isinstance(block, MPBlock)
            x = block(mp_cat(x, skips.pop()) if block.block.joins else x, embedding)
        return self.conv_out(x, self.gain)

    def _embedded(self, c_noise: Tensor, label: Tensor | None) -> Tensor:
        embedding = self.noise(self.fourier(c_noise))
        if self.label is None or label is None:
            return embedding
        # a vector with one 1 among n zeros has magnitude 1 / sqrt(n)
        classes = math.sqrt(self.num_classes) * one_hot(label, self.num_classes, embedding.dtype)
        return mp_sum(embedding, self.label(classes), LABEL_BALANCE)

    def initialise(self, generator: torch.Generator) -> None:
        """Set every initial weight, drawing from `generator`."""
        start(self, generator)


class UncertaintyHead(nn.Module):
    """u(sigma): how uncertain the loss at each noise level is, learned beside the network (EDM2, eq. 21)."""

    def __init__(self) -> None:
        super().__init__()
        self.fourier, self.linear = MPFourier(UNCERTAINTY_CHANNELS), MPLayer(UNCERTAINTY_CHANNELS, 1)

    def forward(self, c_noise: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return u at each noise level."""
        return self.linear(self.fourier(c_noise))[:, 0]

    def initialise(self, generator: torch.Generator) -> None:
        """Set every initial weight, drawing from `generator`."""
        start(self, generator)
