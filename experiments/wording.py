"""How durations, counts and sizes are said, and how text from elsewhere is shown."""

from __future__ import annotations

import difflib
import itertools
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

HOUR_S = 3600.0
LIKELY = 0.6  # how much of two words must agree, for one to be the other with a mistake
MOST_MEANT = 3
SHORTEST_PART = 3  # letters of a word that are enough to stand for a longer one


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 42 s, 3 min 20 s, 5 h 12 min, 2 d 4 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    (big, name), (small, rest_name) = next(pair for pair in itertools.pairwise(units) if seconds >= pair[0][0])
    whole, rest = seconds // big, seconds % big // small
    return f"{whole} {name} {rest} {rest_name}" if rest else f"{whole} {name}"


def utc_text(seconds: float) -> str:
    """Return a time, in seconds since 1970, as records have it: 2026-11-28T00:12:34Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 training, 3 trainings."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(num_bytes: float) -> str:
    """Return a number of bytes in the largest unit that fits: 1.2 GiB."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes:g} bytes"


def on_one_line(text: str, most: int = 500) -> str:
    """Return a text on one line, cut after so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]} ..."


def printable(text: str, keep: str = "") -> str:
    """Return a text in which what would control a terminal, or reverse the text, is written out, such as \\x1b.

    keep: characters to leave as they are, such as a line break.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_plain(letter) or letter in keep else _escaped(letter) for letter in text)


def _is_plain(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # spaces of any width


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def shortened(text: str, most: int = 80) -> str:
    """Return a text, cut after so many characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def shortest_ends(paths: Iterable[str]) -> dict[str, str]:
    """Return the end of each path that no other one has: its last part, or a/net and b/net where that is the same."""
    parts = {path: Path(path).parts for path in paths}
    ends: dict[str, str] = {}
    for path, own in parts.items():
        others = [other for other in parts.values() if other != own]
        lengths = range(1, len(own) + 1)
        length = next((n for n in lengths if all(other[-n:] != own[-n:] for other in others)), len(own))
        ends[path] = str(Path(*own[-length:])) if own else path
    return ends


def process_text(host: str, pid: int) -> str:
    """Return how people are told of a process of some machine."""
    return f"host {host}, process {pid}"


def one_of(words: Sequence[str]) -> str:
    """Return words as a choice, such as "nano, micro or mini"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def shortened_list(names: Sequence[str], most: int = 12) -> str:
    """Return the first names in one line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(word: str, choices: Iterable[str], show: Callable[[str], str] = repr) -> str:
    """Return a question that names the choices that resemble a word; empty where none does.

    show: writes a choice, by default in quotes.
    """
    meant = resembling(word, choices)
    return f"did you mean {one_of([show(choice) for choice in meant])}?" if meant else ""


def resembling(word: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that a word may stand for, whatever their case."""
    return _meant(shortened(word).lower(), {choice.lower(): choice for choice in choices})


def _meant(word: str, choices: dict[str, str]) -> list[str]:
    """Return the choices, given by their lower-case spelling, that a word may stand for."""
    part = len(word) >= SHORTEST_PART
    named = [written for choice, written in choices.items() if choice.endswith(f".{word}")]
    begun = named or [written for choice, written in choices.items() if part and choice.startswith(f"{word}_")]
    if begun and word not in choices:
        return begun[:MOST_MEANT]
    if close := difflib.get_close_matches(word, choices, n=1, cutoff=LIKELY):
        return [choices[close[0]]]
    holding = [written for choice, written in choices.items() if part and word in choice]
    return holding if len(holding) == 1 else []
