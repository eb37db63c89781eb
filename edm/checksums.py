"""The SHA-256 of a file."""

from __future__ import annotations

import hashlib
from io import BufferedReader
from pathlib import Path


def sha256_of(file: Path | BufferedReader) -> str:
    """Return the SHA-256 of a file, given by its path or opened, in hexadecimal. Raises OSError."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return sha256_of(opened)
    return hashlib.file_digest(file, "sha256").hexdigest()
