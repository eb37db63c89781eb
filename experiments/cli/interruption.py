"""Says that a command was interrupted, and where in a person's own code."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path

from experiments.names import PACKAGES

LIBRARIES = {"site-packages", "dist-packages"}  # folders of what is installed


def tell_of(interrupt: KeyboardInterrupt) -> None:
    """Print to standard error that the command was interrupted, and where, if code of an extension ran."""
    place = own_place(interrupt)
    print(f"Interrupted{f' in {place}' if place else ''}.", file=sys.stderr)


def own_place(error: BaseException) -> str:
    """Return the file and line of a person's own code, such as an extension, that ran last; "" where none took part."""
    known = [Path(sysconfig.get_path("stdlib")), *(Path(__file__).parents[2] / name for name in PACKAGES)]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).absolute()
        is_library = LIBRARIES & {*path.parts} or any(path.is_relative_to(folder) for folder in known)
        if not (is_library or frame.filename.startswith("<") or path == Path(sys.argv[0]).absolute()):
            return f"{frame.filename}:{frame.lineno}"
    return ""
