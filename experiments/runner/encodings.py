"""Whether Ray can be given the paths of a run: it sends them as UTF-8."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from experiments.errors import UserError
from experiments.store.store import Store


def require_encodable(store: Store) -> None:
    """Raise UserError if a path has bytes that are no letters in this process's encoding; nothing has started then.

    These are the store's, the current folder's, and those on the command line, which Ray records.
    """
    for text in (str(store.root.absolute()), str(Path.cwd()), *sys.argv):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(_problem(os.fsencode(text), sys.getfilesystemencoding())) from None


def _problem(path: bytes, encoding: str) -> str:
    try:
        shown = path.decode()
    except UnicodeDecodeError:
        return f"{path.decode(errors='replace')}: is no valid UTF-8, which Ray needs; rename it, or choose another path"
    return (
        f"{shown}: Python reads paths as {encoding} here, which lacks some of these letters, and Ray cannot start; "
        "set PYTHONUTF8=1, or a locale such as LC_ALL=C.UTF-8 without PYTHONUTF8=0"
    )
