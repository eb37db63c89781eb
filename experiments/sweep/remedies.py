"""What a person meant that YAML reads otherwise: a decimal comma, a missing space, a list without brackets."""

from __future__ import annotations

import re
from typing import Any

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
FIELD_AND_VALUE = re.compile(r"\s*([A-Za-z_][\w.]*?)\s*[:=]\s*(\S.*)")
MOST_SEEDS = 10  # that a message writes out
SEED_KEYS = ("seed", "seeds")
KIMG = "'kimg', thousands of images"
MEANT = {  # what other tools call the length of a training, and two fields that no similar word leads to
    "epochs": f"{KIMG}: epochs x training images / 1000",
    **dict.fromkeys(
        ("steps", "iterations", "iters", "max_steps", "num_steps", "total_steps"), f"{KIMG}: steps x batch_size / 1000"
    ),
    "learning_rate": "'lr'",
    "image_size": "'resolution'",
}
INFINITE = {"inf": ".inf", "+inf": ".inf", "-inf": "-.inf", "infinity": ".inf"}


def is_stray_number(key: str) -> bool:
    """Return whether a key is a number, as the 002 in {lr: 0,002} is."""
    return NUMBER.fullmatch(key) is not None


def for_stray_number(field: str, written: str, key: str) -> str:
    """Return what is wrong with a number in the place of a field, after a field with the written value: {lr: 0,002}."""
    wanted = f"'{field}: [{written}, {key}]'"
    if written.isdigit() and key.isdigit():
        wanted = f"'{field}: {written}.{key}', or {wanted} for several values"
    return f"{written},{key} has a comma, which ends a value in braces; write {wanted}"


def field_and_value(text: str, known: tuple[str, ...]) -> str | None:
    """Return "field: value" for a text such as "lr:2e-3" or "kimg = 50"; None where it does not begin with a field."""
    found = FIELD_AND_VALUE.fullmatch(text)
    return f"{found[1]}: {found[2]}" if found and found[1] in known else None


def for_word_of_others(key: str, known: tuple[str, ...]) -> str | None:
    """Return which of the known fields other tools call `key`; None where they call none of them so."""
    meant = MEANT.get(key.lower())
    return f"did you mean {meant}?" if meant and meant.split("'")[1] in known else None


def for_seed(value: str) -> str:
    """Return where seeds are written. value: the one given, as the file has it."""
    return (
        f"the seeds of trainings are written 'seeds: [{value.strip('[]')}]' at the top level, "
        f"that of the noise of drawn images 'sampling: {{seed: ...}}'"
    )


def for_single_seed(seed: int) -> str:
    """Return what to write instead of `seeds: 3`, which may be a seed or the number of seeds."""
    alone = f"write [{seed}]"
    several = f" for the seed {seed} alone, or {list(range(seed))} for {seed} seeds"
    return alone + (several if 1 < seed <= MOST_SEEDS else "")


def as_list(written: str) -> str:
    """Return a value as a list in YAML: "1e-3, 1e-4" as [1e-3, 1e-4]."""
    parts = [part for part in re.split(r"\s*,\s*" if "," in written else r"\s+", written.strip()) if part]
    if "{" in written or "[" in written or not all(re.fullmatch(r"[\w.+-]+", part) for part in parts):
        return f"[{written}]"
    return f"[{', '.join(parts)}]"


def for_number(value: Any, whole: bool) -> str | None:
    """Return what to write instead of a value that should be a number; None where that cannot be told."""
    if isinstance(value, float):
        return f"write {value:.0f}" if value.is_integer() and abs(value) < 1e15 else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if text.lower() in INFINITE and not whole:
        return f"write {INFINITE[text.lower()]}"
    if NUMBER.fullmatch(text):
        return f"write {text} without quotes"
    for wrong, right in ((",", "."), (" ", ""), ("_", "")):
        if text.count(wrong) == 1 and NUMBER.fullmatch(text.replace(wrong, right)):
            return f"write {text.replace(wrong, right)}"
    if text.endswith("%") and NUMBER.fullmatch(text[:-1]):
        return f"write {float(text[:-1]) / 100:g}"
    return None


def for_number_as_text(value: Any) -> str | None:
    """Return what to write instead of a value that should be text."""
    return "put it in quotes" if isinstance(value, bool | int | float) else None
