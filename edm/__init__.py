"""EDM diffusion models (Karras et al. 2022): data sets, networks, training, sampling and scores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edm.precondition import Denoiser

# the one place where edm knows how a store of sweeps is found and laid out, so that `edm.load("85cc")` is all it takes
STORE_VARIABLE, DEFAULT_STORE, TRAININGS = "EDM_SWEEP_STORE", "runs", "trainings"


def load(path_or_signature: str | Path, store: str | Path | None = None, device: str = "cpu") -> Denoiser:
    """Load a trained denoiser, (x, sigma, label) -> denoised, ready to sample on `device`.

    path_or_signature: a model or checkpoint file, the folder of a training, or the beginning of a training's signature
    in `store`. store: the folder of results; by default where EDM_SWEEP_STORE points, else `runs` in the current
    directory. Raises ValueError if there is no such model.
    """
    from edm.files import find_model, load_model  # heavy: torch

    root = Path(store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
    return load_model(find_model(path_or_signature, root / TRAININGS), device)
