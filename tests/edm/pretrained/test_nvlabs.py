"""NVlabs' files: networks come out as they went in, and nothing of a file is ever run."""

import builtins
import dataclasses
import io
import os
import pickle
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edm.config import Architecture, ModelConfig, NetworkConfig, Precondition
from edm.pretrained.errors import PretrainedError
from edm.pretrained.read import describe, digest_of, read_pretrained
from tests.edm.networks.literature import tiny
from tests.edm.pretrained.published import nvlabs_file, their_modules

NETWORKS: list[tuple[Architecture, Precondition, int]] = [
    ("ddpmpp", "edm", 9),
    ("ddpmpp", "vp", 0),
    ("ncsnpp", "ve", 9),
    ("adm", "edm", 0),
    ("adm", "iddpm", 0),
    ("edm2", "edm", 0),
]


def network(architecture: Architecture, precondition: Precondition = "edm", augment: int = 0) -> NetworkConfig:
    """A small network as their classes build it: one number of blocks, and heads of 64 channels."""
    shape: dict[str, Any] = {"depths": (1, 1), "attention": True, "channels": 16}
    config = tiny(architecture, precondition, augment, **shape)
    config = ModelConfig(architecture=architecture, channels=16, multipliers=(1, 2), depths=(1, 1), attention="levels",
                         precondition=precondition).network(3, 8, 3)  # fmt: skip
    return dataclasses.replace(config, augment_labels=augment, uncertainty=architecture == "edm2")


@pytest.mark.parametrize(("architecture", "precondition", "augment"), NETWORKS)
def test_a_network_comes_out_as_it_went_in(tmp_path, architecture, precondition, augment):
    config = network(architecture, precondition, augment)
    written = nvlabs_file(tmp_path / "network-snapshot.pkl", config)
    read = read_pretrained(tmp_path / "network-snapshot.pkl")
    assert dataclasses.replace(read.config, dropout=0.0) == config
    assert read.sigma_data == 0.5
    x, sigma = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, 3.0])
    label = torch.tensor([1, 3])
    torch.testing.assert_close(read(x, sigma, label), written(x, sigma, label))
    assert digest_of(read) == digest_of(written)


def test_half_precision_weights_are_read_as_they_are(tmp_path):
    config = network("edm2")
    written = nvlabs_file(tmp_path / "edm2-img64-xs.pkl", config, half=True)
    assert digest_of(read_pretrained(tmp_path / "edm2-img64-xs.pkl")) == digest_of(written)


def test_a_file_is_identified_by_its_weights(tmp_path):
    config = network("ddpmpp")
    nvlabs_file(tmp_path / "one.pkl", config)
    nvlabs_file(tmp_path / "other.pkl", config, dropout=0.2)
    one, other = describe(str(tmp_path / "one.pkl")), describe(str(tmp_path / "other.pkl"))
    assert one.digest == other.digest and one.network == other.network


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"channel_mult_emb": 2}, "channel_mult_emb is 2"),
        ({"encoder_type": "skip"}, "encoder_type is skip"),
        ({"surprise": 1}, "option surprise is not known"),
        ({"num_blocks": 2}, "Missing key"),
        ({"label_dim": 5}, "size mismatch"),
    ],
)
def test_a_network_that_is_not_ours_is_refused(tmp_path, kwargs, named):
    nvlabs_file(tmp_path / "other.pkl", network("ddpmpp"), **kwargs)
    with pytest.raises(PretrainedError, match=named):
        read_pretrained(tmp_path / "other.pkl")


# hostile files ------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


RAN: list[str] = []


def mark(*_: object) -> None:
    RAN.append("ran")


HOSTILE = {
    "os.system": (Calls(os.system, "touch ran"), "posix.system"),
    "subprocess": (Calls(subprocess.Popen, ["touch", "ran"]), "subprocess.Popen"),
    "builtins.eval": (Calls(eval, "RAN.append('ran')"), "builtins.eval"),
    "builtins.getattr": (Calls(getattr, "os", "system"), "builtins.getattr"),
    "builtins.open": (Calls(builtins.open, "ran", "w"), "open"),
    "torch.load": (Calls(torch.load, io.BytesIO(b"")), "torch.serialization.load"),
    "numpy.load": (Calls(np.load, "x.npy", None, True), "numpy.load"),
    "a function of this test": (Calls(mark), "test_nvlabs.mark"),
}
HOSTILE["nested reduce"] = (Calls(set, Calls(os.system, "touch ran")), "posix.system")
HOSTILE["inside of a network"] = ({"ema": [{"state": Calls(os.system, "touch ran")}]}, "posix.system")


class Loads:
    """Pickles as a nested file of torch with a hostile pickle in it: a gadget behind an allowed name."""

    def __init__(self, content: Any) -> None:
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=False)
        self.content = buffer.getvalue()

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return torch.storage._load_from_bytes, (self.content,)


HOSTILE["a gadget behind torch's loader"] = (Loads(Calls(os.system, "touch ran")), "posix.system")


def dotted(module: str, name: str) -> bytes:
    """A pickle that refers to a name by a path of attributes, and calls it."""
    return b"".join(
        (
            b"\x80\x04",
            *(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)),
            b"\x93",  # STACK_GLOBAL
            b"\x8c\x09touch ran\x85R.",  # ("touch ran",), REDUCE, STOP
        )
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name_and_not_run(tmp_path, monkeypatch, name):
    content, named = HOSTILE[name]
    path = tmp_path / "hostile.pkl"
    path.write_bytes(pickle.dumps(content))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PretrainedError, match=named) as refusal:
        read_pretrained(path)
    assert "none of it was run" in str(refusal.value)
    assert not RAN and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch.storage", "io.open"),
        ("os", "system"),
        ("torch_utils.persistence", "_src_to_module"),
    ],
)
def test_paths_of_attributes_and_other_names_are_refused(tmp_path, monkeypatch, module, name):
    path = tmp_path / "hostile.pkl"
    path.write_bytes(dotted(module, name))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PretrainedError, match="it refers to"):
        read_pretrained(path)
    assert not (tmp_path / "ran").exists()


def test_state_that_would_replace_attributes_of_an_object_is_ignored(tmp_path):
    class Sets:
        def __reduce__(self):
            return OrderedDict, (), (None, {"__class__": OrderedDict, "items": 1})

    (tmp_path / "sets.pkl").write_bytes(pickle.dumps(Sets()))
    with pytest.raises(PretrainedError, match="holds no network"):
        read_pretrained(tmp_path / "sets.pkl")


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"not a pickle", pickle.dumps([1]), pickle.dumps({"ema": 1})])
def test_damaged_and_other_files_get_one_sentence(tmp_path, content):
    path = tmp_path / "other.pkl"
    path.write_bytes(content)
    with pytest.raises(PretrainedError, match=r"other\.pkl: "):
        read_pretrained(path)
    with pytest.raises(PretrainedError, match="does not exist"):
        read_pretrained(tmp_path / "absent.pkl")


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    class Beyond:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (
                torch.storage.TypedStorage(
                    wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
                ),
                0,
                (10**6,),
                (1,),
                False,
                {},
            )

    state = {"_parameters": {"weight": Beyond()}, "_init_kwargs": {}, "img_resolution": 8, "img_channels": 3}
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "",
        "class_name": "EDMPrecond",
        "state": {**state, "label_dim": 0},
    }

    class Module:
        def __reduce__(self):
            import sys

            return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)

    with their_modules():
        (tmp_path / "beyond.pkl").write_bytes(pickle.dumps({"ema": Module()}))
    with pytest.raises(PretrainedError, match="does not hold the network"):
        read_pretrained(Path(tmp_path / "beyond.pkl"))
