"""Mutations of valid files: of text by words, of bytes, and of JSON by its values."""

import copy
import re
from typing import Any

from hypothesis import strategies as st

WORDS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ",",
        "-",
        "- ",
        "\n",
        "\t",
        "  ",
        "#",
        "&a",
        "*a",
        "<<: *a",
        "!!binary",
        "!x",
        "|",
    ),
    *("null", "true", "yes", "~", ".nan", ".inf", "-1", "0", "010", "2:00", "1e999", "0x10", "1_0", "9" * 30, "'", '"'),
    *(
        "2024-01-01",
        "\x00",
        "\x1b[31m",
        "\u202e",
        "\ufeff",
        "é",
        "[" * 60,
        "a" * 300,
        "../../x",
        "---",
        "...",
        "%YAML 1.1",
    ),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 10**30, 1e308, float("nan"), float("inf"), "", "x" * 1000, "../../x", "/etc/passwd"),
    *("\x1b[31mred", "a\nb", "\u202eabc", "=1+1", [], {}, [[]], [None], {"a": 1}, [1] * 50, {"": ""}, "null", "nan"),
]
BYTES = [
    b"\x00",
    b"\xff" * 8,
    b"\x7f" * 8,
    b"[",
    b"{" * 40,
    b"PK\x03\x04",
    b"\x1b[31m",
    b"\n",
    b"(100000000000,)",
    b"'<U9999999'",
]

positions = st.floats(0, 1, exclude_max=True)


@st.composite
def texts(draw: st.DrawFn, text: str) -> str:
    """A text in which some words were replaced, removed, doubled or put in."""
    parts = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(draw(st.integers(1, 3))):
        at = int(draw(positions) * len(parts))
        word = draw(st.one_of(st.sampled_from(WORDS), st.sampled_from(parts)))
        how = draw(st.sampled_from(["replace", "insert", "remove", "cut", "double"]))
        if how == "replace":
            parts[at : at + 1] = [word]
        elif how == "insert":
            parts.insert(at, word)
        elif how == "remove":
            del parts[at : at + draw(st.integers(1, 5))]
        elif how == "double":
            parts[at:at] = parts[at : at + 10]
        else:
            del parts[at:]
        parts = parts or [""]
    return "".join(parts)


@st.composite
def contents(draw: st.DrawFn, content: bytes, start: int = 0) -> bytes:
    """Bytes of which some were changed, removed or put in; half of the changes are in the first `start` of them."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        most = start if start and draw(st.booleans()) else len(changed)
        at = int(draw(positions) * most)
        how = draw(st.sampled_from(["byte", "overwrite", "insert", "remove", "cut"]))
        if how == "byte" and at < len(changed):
            changed[at] = draw(st.integers(0, 255))
        elif how in ("overwrite", "insert"):
            piece = draw(st.one_of(st.sampled_from(BYTES), st.binary(min_size=1, max_size=8)))
            changed[at : at + (len(piece) if how == "overwrite" else 0)] = piece
        elif how == "remove":
            del changed[at : at + draw(st.integers(1, 64))]
        elif how == "cut" and draw(st.booleans()):
            del changed[at:]
    return bytes(changed)


@st.composite
def documents(draw: st.DrawFn, document: Any) -> Any:
    """JSON in which some values were replaced or removed."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        place, key = changed, None
        for _ in range(draw(st.integers(1, 6))):
            inner = place if key is None else place[key]
            keys = (
                list(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
            )
            if not keys:
                break
            place, key = inner, draw(st.sampled_from(keys))
        if key is None:
            return draw(st.sampled_from(VALUES))
        if isinstance(place, dict) and draw(st.integers(0, 4)) == 0:
            del place[key]
        else:
            place[key] = draw(st.sampled_from(VALUES))
    return changed
