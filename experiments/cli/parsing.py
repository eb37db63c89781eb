"""Values of options that are more than a word or a number. Each function raises UserError for what it cannot read."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from experiments.environment import STORE_VARIABLE
from experiments.errors import UserError

if TYPE_CHECKING:
    from experiments.inspection.garbage import Keep

UNIT_S = {"m": 60.0, "h": 3600.0, "d": 24 * 3600.0}
TAG = re.compile(r"[\w][\w ./-]{0,249}")  # as MLflow has it
RESERVED = ("mlflow.", "edm.")
SERVERS = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc")


def parse_budget(text: str) -> float:
    """Return a budget such as 40h, 90m, 2d or 1.5h in seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([mhd]?)\s*", text.lower())
    if match is None or float(match[1]) == 0:
        raise UserError(f"--budget {text}: is not a length of time above 0; give for example 40h, 90m or 2d")
    if not match[2]:
        raise UserError(f"--budget {text}: has no unit; give {text.strip()}h for hours, or use m or d")
    return float(match[1]) * UNIT_S[match[2]]


def parse_formats(text: str) -> tuple[str, ...]:
    """Return formats such as html,tex."""
    from reports.formats import FORMATS

    formats = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        what = f"{unknown[0]!r} is not a format" if unknown else "names no format"
        raise UserError(f"--format {text}: {what}; choose from {', '.join(FORMATS)}, separated by commas")
    return formats


def parse_allowed(fields: list[str]) -> tuple[str, ...]:
    """Return the fields in which cells of one table may differ."""
    from reports.comparable import COMPARABLE

    for field in fields:
        if field not in COMPARABLE:
            raise UserError(f"--allow {field}: does not keep cells apart; choose from {', '.join(COMPARABLE)}")
    return tuple(dict.fromkeys(fields))


def parse_tags(texts: list[str]) -> dict[str, str]:
    """Return tags, each given as KEY=VALUE."""
    tags: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not TAG.fullmatch(key) or key.startswith(RESERVED):
            raise UserError(
                f"--tag {text}: expected KEY=VALUE, where KEY consists of letters, digits, '_', '.', '/' and '-' and "
                f"does not begin with {' or '.join(RESERVED)}"
            )
        if key in tags:
            raise UserError(f"--tag {text}: {key} is given twice; remove one of them")
        tags[key] = value
    return tags


def parse_store(folder: Path) -> Path:
    """Return the folder of a store, which need not exist yet."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--store ({STORE_VARIABLE}) {folder}: is not a folder; give the folder that holds the results")
    return folder


def parse_tracking_uri(text: str | None) -> str | None:
    """Return the address of an MLflow server or database, if one is given."""
    if not text:
        return None
    scheme = re.split(r"[+:]", text, maxsplit=1)[0].lower()
    if scheme in SERVERS or scheme in _schemes_of_plugins():
        return text
    raise UserError(
        f"--tracking-uri (MLFLOW_TRACKING_URI) {text}: is not the address of an MLflow server; give one such as "
        "http://mlflow:5000, or leave it out to use the database in the store"
    )


def _schemes_of_plugins() -> set[str]:
    from importlib.metadata import entry_points  # heavy

    return {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}


def parse_command(option: str, text: str) -> list[str]:
    """Split a command into its words, without a shell; there has to be such a program."""
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: is not a command ({error}); check its quotes") from None
    if not command or shutil.which(command[0]) is None:
        name = command[0] if command else text
        raise UserError(
            f"{option} {text}: no program {name!r} was found; give its path (the command is not run by a shell)"
        )
    return command


def parse_keep(text: str) -> Keep:
    """Parse which checkpoints to keep: last, best, all, or a list of kimg such as 1000,5000."""
    if text in ("last", "best", "all"):
        return cast(Literal["last", "best", "all"], text)
    try:
        return tuple(float(part) for part in text.strip("[] ").split(","))
    except ValueError:
        raise UserError(
            f"--keep {text}: not a policy; give last, best, all, or a list of kimg such as 1000,5000"
        ) from None
