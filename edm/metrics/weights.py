"""The published weights of feature extractors: looked for where a person put them, fetched where absent, verified."""

from __future__ import annotations

import hashlib
import os
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError

WEIGHTS_VARIABLE = "EDM_SWEEP_WEIGHTS"
SUFFIXES = (".pth", ".pt", ".safetensors")  # of what is a file of weights even where nothing is there yet
BLOCK_BYTES = 2**20
TIMEOUT_S = 30.0

OnFetched = Callable[[int, int], None]  # hears how many bytes of a download are there, and how many there will be


class WeightsError(RuntimeError):
    """Weights of a feature extractor are absent or wrong; the message says which, its checksum and where to put it."""


@dataclass(frozen=True)
class Weights:
    """A published file of weights.

    name: what it is for, in a person's words. file, url, bytes, sha256: what it is called, where it is, its content.
    """

    name: str
    file: str
    url: str
    bytes: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.file} ({self.bytes:,} bytes, sha256 {self.sha256})"


def find_weights(
    weights: Weights, folder: Path | None = None, on_progress: OnFetched = lambda _done, _total: None
) -> Path:
    """Where a published file is, its SHA-256 compared; it is fetched first if it is nowhere.

    Looked for in `folder`, else where EDM_SWEEP_WEIGHTS points (the file or its folder) and then in torch's hub cache.
    Fetched into the first of these, whole or not at all; `on_progress` hears of bytes done and in total.
    Raises WeightsError where it is not the published one, or is absent and cannot be fetched.
    """
    places = _places(weights, folder)
    for path in places:
        if path.is_file():
            _verify(weights, path)
            return path
    try:
        _fetch(weights, places[0], on_progress)
    except (OSError, HTTPException) as error:
        raise _absent(weights, places, error) from error
    return places[0]


def present_weights(weights: Weights, folder: Path | None = None) -> Path | None:
    """Where a published file is, its checksum not compared and nothing fetched; None where it is nowhere."""
    return next((path for path in _places(weights, folder) if path.is_file()), None)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _places(weights: Weights, folder: Path | None) -> list[Path]:
    """Where a file may be, the place that it is fetched to first."""
    if folder is not None:
        return [folder / weights.file]
    cache = _torch_cache() / weights.file
    given = os.environ.get(WEIGHTS_VARIABLE)
    if not given:
        return [cache]
    place = Path(given).expanduser()
    if place.name == weights.file and not place.is_dir():
        return [place, cache]
    if place.is_file() or (place.suffix in SUFFIXES and not place.exists()):
        return _places_beside(weights, place, cache)
    return [place / weights.file, cache]


def _torch_cache() -> Path:
    import torch.hub  # heavy

    return Path(torch.hub.get_dir()) / "checkpoints"


def _places_beside(weights: Weights, place: Path, cache: Path) -> list[Path]:
    """Where a file may be if the variable points to one of another name: that, renamed, or of another extractor."""
    if place.is_file() and place.stat().st_size == weights.bytes:
        return [place]
    found = [path for path in (place.with_name(weights.file), cache) if path.is_file()]
    if found:
        return found
    raise WeightsError(
        f"{weights.name}: {WEIGHTS_VARIABLE} points to {place}, which is not {weights}, and that is neither beside it "
        f"nor in {cache.parent}; point it to that file or to a folder for it, or unset it to have it fetched"
    )


def _verify(weights: Weights, path: Path) -> None:
    """Raise WeightsError unless a file is the published one."""
    try:
        found, size = sha256_of(path), path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); give the published {weights.file}") from error
    if found != weights.sha256:
        raise WeightsError(
            f"{path} is {'cut short' if size < weights.bytes else 'not the published file'}: {size:,} bytes with "
            f"sha256 {found}, expected {weights}; delete it and it is fetched anew, or replace it by {weights.url}"
        )


def _fetch(weights: Weights, path: Path, on_progress: OnFetched) -> None:
    """Download a file whole or not at all; raises OSError or HTTPException."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")  # its own, should another process fetch it as well
    try:
        with part.open("xb") as file:
            _download(weights, file, on_progress)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _download(weights: Weights, file: BinaryIO, on_progress: OnFetched) -> None:
    digest, done = hashlib.sha256(), 0
    with _open(weights.url) as response:
        while block := response.read(BLOCK_BYTES):
            done += len(block)
            if done > weights.bytes:
                raise OSError(f"what came is not the published file: more than {weights.bytes:,} bytes")
            file.write(block)
            digest.update(block)
            on_progress(done, weights.bytes)
    if done < weights.bytes:
        raise OSError(f"the connection ended after {done:,} of {weights.bytes:,} bytes")
    if digest.hexdigest() != weights.sha256:
        raise OSError(f"what came is not the published file: its sha256 is {digest.hexdigest()}")


def _open(url: str) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "edm-sweep"})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()  # it is the response too, with a connection that stays open
        raise


def _absent(weights: Weights, places: Sequence[Path], error: Exception) -> WeightsError:
    looked = " nor in ".join(str(path.parent) for path in places)
    return WeightsError(
        f"{weights.name}: its weights are not in {looked} and could not be fetched ({error}); "
        f"get {weights} from {weights.url} and put it at {places[0]}, or point {WEIGHTS_VARIABLE} to it; "
        "or use 'evaluation.features: classifier', which needs no download"
    )
