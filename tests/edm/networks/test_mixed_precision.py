"""Networks in the mixed precision of a GPU: they compute, and no activation is wider than it has to be.

Fake tensors stand for those of a GPU: its rules of mixed precision, other than a CPU's, choose their types.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edm.config import ModelConfig, NetworkConfig, TrainingConfig
from edm.precondition import Denoiser

GPU = torch.device("cuda")
BATCH, IMAGE_CHANNELS = 6, 3
MODELS = {
    "study": ModelConfig("nano"),
    "study, EDM's options": ModelConfig("nano", norm="group", resample="residual", init="edm", dropout=0.1),
    **{
        name: ModelConfig(architecture=name, channels=16, dropout=0.1)
        for name in ("ddpmpp", "ncsnpp", "adm", "edm2")
    },
}  # fmt: skip
NORMS = ("aten._to_copy.default", "aten.native_group_norm.default")  # which compute in float32 wherever they are


class WideActivations(TorchDispatchMode):
    """Collects the operators that return activations of a batch in float32, but for images and norms."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor) and _is_wide_activation(value) and str(func) not in NORMS:
                self.found.add(str(func))
        return output


def _is_wide_activation(value: Tensor) -> bool:
    is_activation = value.ndim == 4 and value.shape[0] == BATCH and value.shape[1] > IMAGE_CHANNELS + 1
    return is_activation and value.dtype == torch.float32


@contextmanager
def mixed_precision_of_a_gpu(dtype: torch.dtype) -> Iterator[None]:
    """As `torch.autocast`, which refuses where there is no GPU."""
    torch.set_autocast_dtype("cuda", dtype)
    torch.set_autocast_enabled("cuda", True)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


def network_of(model: ModelConfig) -> NetworkConfig:
    network = model.network(IMAGE_CHANNELS, 16, 10)
    return network if model.architecture == "edm2" else TrainingConfig(augment=0.1).prepared(network)


@pytest.mark.parametrize("training", [True, False], ids=["training", "drawing"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_network_computes_in_16_bits(model, dtype, training, monkeypatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v: q * k * v)
    network = network_of(model)
    with FakeTensorMode(), GPU:
        denoiser = Denoiser(network, 0.5).train(training)
        images = torch.empty(BATCH, IMAGE_CHANNELS, 16, 16).to(memory_format=torch.channels_last)
        labels, augment = torch.zeros(BATCH, dtype=torch.int64), torch.zeros(BATCH, network.augment_labels)
        with mixed_precision_of_a_gpu(dtype), WideActivations() as wide:
            denoised = denoiser(images, torch.ones(BATCH), labels, augment if network.augment_labels else None)
    assert denoised.dtype == torch.float32 and denoised.shape == images.shape
    assert wide.found == set()
