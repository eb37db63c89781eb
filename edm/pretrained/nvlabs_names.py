"""The tensors of NVlabs' EDM and EDM2 networks under the names, and in the order of channels, that ours have."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from edm.config import NetworkConfig
from edm.networks.layout import NetworkBlock, decoder, encoder

# of a residual block: their name, ours
SONG_BLOCK = (
    *((f"{layer}.{part}", f"{layer}.{part}") for layer in ("norm0", "norm1", "conv0", "conv1", "affine", "skip")
      for part in ("weight", "bias")),
    *((f"{theirs}.{part}", f"attention.{ours}.{part}")
      for theirs, ours in (("norm2", "norm"), ("qkv", "qkv"), ("proj", "proj")) for part in ("weight", "bias")),
)  # fmt: skip
EDM2_BLOCK = (
    ("emb_gain", "gain"),
    ("conv_res0.weight", "conv0.weight"),
    ("conv_res1.weight", "conv1.weight"),
    ("emb_linear.weight", "scale.weight"),
    ("conv_skip.weight", "skip.weight"),
    ("attn_qkv.weight", "attention.qkv.weight"),
    ("attn_proj.weight", "attention.proj.weight"),
)
SONG_ENDS = (
    ("model.map_noise.freqs", "network.embedding.noise.frequencies"),
    ("model.map_label.weight", "network.embedding.label.weight"),
    ("model.map_label.bias", "network.embedding.label.bias"),
    ("model.map_augment.weight", "network.embedding.augment.weight"),
    *((f"model.map_layer{i}.{part}", f"network.embedding.linear{i}.{part}")
      for i in (0, 1) for part in ("weight", "bias")),
)  # fmt: skip
EDM2_ENDS = (
    ("unet.emb_fourier.freqs", "network.fourier.frequencies"),
    ("unet.emb_fourier.phases", "network.fourier.phases"),
    ("unet.emb_noise.weight", "network.noise.weight"),
    ("unet.emb_label.weight", "network.label.weight"),
    ("unet.out_conv.weight", "network.conv_out.weight"),
    ("unet.out_gain", "network.gain"),
    ("logvar_fourier.freqs", "uncertainty.fourier.frequencies"),
    ("logvar_fourier.phases", "uncertainty.fourier.phases"),
    ("logvar_linear.weight", "uncertainty.linear.weight"),
)


def renamed(theirs: dict[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    """Return a denoiser's tensors; raises ValueError where `theirs` lack one, or have one more.

    theirs: the tensors of NVlabs' preconditioned network by their names in it, such as model.enc.32x32_conv.weight.
    """
    left, ours = dict(theirs), dict[str, Tensor]()
    for their_name, name, heads in _names(config):
        if their_name in left:
            value = left.pop(their_name)
            ours[name] = _with_our_channels(value, heads) if heads else value
    unknown = [name for name in left if not name.endswith("resample_filter") and name != "u"]
    if unknown:
        raise ValueError(f"holds {unknown[0]}, which a network of its configuration does not have")
    return ours


def _names(config: NetworkConfig) -> Iterator[tuple[str, str, int]]:
    """Yield each tensor's name in theirs and in ours; heads: of a tensor of queries, keys and values, else 0."""
    edm2 = config.architecture == "edm2"
    prefix = "unet" if edm2 else "model"
    for their_name, name in EDM2_ENDS if edm2 else SONG_ENDS:
        yield their_name, name, 0
    for part in ("weight", "bias"):
        yield f"{prefix}.enc.{config.resolution}x{config.resolution}_conv.{part}", f"network.conv_in.{part}", 0
        for their_name, name in _last_layers(config):
            yield f"{prefix}.{their_name}.{part}", f"network.{name}.{part}", 0
    for way, ours, blocks in (("enc", "encoder", encoder(config)), ("dec", "decoder", decoder(config))):
        for block in blocks:
            for their_name, name in EDM2_BLOCK if edm2 else SONG_BLOCK:
                heads = block.heads if "qkv" in name else 0
                yield f"{prefix}.{way}.{_their_name(block)}.{their_name}", f"network.{ours}.{block.name}.{name}", heads
            if block.residual_inputs:
                for part in ("weight", "bias"):
                    side = f"{block.side}x{block.side}"
                    yield f"model.enc.{side}_aux_residual.{part}", f"network.halved.{block.name}.0.{part}", 0


def _last_layers(config: NetworkConfig) -> tuple[tuple[str, str], ...]:
    if config.architecture == "edm2":  # which has one, without a norm, in EDM2_ENDS
        return ()
    if config.architecture == "adm":
        return ("out_norm", "norm_out"), ("out_conv", "conv_out")
    side = f"{config.resolution}x{config.resolution}"
    return (f"dec.{side}_aux_norm", "norm_out"), (f"dec.{side}_aux_conv", "conv_out")


def _their_name(block: NetworkBlock) -> str:
    if block.scale is not None:
        kind = block.scale
    elif block.name.startswith("middle"):
        kind = block.name.replace("middle", "in")
    else:
        kind = block.name.partition("_")[2]
    return f"{block.side}x{block.side}_{kind}"


def _with_our_channels(value: Tensor, heads: int) -> Tensor:
    """Order channels by query, key and value first, then by head: theirs are by head first, and these three last."""
    by_head = value.reshape(heads, len(value) // heads // 3, 3, *value.shape[1:])
    return by_head.permute(2, 0, 1, *range(3, by_head.ndim)).reshape(value.shape)
