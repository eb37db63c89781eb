"""What a shell offers where a sweep or a cell is asked for. Never raises: that would land amid a person's typing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from pathlib import Path

import typer

STORE_VARIABLE, DEFAULT_STORE = "EDM_SWEEP_STORE", "runs"
SUFFIXES = (".yaml", ".yml", ".zip")
MOST = 200  # offers: nobody reads more
BREAKS = ("=", ":")  # where bash cuts a word in two, as cells' names have them

Offers = Callable[[typer.Context, str], Iterable[str]]


def _offering(offers: Offers) -> Callable[[typer.Context, list[str], str], list[str]]:
    """As Typer wants it; in bash, only what comes after the place where it cut the word."""

    @wraps(offers)
    def complete(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
        text = _whole(args, incomplete)
        cut = len(text) if incomplete in BREAKS else len(text) - len(incomplete)
        found: list[str] = []
        with suppress(Exception):
            found = [offer[cut:] for offer in offers(ctx, text) if offer.startswith(text)]
        return found[:MOST]

    return complete


def _whole(args: list[str], incomplete: str) -> str:
    """The word that bash has cut in parts."""
    words = [*args, incomplete]
    text = words.pop()
    if text in BREAKS and words:
        text = words.pop() + text
    while len(words) > 1 and words[-1] in BREAKS:
        text = words.pop() + text
        text = words.pop() + text
    return text


def _store(ctx: typer.Context) -> Path:
    given = ctx.params.get("store")
    return Path(given or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)


def _sweeps(ctx: typer.Context, text: str) -> Iterable[str]:
    from experiments.register import remembered
    from experiments.store import Store

    yield from remembered(Store(_store(ctx)))
    folder, _, _ = text.rpartition("/")
    for path in sorted(Path(folder or ".").iterdir()):
        name = f"{folder}/{path.name}" if folder else path.name
        if path.is_dir() and not path.name.startswith("."):
            yield f"{name}/"
        elif path.suffix in SUFFIXES:
            yield name


def _cells(ctx: typer.Context, text: str) -> Iterable[str]:
    from experiments.register import named_work, remembered
    from experiments.store import Store

    store = Store(_store(ctx))
    for sweep in remembered(store):
        for name in named_work(sweep, store):
            yield name
            if ":" in text:
                yield f"{sweep}:{name}"


complete_sweeps = _offering(_sweeps)
complete_cells = _offering(_cells)
