"""Downloads: whole or not at all, and nothing but the file that was meant."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError

from edm.temporary import create_beside

BLOCK_BYTES = 2**20
TIMEOUT_S = 30.0

OnFetched = Callable[[int, int], None]  # bytes of a download so far, and in total, or 0 where the server does not say


def download(
    url: str,
    path: Path,
    on_progress: OnFetched,
    timeout_s: float = TIMEOUT_S,
    size: int | None = None,
    sha256: str | None = None,
) -> None:
    """Download a file to `path`, whole or not at all.

    size, sha256: of the file, where they are known. Raises OSError or HTTPException if it cannot be had, is another
    file, or if the server sends nothing for `timeout_s` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = create_beside(path)  # unique, as another process may download it too
    try:
        with part.open("wb") as file, _open(url, timeout_s) as response:
            found = _copy(response, file, on_progress, size)
            if sha256 is not None and found != sha256:
                raise OSError(f"the download is not the published file: its sha256 is {found}")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _copy(response: HTTPResponse, file: BinaryIO, on_progress: OnFetched, size: int | None) -> str:
    """Write what a server sends to a file; return its SHA-256."""
    digest, done = hashlib.sha256(), 0
    total = size if size is not None else response.length or 0
    while block := response.read(BLOCK_BYTES):
        done += len(block)
        if size is not None and done > size:
            raise OSError(f"the download is not the published file: more than {size:,} bytes")
        file.write(block)
        digest.update(block)
        on_progress(done, total)
    if done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
    return digest.hexdigest()


def _open(url: str, timeout_s: float) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "edm"})
    try:
        return urllib.request.urlopen(request, timeout=timeout_s)
    except HTTPError as error:
        error.close()  # it holds the response, whose connection would stay open
        raise
