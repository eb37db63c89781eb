"""What a shell offers where a sweep or a cell is asked for. Never raises: that would land amid a person's typing."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from pathlib import Path

import typer

STORE_VARIABLE, DEFAULT_STORE = "EDM_SWEEP_STORE", "runs"
SUFFIXES = (".yaml", ".yml", ".zip")
MOST = 200  # offers: nobody reads more
BREAKS = ("=", ":")  # where bash cuts a word in two, as cells' names have them

Offers = Callable[[typer.Context, str], Iterable[str]]


def complete_in_bash(complete: Callable[[], None]) -> None:
    """Answer bash, which cuts words at BREAKS and keeps what is before by itself: asks with them whole, cuts after."""
    cut = _mend_words()
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            complete()
    finally:
        print(*(line[cut:] for line in output.getvalue().splitlines()), sep="\n")


def _mend_words() -> int:
    """Put the words together again that bash has cut; how much of the last one it keeps by itself."""
    words, number = os.environ.get("COMP_WORDS", "").split(), os.environ.get("COMP_CWORD", "")
    if not number.isdigit() or int(number) >= len(words):
        return 0  # a word that has not begun
    whole: list[str] = []
    for before, word in itertools.pairwise(["", *words[: int(number) + 1]]):
        if len(whole) > 1 and (word in BREAKS or before in BREAKS):
            whole[-1] += word
        else:
            whole.append(word)
    os.environ |= {"COMP_WORDS": " ".join(whole), "COMP_CWORD": str(len(whole) - 1)}
    last = words[int(number)]
    return len(whole[-1]) - (0 if last in BREAKS else len(last))


def _offering(offers: Offers) -> Callable[[typer.Context, str], list[str]]:
    """As Typer wants it: a few, and never an error."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        found: list[str] = []
        with suppress(Exception):
            found = [offer for offer in offers(ctx, incomplete) if offer.startswith(incomplete)]
        return found[:MOST]

    return complete


def _store(ctx: typer.Context) -> Path:
    given = str(ctx.params.get("store") or DEFAULT_STORE)
    return Path(given if given != DEFAULT_STORE else os.environ.get(STORE_VARIABLE) or given)


def _sweeps(ctx: typer.Context, text: str) -> Iterable[str]:
    from experiments.store.registry import remembered
    from experiments.store.store import Store

    yield from remembered(Store(_store(ctx)))
    folder, _, _ = text.rpartition("/")
    for path in sorted(Path(folder or ".").iterdir()):
        name = f"{folder}/{path.name}" if folder else path.name
        if path.is_dir() and not path.name.startswith("."):
            yield f"{name}/"
        elif path.suffix in SUFFIXES:
            yield name


def _cells(ctx: typer.Context, text: str) -> Iterable[str]:
    from experiments.store.registry import named_work, remembered
    from experiments.store.store import Store

    store = Store(_store(ctx))
    for sweep in remembered(store):
        for name in named_work(sweep, store):
            yield name
            if ":" in text:
                yield f"{sweep}:{name}"


complete_sweeps = _offering(_sweeps)
complete_cells = _offering(_cells)
