"""What a shell offers as a command is typed: sweeps and cells. Never raises: an error would appear in the prompt."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from pathlib import Path

import typer

from experiments.environment import DEFAULT_STORE, store_folder

SUFFIXES = (".yaml", ".yml", ".zip")  # of sweep files and bundles
MOST = 200  # offers: nobody reads more
BREAKS = ("=", ":", "@")  # bash splits words at these, which names of cells contain

Offers = Callable[[typer.Context, str], Iterable[str]]


def complete_in_bash(complete: Callable[[], None]) -> None:
    """Run `complete` for bash, which splits words at BREAKS: join them before, cut the offers to bash's part after."""
    cut = _join_words()
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            complete()
    finally:
        print(*(line[cut:] for line in output.getvalue().splitlines()), sep="\n")


def _join_words() -> int:
    """Join the words that bash has split, in the environment; return how much of the last one bash keeps itself."""
    words, number = os.environ.get("COMP_WORDS", "").split(), os.environ.get("COMP_CWORD", "")
    if not number.isdigit() or int(number) >= len(words):
        return 0  # the word has not begun
    joined: list[str] = []
    for before, word in itertools.pairwise(["", *words[: int(number) + 1]]):
        if len(joined) > 1 and (word in BREAKS or before in BREAKS):
            joined[-1] += word
        else:
            joined.append(word)
    os.environ |= {"COMP_WORDS": " ".join(joined), "COMP_CWORD": str(len(joined) - 1)}
    last = words[int(number)]
    return len(joined[-1]) - (0 if last in BREAKS else len(last))


def _completer(offers: Offers) -> Callable[[typer.Context, str], list[str]]:
    """Make a callback for Typer, which gives a limited number of offers and never raises."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        found: list[str] = []
        with suppress(Exception):
            found = [offer for offer in offers(ctx, incomplete) if offer.startswith(incomplete)]
        return found[:MOST]

    return complete


def _store(ctx: typer.Context) -> Path:
    given = Path(ctx.params.get("store") or DEFAULT_STORE)
    return given if given != DEFAULT_STORE else store_folder()


def _sweeps(ctx: typer.Context, text: str) -> Iterable[str]:
    from experiments.store.store import Store
    from experiments.store.sweep_records import recorded_sweeps

    yield from recorded_sweeps(Store(_store(ctx)))
    folder, _, _ = text.rpartition("/")
    for path in sorted(Path(folder or ".").iterdir()):
        name = f"{folder}/{path.name}" if folder else path.name
        if path.is_dir() and not path.name.startswith("."):
            yield f"{name}/"
        elif path.suffix in SUFFIXES:
            yield name


def _cells(ctx: typer.Context, text: str) -> Iterable[str]:
    from experiments.store.store import Store
    from experiments.store.sweep_records import named_tasks, recorded_sweeps

    store = Store(_store(ctx))
    for sweep in recorded_sweeps(store):
        for name in named_tasks(sweep, store):
            yield name
            if ":" in text:
                yield f"{sweep}:{name}"


complete_sweeps = _completer(_sweeps)
complete_cells = _completer(_cells)
