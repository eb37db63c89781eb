"""Networks that NVlabs publishes with EDM, by name: downloaded once, and checked before every use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edm.checksums import sha256_of
from edm.config import Architecture
from edm.download import OnFetched, Published, download, size_of
from edm.pretrained.errors import PretrainedError
from edm.temporary import create_beside

ADDRESS = "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/"
LICENSE = "CC BY-NC-SA 4.0"


@dataclass(frozen=True)
class PublishedNetwork:
    """A network by the name of its file, and what is known of it.

    sha256: of the file, where its publisher names it. label_dropout: share of labels dropped in its training; 0 leaves
    nothing that guidance could lead away from.
    """

    name: str
    architecture: Architecture
    resolution: int
    num_classes: int = 0
    sha256: str | None = None
    label_dropout: float = 0.0

    @property
    def url(self) -> str:
        """The address of the file."""
        return f"{ADDRESS}{self.name}.pkl"

    def place(self, folder: Path) -> Path:
        """Return where the file belongs in a folder of downloads."""
        return folder / f"{self.name}.pkl"


def _both(data: str, resolution: int, num_classes: int = 0) -> tuple[PublishedNetwork, PublishedNetwork]:
    """Return the two networks that there are for most data sets."""
    return (
        PublishedNetwork(f"edm-{data}-vp", "ddpmpp", resolution, num_classes),
        PublishedNetwork(f"edm-{data}-ve", "ncsnpp", resolution, num_classes),
    )


PUBLISHED_NETWORKS = {
    network.name: network
    for network in (
        *_both("cifar10-32x32-cond", 32, 10),
        *_both("cifar10-32x32-uncond", 32),
        *_both("ffhq-64x64-uncond", 64),
        *_both("afhqv2-64x64-uncond", 64),
        PublishedNetwork("edm-imagenet-64x64-cond-adm", "adm", 64, 1000),
    )
}


def fetched(
    network: PublishedNetwork,
    folder: Path,
    on_progress: OnFetched = lambda _done, _total: None,
) -> Path:
    """Return the file of a network in `folder`, downloaded first if it is not there.

    Its SHA-256 must be the published one. Where none is published, the first use checks that the file holds the network
    that its name says, and notes the SHA-256 beside it, which has to stay. Raises PretrainedError.
    """
    path = network.place(folder)
    if not path.is_file():
        try:
            file = Published(network.url, size_of(network.url), network.sha256, "sha256")
            download(file, path, on_progress)
        except OSError as error:
            raise PretrainedError(
                f"{network.name}: could not be downloaded from {network.url} ({error}); put the file at {path}"
            ) from None
    try:
        _verify(network, path, path.with_suffix(".sha256"))
    except OSError as error:
        raise PretrainedError(
            f"{error.filename or path}: cannot be used ({error.strerror}); make it readable"
        ) from None
    return path


def _verify(network: PublishedNetwork, path: Path, note: Path) -> None:
    """Raise PretrainedError unless a file has the SHA-256 that is known, or holds the network where none is."""
    found = sha256_of(path)
    expected = network.sha256 or (note.read_text().strip() if note.is_file() else None)
    if expected is None:
        _require_network(network, path)
        part = create_beside(note)
        part.write_text(f"{found}\n")
        part.replace(note)
    elif found != expected:
        raise PretrainedError(
            f"{path}: has the sha256 {found}, not {expected}, so it is damaged or another file; delete it and "
            f"{note.name} to have it downloaded again"
        )


def _require_network(network: PublishedNetwork, path: Path) -> None:
    from edm.pretrained.read import read_pretrained  # heavy: torch

    config = read_pretrained(path).config
    found = _described(config.architecture, config.resolution, config.num_classes)
    wanted = _described(network.architecture, network.resolution, network.num_classes)
    if found != wanted:
        raise PretrainedError(f"{path}: holds {found}, not {wanted}; delete it to have {network.name} downloaded")


def _described(architecture: object, resolution: int, num_classes: int) -> str:
    return f"{architecture} for images of {resolution} pixels a side and {num_classes} classes"
