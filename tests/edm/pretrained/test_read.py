"""What is wrong with a file that should be a network of edm-sweep's own format, or any, is said."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from edm.config import NetworkConfig
from edm.files import model_metadata, save_tensors
from edm.precondition import Denoiser
from edm.pretrained.read import PretrainedError, read_pretrained

Change = Callable[[dict[str, Tensor]], object]
FIRST = "network.conditioning.frequencies"


def read_changed(folder: Path, change: Change) -> Denoiser:
    """Write a network whose tensors were changed, and read it."""
    model = Denoiser(NetworkConfig(1, 8, 3, 8, (1,), (0,), 0), 0.5)
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    change(tensors)
    save_tensors(tensors, folder / "model.safetensors", model_metadata(model))
    return read_pretrained(folder)


def test_an_unchanged_file_is_read(tmp_path: Path) -> None:
    assert read_changed(tmp_path, lambda tensors: None).config.channels == 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tensors: tensors.pop(FIRST), rf"it lacks {FIRST}\)"),
        (lambda tensors: tensors.update(a=torch.ones(2), b=torch.ones(1)), r"it has an unknown tensor a and 1 more\)"),
        (lambda tensors: tensors.update({FIRST: torch.ones(999)}), rf"{FIRST} has the shape \[999\], not \["),
        (
            lambda tensors: tensors[FIRST].fill_(math.nan),
            rf"its weights \({FIRST} first\) have values that are not fin",
        ),
    ],
    ids=["lacking", "unknown", "shape", "nan"],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path: Path, change: Change, expected: str) -> None:
    with pytest.raises(PretrainedError, match=expected):
        read_changed(tmp_path, change)


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.pth", "network-snapshot.pkl"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty; download or copy it again"),
        (b"<!DOCTYPE html><p>quota", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
    ],
    ids=["empty", "page", "pointer"],
)
def test_a_file_that_was_not_copied_whole_is_said(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PretrainedError, match=f"{name}: {expected}"):
        read_pretrained(tmp_path / name)


def test_a_checkpoint_without_the_study_s_key_names_it(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(1)}}, tmp_path / "checkpoint.pth")
    with pytest.raises(PretrainedError, match="it lacks 'model_state_dict'"):
        read_pretrained(tmp_path / "checkpoint.pth")
