"""What is wrong with a file that should hold a trained network."""

from __future__ import annotations

import re


class PretrainedError(ValueError):
    """A file or folder does not hold a trained network that can be used; the message names it and the remedy."""


def in_a_line(error: Exception) -> str:
    """Return what was wrong with a pickle in a line; of torch's advice to load such a file all the same, nothing."""
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    text = " ".join(str(error).split())
    if refused := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it refers to {refused[1]}, which is no tensor"
    return "it is damaged, or no file of torch" if "weights_only" in text else text[:300] or type(error).__name__
