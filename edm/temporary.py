"""Files that are new for certain: no link that somebody left under the same name is followed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def create(path: Path) -> None:
    """Create an empty file, with the permissions that the umask asks for.

    Raises FileExistsError where anything has that name, a link to nowhere included.
    """
    os.close(os.open(path, NEW, 0o666))


def create_beside(path: Path) -> Path:
    """Create an empty file beside `path` to write to, which is to take its place, and return it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    create(temporary)
    return temporary
