"""Reading result.json with its checksum, and checking the files that it vouches for."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.names import require_part
from experiments.store.files import checksum
from experiments.store.json_text import parse_json
from experiments.store.layout import RESULT

SHA256_DIGITS = 64
HIDDEN_ORIGINS = ("host", "command")  # of the provenance
OWN_CHECKSUM = "result_sha256"  # of a result: over all the rest of it


def read_result(path: Path) -> dict[str, Any] | None:
    """Return the content of a result.json; None where there is none. Raises ValueError where it is damaged."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            raise ValueError(f"{RESULT}: unreadable ({error.strerror})") from None
        raise UserError(f"{path}: cannot be read ({error.strerror}); give yourself access to the store") from None
    result = parse_json(content)
    if not isinstance(result, dict):
        raise ValueError(f"{RESULT}: holds no result")
    own = result.pop(OWN_CHECKSUM, None) or _misnamed_checksum(result)
    if own is not None and own != _digest(result):
        raise ValueError(f"{RESULT}: its checksum is wrong")
    for name in result.get("files") or {}:
        for part in str(name).split("/"):
            require_part(part)  # whatever is done with it is done in the folder of the task
    return result


def _misnamed_checksum(result: dict[str, Any]) -> str | None:
    """Return the last value if it looks like a SHA-256: its key may be damaged. None in results without a checksum."""
    last = next(reversed(result.values()), None)
    return last if isinstance(last, str) and len(last) == SHA256_DIGITS else None


def with_checksum(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its own checksum added."""
    return {**result, OWN_CHECKSUM: _digest(json.loads(json.dumps(result)))}


def without_origins(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that does not say on which host, by which command and from which changed code it was made."""
    checked = result.pop(OWN_CHECKSUM, None) is not None
    origins = {name: value for name, value in result.get("provenance", {}).items() if name != "git_diff"}
    result["provenance"] = {**origins, **{name: "" for name in HIDDEN_ORIGINS if name in origins}}
    if "host" in result.get("drawn", {}):
        result["drawn"]["host"] = []
    return with_checksum(result) if checked else result


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_fault(path: Path, expected: str) -> str | None:
    """Return what is wrong with a file that should have a checksum; None where it is what was written."""
    try:
        found = _checksum_of_present(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        if error.errno != errno.EIO:  # anything else, as a missing permission, is no damage
            raise
        return "unreadable"
    return None if found == expected else f"sha256 {found[:16]}, recorded {expected[:16]}"


def _checksum_of_present(path: Path) -> str:
    try:
        return checksum(path)
    except FileNotFoundError:
        with suppress(OSError):
            os.listdir(path.parent)  # a network file system may remember that there was none, until it is asked
        return checksum(path)
