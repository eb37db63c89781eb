"""How to run what is left of a sweep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.errors import UserError


@dataclass(frozen=True)
class Options:
    """How to run what is left.

    retries: of work that failed. budget_s: of devices, at most. only: names of the cells to do (names.matching), all of
    them by default. tags: a person's own, recorded with every result.
    """

    retries: int = 1
    budget_s: float | None = None
    asha: bool = False
    address: str | None = None
    only: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


TAG = re.compile(r"[\w][\w ./-]{0,249}")  # as MLflow has it
RESERVED = ("mlflow.", "edm.")


def parse_tags(texts: tuple[str, ...]) -> dict[str, str]:
    """A person's own tags, each given as KEY=VALUE; raises UserError."""
    tags: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not TAG.fullmatch(key) or key.startswith(RESERVED):
            raise UserError(
                f"--tag {text}: expected KEY=VALUE, the key of letters, digits, '_', '.', '/', '-' and not beginning "
                f"with {' or '.join(RESERVED)}"
            )
        if key in tags:
            raise UserError(f"--tag {text}: {key} is given twice; drop one")
        tags[key] = value
    return tags
