"""Models as files: saved, found by path or signature, loaded in one line, without what edm does not need."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

import edm
from edm.config import Extension, NetworkConfig, TrainingConfig
from edm.files import load_model, save_model, save_tensors
from edm.precondition import Denoiser

NETWORK = NetworkConfig(1, 8, 3, 8, (1,), (0,), 0, norm="group", dropout=0.1)


def new_model(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Denoiser(NETWORK, 0.5).eval().requires_grad_(False)


def in_store(root: Path, signature: str, seed: int = 0) -> Path:
    folder = root / "trainings" / signature
    folder.mkdir(parents=True)
    save_model(new_model(seed), folder / "model.safetensors")
    return folder


def same(a: Denoiser, b: Denoiser) -> bool:
    x, sigma, label = torch.ones(2, 1, 8, 8), torch.tensor([0.1, 3.0]), torch.tensor([0, 2])
    return torch.equal(a(x, sigma, label), b(x, sigma, label))


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_of_files_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_tensors({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("how", ["file", "folder", "signature", "beginning"])
def test_load_takes_a_path_or_a_signature(tmp_path: Path, how: str) -> None:
    folder = in_store(tmp_path, "0123456789abcdef0123")
    in_store(tmp_path, "fedc456789abcdef0123", seed=1)
    named = {
        "file": folder / "model.safetensors",
        "folder": folder,
        "signature": "0123456789abcdef0123",
        "beginning": "0123",
    }[how]
    model = edm.load(named, store=tmp_path)
    assert same(model, new_model()) and not model.training
    assert model.config == NETWORK and model.sigma_data == 0.5


def test_the_store_is_looked_for_where_the_command_line_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_store(tmp_path / "elsewhere", "0123456789abcdef0123")
    monkeypatch.setenv("EDM_SWEEP_STORE", str(tmp_path / "elsewhere"))
    assert same(edm.load("0123"), new_model())
    monkeypatch.delenv("EDM_SWEEP_STORE")
    in_store(tmp_path / "runs", "4567456789abcdef0123")
    monkeypatch.chdir(tmp_path)
    assert same(edm.load("4567"), new_model())


def test_what_is_not_there_or_not_one_is_said(tmp_path: Path) -> None:
    in_store(tmp_path, "0123a")
    in_store(tmp_path, "0123b")
    with pytest.raises(ValueError, match=r"begins 2 names in .*trainings"):
        edm.load("0123", tmp_path)
    for wrong in ("77", "*", "../x", ""):
        with pytest.raises(ValueError, match=r"nor the beginning of the name of a finished training in .*trainings"):
            edm.load(wrong, tmp_path)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="is not a model file"):
        load_model(tmp_path / "text.safetensors")
    save_tensors({"a": torch.zeros(2)}, tmp_path / "tensors.safetensors")
    with pytest.raises(ValueError, match="holds tensors but no model"):
        load_model(tmp_path / "tensors.safetensors")


def test_a_checkpoint_loads_as_its_averaged_model(tmp_path: Path) -> None:
    from edm.train import TrainState
    from experiments.trials.training.checkpoints import CheckpointManager

    config = TrainingConfig(kimg=1.0, batch_size=10)
    state = TrainState(NETWORK, config, 0.5, 0, torch.device("cpu"))
    with torch.no_grad():
        for parameter in state.ema.module.parameters():
            parameter.add_(0.1)
    CheckpointManager(tmp_path, state).keep_checkpoint()
    [path] = (tmp_path / "kept").iterdir()
    assert same(edm.load(path), state.ema.module)  # type: ignore[arg-type]


def test_old_files_without_newer_fields_still_load(tmp_path: Path) -> None:
    model = Denoiser(replace(NETWORK, norm="batch", dropout=0.0), 0.5)
    added = ("norm", "resample", "init", "dropout", "augment_labels")
    old = {name: value for name, value in asdict(model.config).items() if name not in added}
    metadata = {"network": json.dumps(old), "sigma_data": "0.5"}
    save_tensors(model.state_dict(), tmp_path / "model.safetensors", metadata)
    assert load_model(tmp_path / "model.safetensors").config == model.config


def test_one_line_in_a_notebook_needs_neither_ray_nor_mlflow(tmp_path: Path) -> None:
    folder = in_store(tmp_path, "0123456789abcdef0123")
    code = (
        "import sys\n"
        "for name in ('ray', 'mlflow', 'pydantic', 'pandas', 'typer', 'rich'): sys.modules[name] = None\n"
        f"import edm, torch\ndenoiser = edm.load({str(folder)!r})\n"
        "print(denoiser(torch.zeros(2, 1, 8, 8), torch.ones(2), torch.tensor([0, 1])).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch.Size([2, 1, 8, 8])" in done.stdout


def test_a_network_of_an_extension_says_what_to_load_first(tmp_path: Path) -> None:
    path, own = tmp_path / "model.safetensors", Extension("dit", "0" * 20, where="nets/dit.py, dit")
    network = json.dumps(asdict(replace(NETWORK, architecture=own)))
    save_tensors(new_model().state_dict(), path, {"network": network, "sigma_data": "0.5"})
    with pytest.raises(ValueError, match=r"model.safetensors: the code of 'dit' \(nets/dit.py, dit\), .*load_sweep"):
        load_model(path)


@pytest.mark.parametrize(
    ("network", "sigma_data", "expected"),
    [
        (None, "0.5", "holds tensors but no model"),
        (json.dumps(asdict(NETWORK)), None, "holds tensors but no model"),
        ("{", "0.5", "its model cannot be built"),
        ("[" * 100_000, "0.5", "its model cannot be built"),
        ("[]", "0.5", "its model cannot be built"),
        ("{}", "0.5", "its model cannot be built"),
        (json.dumps(asdict(NETWORK)), "half", "its model cannot be built"),
        (json.dumps({**asdict(NETWORK), "channels": 10**9}), "0.5", "has more weights than the"),
        (json.dumps({**asdict(NETWORK), "channels": "8"}), "0.5", "its model cannot be built"),
        (json.dumps({**asdict(NETWORK), "depths": [10**9]}), "0.5", "has more weights than the"),
        (json.dumps({**asdict(NETWORK), "num_classes": 10**12}), "0.5", "has more weights than the"),
        (json.dumps({**asdict(NETWORK), "channels": 4}), "0.5", "its model cannot be built"),
        (json.dumps({**asdict(NETWORK), "unknown": 4}), "0.5", "its model cannot be built"),
    ],
)
def test_a_model_file_from_elsewhere_may_say_anything(tmp_path: Path, network, sigma_data, expected) -> None:
    path = tmp_path / "model.safetensors"
    metadata = {"network": network, "sigma_data": sigma_data}
    save_tensors(new_model().state_dict(), path, {name: text for name, text in metadata.items() if text is not None})
    with pytest.raises(ValueError, match=expected) as refusal:
        load_model(path)
    assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        (2**62).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b"[" * 100,
        (2).to_bytes(8, "little") + b"{}",
        (70).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[100000000000],"data_offsets":[0,4]}}     '
        + b"0000",
    ],
)
def test_a_hostile_header_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a model file|holds tensors but no model"):
        load_model(path)
