"""Names: of our packages, and which text may become part of a path, wherever it was read."""

from __future__ import annotations

import re

PACKAGES = ("edm", "experiments", "reports")  # ours, which are installed at top level
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,=+@-]{0,199}")
NAME_RULE = "use at most 100 letters, digits, '_', '-' and '.'"


def is_name(value: object) -> bool:
    """Return whether a value can be the name that a person gives, such as a sweep's."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def is_part(value: object) -> bool:
    """Return whether a value can be the name of one file or folder, so that no path with it leads elsewhere."""
    return isinstance(value, str) and PART.fullmatch(value) is not None


def require_part(value: str) -> str:
    """Return a value that can be the name of one file or folder. Raises ValueError for any other."""
    if not is_part(value):
        raise ValueError(f"{str(value)[:100]!r} cannot be the name of a file or a folder; {NAME_RULE}")
    return value
