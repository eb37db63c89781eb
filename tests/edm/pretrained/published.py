"""Files in the layouts in which NVlabs and the 2023 study publish networks, made with random weights.

They are written by classes of our own under the names that the published files refer to: `torch_utils.persistence` and
so on exist only while a file is written.
"""

import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edm.config import NetworkConfig
from edm.networks.layout import NetworkBlock, decoder, encoder
from edm.precondition import Denoiser
from edm.pretrained.nvlabs_names import _names
from tests.edm.networks.literature import random_weights

SOURCE = "import os\nos.system('touch /tmp/it-ran')\nraise SystemExit('the source of a pickle was run')\n"


class Persistent(nn.Module):
    """A module that pickles as a persistent object of NVlabs does: source, class name and state."""

    def __init__(self, class_name: str, kwargs: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._class_name, self._init_args, self._init_kwargs = class_name, (), kwargs or {}

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_class_name"}
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self._class_name, "state": state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


@contextmanager
def their_modules() -> Iterator[None]:
    """Let the names that the files refer to be importable, as pickling them needs."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError("the code of a pickle was run")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # pyright: ignore[reportAttributeAccessIssue]
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    util.EasyDict = easy  # pyright: ignore[reportAttributeAccessIssue]
    made = {"torch_utils": types.ModuleType("torch_utils"), "torch_utils.persistence": persistence}
    made |= {"dnnlib": types.ModuleType("dnnlib"), "dnnlib.util": util}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def nest(tensors: dict[str, Tensor], parameters: set[str], root: Persistent) -> None:
    """Put tensors into a tree of modules by their dotted names, as their networks have them."""
    for full_name, value in tensors.items():
        *path, name = full_name.split(".")
        module: nn.Module = root
        for depth, part in enumerate(path):
            if part not in module._modules:
                container = part in ("enc", "dec")
                module.add_module(part, nn.ModuleDict() if container else Persistent("Layer" if depth else "UNet"))
            module = module._modules[part]  # pyright: ignore[reportAssignmentType]
        if full_name in parameters:
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))
        else:
            module.register_buffer(name, value)


def their_tensors(model: Denoiser) -> tuple[dict[str, Tensor], set[str]]:
    """A network's tensors by NVlabs' names and in their order of channels, and which of them are parameters."""
    ours, found, parameters = model.state_dict(), dict[str, Tensor](), set[str]()
    trained = {name for name, _ in model.named_parameters()}
    for their_name, name, heads in _names(model.config):
        if name in ours:
            value = ours[name]
            if heads:  # by head first, and query, key and value last
                by_kind = value.reshape(3, heads, len(value) // heads // 3, *value.shape[1:])
                value = by_kind.permute(1, 2, 0, *range(3, by_kind.ndim)).reshape(value.shape)
            found[their_name] = value.clone()
            parameters |= {their_name} if name in trained else set()
    assert len(found) == len(ours)
    return found, parameters


def kwargs_of(config: NetworkConfig) -> dict[str, Any]:
    """The options that NVlabs' classes are made with."""
    sides = [config.resolution >> level for level in range(len(config.multipliers))]
    shared = {
        "img_resolution": config.resolution,
        "img_channels": config.image_channels,
        "label_dim": config.num_classes,
        "model_channels": config.channels,
        "channel_mult": list(config.multipliers),
        "num_blocks": config.depths[0],
        "attn_resolutions": [side for side, heads in zip(sides, config.heads, strict=True) if heads],
        "use_fp16": False,
    }
    if config.architecture == "edm2":
        return shared
    if config.augment_labels:
        shared["augment_dim"] = config.augment_labels
    song = {"model_type": "SongUNet", "decoder_type": "standard", "dropout": 0.13}
    return shared | {
        "adm": {"model_type": "DhariwalUNet"},
        "ddpmpp": {**song, "embedding_type": "positional", "encoder_type": "standard", "resample_filter": [1, 1]},
        "ncsnpp": {
            **song,
            "embedding_type": "fourier",
            "encoder_type": "residual",
            "channel_mult_noise": 2,
            "resample_filter": [1, 3, 3, 1],
        },
    }.get(config.architecture, {})


CLASSES = {"edm": "EDMPrecond", "vp": "VPPrecond", "ve": "VEPrecond", "iddpm": "iDDPMPrecond"}


def nvlabs_file(path: Path, config: NetworkConfig, half: bool = False, **kwargs: Any) -> Denoiser:
    """Write a network-snapshot with random weights; return our own network with these weights."""
    model = Denoiser(config, 0.5).eval().requires_grad_(False)
    random_weights(model)
    if half:
        model = model.half().float()
    tensors, parameters = their_tensors(model)
    if half:
        tensors = {name: value.half() for name, value in tensors.items()}
    if config.precondition == "iddpm":
        tensors["u"] = torch.zeros(1001)
    edm2 = config.architecture == "edm2"
    root = Persistent("Precond" if edm2 else CLASSES[config.precondition], kwargs_of(config) | kwargs)
    for name in ("img_resolution", "img_channels", "label_dim"):
        setattr(root, name, root._init_kwargs[name])
    root.sigma_data, root.skip_scale = 0.5, np.sqrt(0.5)  # pyright: ignore[reportAttributeAccessIssue]
    nest(tensors, parameters, root)
    for block in _filtered(config):  # buffers that the network does not need
        child = root.get_submodule(block)
        child.register_buffer("resample_filter", torch.ones(1, 1, 2, 2))
    with their_modules(), path.open("wb") as file:
        easy = sys.modules["dnnlib.util"].EasyDict
        content = {"ema": root, "loss_fn": Persistent("EDMLoss"), "dataset_kwargs": {"path": "x", "use_labels": True}}
        pickle.dump(easy(content) if edm2 else {**content, "augment_pipe": Persistent("AugmentPipe")}, file)
    return model


def _filtered(config: NetworkConfig) -> Iterator[str]:
    """The layers of DDPM++ that resample, and hold the filter as a buffer."""
    if config.architecture == "ddpmpp":
        for way, blocks in (("enc", encoder(config)), ("dec", decoder(config))):
            for block in blocks:
                if block.scale is not None:
                    yield f"model.{way}.{side_of(block)}_{block.scale}.conv0"


def side_of(block: NetworkBlock) -> str:
    return f"{block.side}x{block.side}"
