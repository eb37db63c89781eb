"""EDM diffusion models (Karras et al. 2022): data, networks, training, sampling, scoring. Knows nothing of sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edm.precondition import Denoiser


def load(path_or_signature: str | Path, store: str | Path | None = None, device: str = "cpu") -> Denoiser:
    """A trained denoiser, (x, sigma, label) -> denoised, ready to sample on `device`.

    Takes a model or checkpoint file, a training's folder, or a training's signature (or how it begins), which is looked
    up in `store`, else in EDM_SWEEP_STORE, else in ./runs. Raises ValueError where there is no such model.
    """
    from edm.files import (
        find_model,  # torch: a plan does without
        load_model,  # torch: a plan does without
    )

    return load_model(find_model(path_or_signature, store), device)
