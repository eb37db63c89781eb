"""Says that a command was interrupted, and where in a person's own code."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path

PACKAGES = ("edm", "experiments", "reports")


def tell_of(interrupt: KeyboardInterrupt) -> None:
    """Print to standard error that the command was interrupted, and where, if code of an extension ran."""
    place = own_place(interrupt)
    print(f"Interrupted{f' in {place}' if place else ''}.", file=sys.stderr)


def own_place(error: BaseException) -> str:
    """Return the file and line of a person's own code, such as an extension, that ran last; "" where none took part."""
    root = Path(__file__).parents[2]
    known = [Path(sys.prefix), *map(Path, sysconfig.get_paths().values()), *(root / name for name in PACKAGES)]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).absolute()
        if not frame.filename.startswith("<") and not any(path.is_relative_to(folder) for folder in known):
            return f"{frame.filename}:{frame.lineno}"
    return ""
