"""Keeps passwords and tokens out of what is printed, recorded and sent, and paths out of what others get."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

HIDDEN = "***"
USERINFO = re.compile(r"(?<=://)[^/\s'\"]+(?=@)")  # of an address: user:password
WORDS = ("pass", "token", "secret", "key", "authorization")  # one of which is in every name of a secret
# the patterns of names are text, since compiling them takes longer than most commands' errors, which hold none
NAME = (  # of a secret, with what may be joined to it: DB_PASSWORD, secret-key, token2; a tokenizer is none
    r"(?:pass(?:word|wd|phrase)|token(?!i[sz])|secret|api[_-]?key|access[_-]?key|private[_-]?key|authorization)[\w-]*"
)
MESSAGE = (  # how that begins which is said of a file or a setting of such a name, as in "passwd: no such file"
    r"(?:no such|no (?:file|value|key|default)|not a|(?:(?:file|command|module|key|value|field) )?"
    r"(?:not (?:found|set|given|allowed|permitted|supported|readable|writable|defined)|is required|required)|"
    r"(?:permission|access) denied|operation not|read-only file|is a directory|inappropriate ioctl|"
    r"(?:must|cannot|could not|can't|should) (?:not )?(?:be|have|read|open|find|write)|does not (?:exist|match)|"
    r"(?:is|was|are|were) (?:no|not|missing|empty|too|invalid|unset|wrong|expired|needed)|authentication token|"
    r"(?:unexpected|invalid|missing|unknown|expected) (?:end|eof|token|character|value|argument|option|key|string)|"
    r"(?:needs|takes|requires|expects) (?:a|an|one))(?=[\s.,;:)]|$)"
)
SCHEME = r"(?:(?:bearer|basic|token|digest|negotiate|api-?key)\s+)?"  # of the header Authorization
# a value is in quotes, where it may have spaces, or it is a word; the groups are what is shown of it
IN_QUOTES = rf"(?P<quote>['\"])(?P<scheme>{SCHEME})(?:\\.|(?!(?P=quote))[^\\])+(?=(?P=quote))"
VALUE = rf"(?:{IN_QUOTES}|(?P<word>\\?['\"]?{SCHEME})[^\s'\"&;,]+)"
# name=value and "name: value", in queries, settings, headers, YAML and JSON
ASSIGNED = rf"(?i)(?P<name>{NAME}\\?['\"]?\s*(?:=|:(?!\s+{MESSAGE}))\s*){VALUE}"
OPTION = rf"(?i)--?(?:[a-z0-9]+-)*{NAME}"
# --password VALUE, but not where a sentence speaks of the option
AFTER_OPTION = (
    rf"(?i)(?P<name>(?<![\w-])--?(?:[a-z0-9]+-)*{NAME}\s+)(?!-|{MESSAGE}|(?:and|or|is|was|to|in|with|if|for)\s){VALUE}"
)
FOLDERS = re.compile(r"(?<![\w.~/:-])/(?:[^/\s'\",:;<>]+/)+(?=[^/\s])")  # before the last part of an absolute path
COMMANDS = ("--on-finish", "--on-failure")  # options whose values are a person's own commands, with whatever is in them


def redact(text: str) -> str:
    """Return a text with every password and token in it replaced by ***."""
    shown = USERINFO.sub(HIDDEN, text)
    if _may_name_a_secret(shown):
        for pattern in (ASSIGNED, AFTER_OPTION):
            shown = re.sub(pattern, _hidden, shown)
    return shown


def _may_name_a_secret(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in WORDS)


def _hidden(found: re.Match[str]) -> str:
    """What is shown of a secret: its name, its quotation mark and its scheme."""
    parts = (found[group] or "" for group in ("name", "quote", "scheme", "word"))
    return f"{''.join(parts)}{HIDDEN}"


def _is_secret_option(word: str) -> bool:
    return word.startswith("-") and _may_name_a_secret(word) and re.fullmatch(OPTION, word) is not None


def without_paths(text: str) -> str:
    """Return a text in which every absolute path is cut to its last part."""
    if not text.startswith("/") or "\n" in text:
        return FOLDERS.sub("", text)
    path, colon, said = text.partition(": ")  # all of it is a path, perhaps with spaces, or what is said of one
    return (path.rstrip("/").rpartition("/")[2] or path) + colon + FOLDERS.sub("", said)


def redacted_command(words: Iterable[str]) -> str:
    """Return a command as it is typed, without its secrets and without a person's own commands in its options."""
    shown: list[str] = []
    for word in words:
        option, equals, _ = word.partition("=")
        if shown and (shown[-1] in COMMANDS or _is_secret_option(shown[-1])):
            shown.append(HIDDEN)
        elif option in COMMANDS and equals:
            shown.append(f"{option}={HIDDEN}")
        else:
            shown.append(redact(word))
    return shlex.join(shown)
