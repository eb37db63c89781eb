"""What the parts of the code consisted of that results were computed with: their definitions, by the part's digest.

<root>/code/<digest>.json    the name of the part, and the short digest of each definition that it reached
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from experiments.store.files import read_json, write_json
from experiments.store.folders import make_inside
from experiments.store.layout import CODE
from experiments.store.store import Store

BETWEEN = ": "  # a result's own part, and the role of the result that another part made: "training: network"
SEVERAL = ","  # between the digests of a part that changed while a task was computed


def code_path(store: Store, digest: str) -> Path:
    """Return where the store keeps what a part with this digest consisted of."""
    return store.root / CODE / f"{digest}.json"


def keep_definitions(store: Store, part: str, digest: str, definitions: Mapping[str, str]) -> None:
    """Keep what a part consists of."""
    path = code_path(store, digest)
    make_inside(store.root, path.parent)
    write_json(path, {"part": part, "definitions": dict(definitions)})


def definitions_of(store: Store, digest: str) -> Mapping[str, str] | None:
    """Return the definitions of a part by qualified name; None where the store does not have them."""
    content = read_json(code_path(store, digest))
    return None if content is None else content["definitions"]


def united(*codes: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of all parts, several for a part that is not the same everywhere."""
    found: dict[str, dict[str, None]] = {}
    for code in codes:
        for part, digests in code.items():
            found.setdefault(part, {}).update(dict.fromkeys(digests.split(SEVERAL)))
    return {part: SEVERAL.join(sorted(digests)) for part, digests in found.items()}


def own_part(name: str) -> str:
    """Return the part that a name in a result's code stands for, whichever of its sources it computed."""
    return name.rpartition(BETWEEN)[2]
