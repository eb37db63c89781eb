"""The published weights of feature extractors: found where a person put them, downloaded where absent, and verified."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edm.checksums import sha256_of
from edm.config import Features
from edm.download import TIMEOUT_S, OnFetched, Published, download, require_reachable

SUFFIXES = (".pth", ".pt", ".safetensors")  # a path that ends so means a file, even before it exists


@dataclass(frozen=True)
class Weights:
    """A published file of weights.

    name: what it is for, in messages. file: its name. url: where to get it. bytes, sha256: size and digest.
    """

    name: str
    file: str
    url: str
    bytes: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.file} ({self.bytes:,} bytes, sha256 {self.sha256})"


INCEPTION_WEIGHTS = Weights(
    name="features: inception",
    file="pt_inception-2015-12-05-6726825d.pth",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    bytes=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
DINOV2_WEIGHTS = Weights(
    name="features: dinov2",
    file="dinov2_vitl14_pretrain.pth",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    bytes=1_217_586_395,
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)
PUBLISHED: dict[Features, Weights] = {"inception": INCEPTION_WEIGHTS, "dinov2": DINOV2_WEIGHTS}  # not the classifier


class WeightsError(RuntimeError):
    """Weights of a feature extractor are absent or wrong; the message names the file, its checksum and the remedy."""


class MissingWeightsError(WeightsError):
    """Weights are in none of the expected places, and could not be downloaded.

    weights: the file. places: where it was looked for; it belongs at the first. reason: why the download failed.
    """

    def __init__(self, weights: Weights, places: Sequence[Path], reason: str) -> None:
        super().__init__(weights, places, reason)
        self.weights, self.places, self.reason = weights, tuple(places), reason

    def __str__(self) -> str:
        looked = " nor in ".join(str(path.parent) for path in self.places)
        return (
            f"{self.weights.name}: its weights are not in {looked} and could not be fetched ({self.reason}); "
            f"get {self.weights} from {self.weights.url} and put it at {self.places[0]}"
        )


class OtherWeightsError(WeightsError):
    """The file that a person gave is another one, and the right one is not beside it nor in torch's cache.

    weights: the right file. given: the path of the other. cache: torch's folder of downloads.
    """

    def __init__(self, weights: Weights, given: Path, cache: Path) -> None:
        super().__init__(weights, given, cache)
        self.weights, self.given, self.cache = weights, given, cache

    def __str__(self) -> str:
        return (
            f"{self.weights.name}: {self.given} is not {self.weights}, which is neither beside it nor in {self.cache}; "
            "give that file, or a folder for it"
        )


class MissingPackageError(WeightsError):
    """A package without which weights are of no use is not installed; `name` and `package` name the two."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(name, package)
        self.name, self.package = name, package

    def __str__(self) -> str:
        return f"{self.name} needs the package {self.package}, which is not installed; install it"


def find_weights(
    weights: Weights,
    given: Path | None = None,
    on_progress: OnFetched = lambda _done, _total: None,
    on_wait: Callable[[], None] = lambda: None,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Return the path of a published file after checking its SHA-256; it is downloaded first if it is nowhere.

    It is looked for at `given` (the file itself, or its folder) and then in torch's hub cache, and downloaded into the
    first of these as `edm.download.download` does it, which calls `on_progress` and `on_wait`. Raises WeightsError if
    it is not the published file, or absent and cannot be downloaded.
    """
    found = verified_weights(weights, given)
    if found is not None:
        return found
    places = _places(weights, given)
    file = Published(weights.url, weights.bytes, weights.sha256, "sha256")
    try:
        download(file, places[0], on_progress, on_wait, timeout_s)
    except OSError as error:
        raise MissingWeightsError(weights, places, str(error)) from error
    return places[0]


def require_weights(weights: Weights, given: Path | None = None) -> None:
    """Raise WeightsError where `find_weights` would, as far as that shows without a download."""
    if verified_weights(weights, given) is not None:
        return
    try:
        require_reachable(weights.url)
    except OSError as error:
        raise MissingWeightsError(weights, _places(weights, given), str(error)) from error


def verified_weights(weights: Weights, given: Path | None = None) -> Path | None:
    """Return where a file is; None if it is in none of the places. Raises WeightsError if it is another file."""
    path = present_weights(weights, given)
    if path is not None:
        _verify(weights, path)
    return path


def present_weights(weights: Weights, given: Path | None = None) -> Path | None:
    """Return where a file is, without checking or downloading it; None if it is in none of the places."""
    return next((path for path in _places(weights, given) if path.is_file()), None)


def _places(weights: Weights, given: Path | None) -> list[Path]:
    """Return where a file may be; it is downloaded to the first of these."""
    cache = _torch_cache() / weights.file
    if given is None:
        return [cache]
    if given.name == weights.file and not given.is_dir():
        return [given, cache]
    if given.is_file() or (given.suffix in SUFFIXES and not given.exists()):
        return _places_beside(weights, given, cache)
    return [given / weights.file, cache]


def _torch_cache() -> Path:
    """Return where torch keeps downloads, without loading torch for it."""
    if "torch" in sys.modules:
        import torch.hub

        return Path(torch.hub.get_dir()) / "checkpoints"
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{caches}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _places_beside(weights: Weights, given: Path, cache: Path) -> list[Path]:
    """Return where a file may be if `given` has another name: it may be renamed, or of another extractor."""
    if given.is_file() and given.stat().st_size == weights.bytes:
        return [given]
    found = [path for path in (given.with_name(weights.file), cache) if path.is_file()]
    if found:
        return found
    raise OtherWeightsError(weights, given, cache.parent)


def _verify(weights: Weights, path: Path) -> None:
    """Raise WeightsError unless a file is the published one."""
    try:
        found, size = sha256_of(path), path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); give the published {weights.file}") from error
    if found != weights.sha256:
        raise WeightsError(
            f"{path} is {'cut short' if size < weights.bytes else 'not the published file'}: {size:,} bytes with "
            f"sha256 {found}, expected {weights}; delete it to have it fetched again, or replace it by {weights.url}"
        )
