"""Fine-tuning: a training that begins with the weights of a trained network."""

from __future__ import annotations

import torch

from edm.precondition import Denoiser


def transfer(trained: Denoiser, denoiser: Denoiser) -> tuple[str, ...]:
    """Copy the tensors of a trained network to those of the same name and shape; return the names of all others.

    These keep their values. They are parts that the trained network does not have, or that depend on the number of
    classes where that is another.
    """
    given, kept = trained.state_dict(), list[str]()
    with torch.no_grad():
        for name, value in denoiser.state_dict().items():
            if name in given and given[name].shape == value.shape:
                value.copy_(given[name])
            else:
                kept.append(name)
    return tuple(kept)
