"""What a sweep is called where it was run with overrides or for some of its cells: SWEEP@CHANGE+CHANGE.

Such a variant has its own record, report and MLflow experiment, so it never takes the place of the sweep.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

MARK, JOIN = "@", "+"
LONGEST = 60  # characters after the mark
UNSAFE = re.compile(r"[^A-Za-z0-9_.,=-]+")
VARIANT = re.compile(rf"[A-Za-z0-9_.,=+-]{{1,{LONGEST}}}")
ONLY = "only="  # begins the change of a run of some cells
DIGITS = 8  # of the SHA-256 of what cannot be written out


def variant_name(sweep: str, changes: Iterable[str]) -> str:
    """Return the name of a sweep, or of a variant of one, with further changes such as `evaluation.images=100`.

    The result can be the name of a folder. Changes that are too long, or have characters that a name cannot have, are
    shortened and end with a digest of the whole.
    """
    base, _, earlier = sweep.partition(MARK)
    parts = [*(earlier.split(JOIN) if earlier else ()), *changes]
    if not parts:
        return base
    whole, short = JOIN.join(parts), JOIN.join(UNSAFE.sub("-", part) for part in parts)
    if short != whole or len(whole) > LONGEST:
        digest = hashlib.sha256(whole.encode()).hexdigest()[:DIGITS]
        short = f"{short[: LONGEST - DIGITS - 1].strip('-.+,=')}-{digest}"
    return f"{base}{MARK}{short}"


def override_texts(overrides: Mapping[str, Any]) -> list[str]:
    """Return overrides of fields as the changes of a variant, in an order that does not depend on theirs."""
    return [f"{field}={_text(value)}" for field, value in sorted(overrides.items())]


def selection_text(patterns: Iterable[str]) -> str:
    """Return the change of a variant that has only the cells that some patterns match."""
    return ONLY + ",".join(dict.fromkeys(patterns))


def is_variant(name: str) -> bool:
    """Return whether a name is that of a variant."""
    return MARK in name


def includes(sweep: str, name: str) -> bool:
    """Return whether what runs under `name` is the sweep itself or some of its cells, and not another variant."""
    separator = JOIN if is_variant(sweep) else MARK
    return name == sweep or name.startswith(f"{sweep}{separator}{ONLY}")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if isinstance(value, str) else json.dumps(value, default=str)
