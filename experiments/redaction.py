"""Keeps passwords and tokens out of what is printed, recorded and sent, and paths out of what others get."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

HIDDEN = "***"
USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")  # of an address: user:password
# name=value and "name: value", in queries, settings and headers
SECRET = re.compile(
    r"(?i)((?:password|passwd|token|secret|api[_-]?key|access[_-]?key|authorization)\w*['\"]?\s*[=:]\s*['\"]?(?:(?:bearer|basic)\s+)?)"
    r"([^\s'\"&;,]+)"
)
FOLDERS = re.compile(r"(?<![\w.~/:-])/(?:[^/\s'\",:;<>]+/)+(?=[^/\s])")  # before the last part of an absolute path
COMMANDS = ("--on-finish", "--on-failure")  # options whose values are a person's own commands, with whatever is in them


def redact(text: str) -> str:
    """Return a text with every password and token in it replaced by ***."""
    return SECRET.sub(rf"\g<1>{HIDDEN}", USERINFO.sub(HIDDEN, text))


def without_paths(text: str) -> str:
    """Return a text in which every absolute path is cut to its last part."""
    if text.startswith("/") and "\n" not in text:  # all of it is a path, perhaps with spaces
        return text.rstrip("/").rpartition("/")[2] or text
    return FOLDERS.sub("", text)


def redacted_command(words: Iterable[str]) -> str:
    """Return a command as it is typed, without its secrets and without a person's own commands in its options."""
    shown: list[str] = []
    for word in words:
        option, equals, _ = word.partition("=")
        if shown and shown[-1] in COMMANDS:
            shown.append(HIDDEN)
        elif option in COMMANDS and equals:
            shown.append(f"{option}={HIDDEN}")
        else:
            shown.append(redact(word))
    return shlex.join(shown)
