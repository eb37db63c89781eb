"""Downloads of published files: whole or not at all, continued where they stopped, once for all who wait for them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

if TYPE_CHECKING:
    from http.client import HTTPResponse

BLOCK_BYTES = 2**18
TIMEOUT_S = 30.0
WAIT_S = 0.5  # between looks at whether another process has finished

OnFetched = Callable[[int, int], None]  # called with bytes of a download so far, and in total


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes. bytes: its size. digest: in hex, by `algorithm`; None where it is not known."""

    url: str
    bytes: int
    digest: str | None
    algorithm: Literal["md5", "sha256"]


class WrongContent(OSError):
    """A server has sent something else than the published file."""


class CutShort(OSError):
    """A connection ended before the whole file was there."""


def download(
    file: Published,
    path: Path,
    on_progress: OnFetched = lambda _done, _total: None,
    on_wait: Callable[[], None] = lambda: None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Download a file to `path`, which appears whole and verified, or not at all.

    What has come so far is kept beside it in a file that ends in .part: a later call, in whatever process, goes on from
    there where the server can send a part of a file. A connection that ends early is opened again as long as that
    brings more. on_wait: called now and then while another process downloads the same file. Raises OSError, where the
    server sends nothing for `timeout_s` seconds, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _held(partial_path(path), on_wait) as part:
        try:
            if not path.exists():  # else another process has downloaded it meanwhile
                _complete(file, part, on_progress, timeout_s)
                os.fsync(part.fileno())
                partial_path(path).replace(path)
        finally:
            if not os.fstat(part.fileno()).st_size:
                partial_path(path).unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Return where the part of a file is kept that has come so far."""
    return path.with_name(f".{path.name}.part")


def size_of(url: str, timeout_s: float = TIMEOUT_S) -> int:
    """Return how many bytes a server says that a file has; raises OSError where it does not say."""
    with _open(url, 0, timeout_s) as response:
        if response.length is None:
            raise OSError("the server does not say how long the file is")
        return response.length


def require_reachable(url: str, timeout_s: float = TIMEOUT_S) -> None:
    """Raise OSError unless a server begins to send what it has at an address."""
    _open(url, 0, timeout_s).close()


@contextmanager
def _held(path: Path, on_wait: Callable[[], None]) -> Generator[BinaryIO]:
    """Open a partial file that no other process writes to while the block lasts."""
    while True:
        part = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "r+b")
        with part:
            while not _try_lock(part):
                on_wait()
                time.sleep(WAIT_S)
            if _is_at(part, path):
                yield part
                return
        # else whoever had it has finished or removed it


def _try_lock(part: BinaryIO) -> bool:
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(part: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(part.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _complete(file: Published, part: BinaryIO, on_progress: OnFetched, timeout_s: float) -> None:
    """Fetch what a partial file lacks. Raises WrongContent, having emptied it, where it is another file."""
    kept = part.seek(0, os.SEEK_END)
    try:
        _fetch_rest(file, part, on_progress, timeout_s)
        _verify(file, part)
    except WrongContent:
        part.truncate(0)
        if not kept:
            raise
        _complete(file, part, on_progress, timeout_s)  # what an earlier call left was of another file


def _fetch_rest(file: Published, part: BinaryIO, on_progress: OnFetched, timeout_s: float) -> None:
    """Fetch until a file is as long as it should be, as long as each connection brings it further."""
    there = furthest = part.seek(0, os.SEEK_END)
    while there != file.bytes:
        try:
            _receive(file, part, there, on_progress, timeout_s)
        except WrongContent:
            raise
        except OSError:
            if part.seek(0, os.SEEK_END) <= furthest:
                raise
        there = furthest = part.seek(0, os.SEEK_END)


def _receive(file: Published, part: BinaryIO, start: int, on_progress: OnFetched, timeout_s: float) -> None:
    """Append what one connection sends of a file from byte `start` on, or all of it where it sends that."""
    with _open(file.url, start, timeout_s) as response:
        done = start if _is_continued(response, start) else 0
        part.truncate(done)
        part.seek(done)
        for block in _blocks(response):
            done += len(block)
            if done > file.bytes:
                raise WrongContent(f"the download is not the published file: more than {file.bytes:,} bytes")
            part.write(block)
            part.flush()
            on_progress(done, file.bytes)
    if done < file.bytes:
        raise CutShort(f"the connection ended after {done:,} of {file.bytes:,} bytes")


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    """Yield what a server sends as it comes; it may end early."""
    from http.client import HTTPException  # heavy

    try:
        while block := response.read1(BLOCK_BYTES):
            yield block
    except HTTPException as error:
        raise CutShort(f"the connection ended early ({type(error).__name__}: {error})") from error


def _is_continued(response: HTTPResponse, start: int) -> bool:
    """Whether a server sends the part of the file that was asked for, and not the whole of it."""
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _verify(file: Published, part: BinaryIO) -> None:
    if file.digest is None:
        return
    part.seek(0)
    digest = hashlib.new(file.algorithm, usedforsecurity=False)
    while block := part.read(BLOCK_BYTES):
        digest.update(block)
    if digest.hexdigest() != file.digest:
        raise WrongContent(f"the download is not the published file: its {file.algorithm} is {digest.hexdigest()}")


def _open(url: str, start: int, timeout_s: float) -> HTTPResponse:
    import urllib.request  # heavy: what names a file need not fetch it
    from http.client import HTTPException
    from urllib.error import HTTPError

    headers = {"User-Agent": "edm"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        error.close()  # it holds the response, whose connection would stay open
        if error.code == 416:
            raise WrongContent(f"the server has less than {start:,} bytes") from error
        raise
    except HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
