"""How durations, counts and sizes are said."""

from __future__ import annotations

import itertools


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 42 s, 3 min 20 s, 5 h 12 min, 2 d 4 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    (big, name), (small, rest_name) = next(pair for pair in itertools.pairwise(units) if seconds >= pair[0][0])
    whole, rest = seconds // big, seconds % big // small
    return f"{whole} {name} {rest} {rest_name}" if rest else f"{whole} {name}"


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


def process_text(host: str, pid: int) -> str:
    """Return how people are told of a process of some machine."""
    return f"host {host}, process {pid}"
