"""NVlabs' networks of EDM and EDM2, from their .pkl files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edm.config import SHAPES, Architecture, NetworkConfig, Precondition
from edm.precondition import Denoiser
from edm.pretrained.errors import PretrainedError, in_a_line
from edm.pretrained.nvlabs_names import renamed
from edm.pretrained.unpickle import Captured, read_pickle

PRECONDITIONS: dict[str, Precondition] = {
    "EDMPrecond": "edm",
    "VPPrecond": "vp",
    "VEPrecond": "ve",
    "iDDPMPrecond": "iddpm",
    "Precond": "edm",  # EDM2's
}
# options of their classes that change what a network computes, and their defaults
SONG = {
    "model_channels": 128, "channel_mult": [1, 2, 2, 2], "channel_mult_emb": 4, "num_blocks": 4,
    "attn_resolutions": [16], "embedding_type": "positional", "channel_mult_noise": 1, "encoder_type": "standard",
    "decoder_type": "standard", "resample_filter": [1, 1],
}  # fmt: skip
NCSNPP = {
    "embedding_type": "fourier", "channel_mult_noise": 2, "encoder_type": "residual", "resample_filter": [1, 3, 3, 1],
}  # fmt: skip
ADM = {
    "model_channels": 192, "channel_mult": [1, 2, 3, 4], "channel_mult_emb": 4, "num_blocks": 3,
    "attn_resolutions": [32, 16, 8],
}  # fmt: skip
EDM2 = {
    "model_channels": 192, "channel_mult": [1, 2, 3, 4], "channel_mult_noise": None, "channel_mult_emb": None,
    "num_blocks": 3, "attn_resolutions": [16, 8], "label_balance": 0.5, "concat_balance": 0.5, "res_balance": 0.3,
    "attn_balance": 0.3, "channels_per_head": 64, "resample_filter": [1, 1], "clip_act": 256, "logvar_channels": 128,
}  # fmt: skip
FREE = ("model_channels", "channel_mult", "num_blocks", "attn_resolutions")  # those that NetworkConfig has
# options that change nothing in sampling, or that the network keeps beside its weights
IDLE = ("model_type", "use_fp16", "dropout", "label_dropout", "sigma_min", "sigma_max", "img_resolution",
        "img_channels", "label_dim", "augment_dim", "sigma_data", "epsilon_t")  # fmt: skip


def read_nvlabs(path: Path) -> Denoiser:
    """Return the averaged network of a .pkl; raises PretrainedError where it holds none, or is not harmless."""
    network = read_pickle(path).get("ema")
    if not isinstance(network, Captured) or network.class_name not in PRECONDITIONS:
        raise PretrainedError(f"{path}: holds no network of EDM or EDM2 under 'ema'; give a network-snapshot of NVlabs")
    try:
        config = _network(network)
        model = Denoiser(config, float(network.state.get("sigma_data", 0.5)))
        model.load_state_dict(renamed(network.tensors(), config))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise PretrainedError(f"{path}: does not hold the network that it says it does: {in_a_line(error)}") from None
    return model


def _network(captured: Captured) -> NetworkConfig:
    """Return the configuration that a network was made with, which it keeps beside its weights."""
    given: dict[str, Any] = dict(captured.state.get("_init_kwargs") or {})
    for name in ("img_resolution", "img_channels", "label_dim"):
        given.setdefault(name, captured.state[name])
    architecture, options = _architecture(captured.class_name, given)
    shape = SHAPES[architecture]
    multipliers, channels = tuple(map(int, options["channel_mult"])), int(options["model_channels"])
    widths = [channels * multiplier for multiplier in multipliers]
    sides = [int(given["img_resolution"]) >> level for level in range(len(widths))]
    heads = [
        shape.heads(w) if side in options["attn_resolutions"] else 0 for w, side in zip(widths, sides, strict=True)
    ]
    return NetworkConfig(
        image_channels=int(given["img_channels"]),
        resolution=int(given["img_resolution"]),
        num_classes=int(given["label_dim"]),
        channels=channels,
        depths=(int(options["num_blocks"]),) * len(multipliers),
        heads=tuple(heads),
        bridge_heads=shape.heads(widths[-1]),
        cond_channels=max(widths) if shape.embedding is None else channels * shape.embedding,
        augment_labels=int(given.get("augment_dim", 0)),
        architecture=architecture,
        multipliers=multipliers,
        precondition=PRECONDITIONS[captured.class_name],
        uncertainty=architecture == "edm2",
    )


def _architecture(class_name: str, given: dict[str, Any]) -> tuple[Architecture, dict[str, Any]]:
    """Return which network a file has, and its options; raises ValueError for one that this package does not have."""
    architecture, defaults, fixed = _kind(class_name, given)
    unknown = given.keys() - defaults.keys() - set(IDLE)
    if unknown:
        raise ValueError(f"its option {min(unknown)} is not known")
    options = defaults | {name: value for name, value in given.items() if name in defaults}
    for name, value in fixed.items():
        found = list(options[name]) if isinstance(value, list) else options[name]
        if name not in FREE and found != value:
            raise ValueError(f"its {name} is {found}, where {architecture} has {value}")
    return architecture, options


def _kind(class_name: str, given: dict[str, Any]) -> tuple[Architecture, dict[str, Any], dict[str, Any]]:
    """Return an architecture, the defaults of its class, and the options that belong to it."""
    if class_name == "Precond":
        return "edm2", EDM2, EDM2
    by_default = "SongUNet" if class_name in ("VPPrecond", "VEPrecond") else "DhariwalUNet"
    if given.get("model_type", by_default) != "SongUNet":
        return "adm", ADM, ADM
    fourier = given.get("embedding_type") == "fourier"
    return ("ncsnpp", SONG, SONG | NCSNPP) if fourier else ("ddpmpp", SONG, SONG)
