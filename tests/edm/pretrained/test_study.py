"""Checkpoints of the 2023 study: each of its networks is recognised by its tensors' shapes, and nothing is run."""

import math
import os
import re
from pathlib import Path

import pytest
import torch

from edm.config import NetworkConfig
from edm.files import save_model
from edm.precondition import Denoiser
from edm.pretrained.errors import PretrainedError
from edm.pretrained.read import describe, digest_of, read_pretrained
from edm.pretrained.study import configurations

# their name of a part, as ours is written: the other way round than the reader has it
THEIRS = (
    (r"^conditioning\.frequencies$", "noise_emb.weight"),
    (r"^conditioning\.label\.", "label_emb.embedding."),
    (r"^conditioning\.mix\.", "cond_proj."),
    (r"\.scale_shift\.", ".linear."),
    (r"\.skip\.", ".in_proj."),
    (r"\.qkv\.", ".qkv_proj."),
    (r"\.out\.", ".out_proj."),
)


def their_name(name: str, levels: int) -> str:
    for ours, theirs in THEIRS:
        name = re.sub(ours, theirs, name)
    part, _, rest = name.partition(".")
    if part == "bridge":
        return f"down_blocks.{levels}.layers.{rest}"
    if part == "down":
        level, _, rest = rest.partition(".")
        return f"down_blocks.{level}.layers.{rest}"
    if part in ("up", "halve"):
        level, _, rest = rest.partition(".")
        return f"up_blocks.{levels - 1 - int(level)}.{'layers' if part == 'up' else 'process.1'}.{rest}"
    return name


def checkpoint(path: Path, config: NetworkConfig) -> Denoiser:
    """Write a checkpoint.pth as the study's trainer does; return the network in it."""
    model = Denoiser(config, math.nan).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(0.02 * torch.randn(value.shape, generator=generator) + name.endswith("running_var"))
    tensors = {their_name(name, len(config.depths)): v for name, v in model.network.state_dict().items()}
    tensors["noise_emb.weight"] = tensors["noise_emb.weight"][None]  # (1, 4) there
    rest = {"nb_epochs_finished": 100, "avg_losses": [0.1], "seed": 1, "begin_date": "2023-12-13"}
    moments = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save({**rest, "model_state_dict": tensors, "optimizer_state_dict": moments}, path)
    return model


@pytest.mark.parametrize("number", range(4))
def test_networks_of_32_pixels_are_recognised_by_their_shapes(tmp_path, number):
    config = list(configurations())[number]
    written = checkpoint(tmp_path / "checkpoint.pth", config)
    read = read_pretrained(tmp_path / "checkpoint.pth")
    assert read.config == config and math.isnan(read.sigma_data)
    assert digest_of(read) == digest_of(written)
    assert describe(str(tmp_path / "checkpoint.pth")).sigma_data is None  # that of the data set


def test_all_configurations_differ_in_their_shapes():
    with torch.device("meta"):
        models = [Denoiser(config, 0.5) for config in configurations()]
    shapes = {tuple((n, tuple(v.shape)) for n, v in model.state_dict().items()) for model in models}
    assert len(shapes) == len(models) == 8  # ten, of which two pairs differ in their label dropout alone


def test_another_network_is_refused(tmp_path):
    checkpoint(tmp_path / "checkpoint.pth", NetworkConfig(3, 32, 10, 16, (1, 1), (0, 0), 0))
    with pytest.raises(PretrainedError, match="tensors whose shapes are those of no network of the 2023 study"):
        read_pretrained(tmp_path / "checkpoint.pth")


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("content", [Runs(), {"model_state_dict": Runs()}, {"model_state_dict": {"a": Runs()}}])
def test_a_hostile_checkpoint_is_refused_by_name_and_not_run(tmp_path, monkeypatch, content):
    torch.save(content, tmp_path / "checkpoint.pth")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PretrainedError, match=r"none of it was run: it refers to posix\.system"):
        read_pretrained(tmp_path / "checkpoint.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"1", b"not a pickle"])
def test_damaged_files_get_one_sentence(tmp_path, content):
    (tmp_path / "checkpoint.pth").write_bytes(content)
    with pytest.raises(PretrainedError, match="is no checkpoint of the 2023 study") as refusal:
        read_pretrained(tmp_path / "checkpoint.pth")
    assert "weights_only" not in str(refusal.value)


def test_values_that_are_no_tensors_are_refused(tmp_path):
    torch.save({"model_state_dict": {"conv_in.weight": 1}}, tmp_path / "checkpoint.pth")
    with pytest.raises(PretrainedError, match="has no tensors"):
        read_pretrained(tmp_path / "checkpoint.pth")


def test_files_of_ones_own_are_read_and_unknown_formats_refused(tmp_path):
    model = Denoiser(NetworkConfig(1, 8, 3, 8, (1,), (0,), 0), 0.5)
    save_model(model, tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert digest_of(read_pretrained(path)) == digest_of(model)
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "model.onnx", tmp_path / "empty"):
        with pytest.raises(PretrainedError, match="in no known format; give"):
            read_pretrained(path)
    (tmp_path / "broken.safetensors").write_bytes(b"1")
    with pytest.raises(PretrainedError, match="is not a model file"):
        read_pretrained(tmp_path / "broken.safetensors")
