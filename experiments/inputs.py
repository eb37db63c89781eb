"""What planning has to know about the files that a sweep names: folders of images and published statistics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from edm.checksums import sha256_of
from edm.config import DataConfig, Pretrained
from edm.data.catalogue import DatasetFacts, facts, source_fingerprint
from edm.data.progress import OnProgress, ignore_progress
from experiments.errors import UserError

Watch = Callable[[str], AbstractContextManager[OnProgress]]


def _unwatched(_path: str) -> AbstractContextManager[OnProgress]:
    return nullcontext(ignore_progress)


class Inputs(Protocol):
    """Answers what planning asks about the files that a sweep names."""

    def facts(self, config: DataConfig) -> DatasetFacts:
        """Return the shape and the split sizes of a data set; raises DataError where its folder cannot be used."""
        ...

    def fingerprint(self, config: DataConfig) -> str:
        """Return what identifies the content of a data set; raises DataError where its folder cannot be used."""
        ...

    def statistics_sha256(self, path: str) -> str | None:
        """Return the SHA-256 of a statistics file in hex; None where there is no such file."""
        ...

    def model(self, path: str) -> Pretrained:
        """Return what a file or folder with a trained network holds; raises UserError where it cannot be used."""
        ...


class InputFiles:
    """Reads the files that a sweep names from disk: only those that are asked about, and each of them once.

    watch: called with the path of a folder that is about to be read, which may take minutes; what it returns is told
    how far that is.
    """

    def __init__(self, watch: Watch = _unwatched) -> None:
        self._watch = watch
        self._facts: dict[DataConfig, DatasetFacts] = {}
        self._fingerprints: dict[DataConfig, str] = {}
        self._statistics: dict[str, str | None] = {}
        self._models: dict[str, Pretrained] = {}

    def facts(self, config: DataConfig) -> DatasetFacts:
        """Return the shape and the split sizes of a data set; raises DataError where its folder cannot be used."""
        if config not in self._facts:
            with self._watch(config.path or str(config.name)) as on_progress:
                self._facts[config] = facts(config, on_progress)
        return self._facts[config]

    def fingerprint(self, config: DataConfig) -> str:
        """Return what identifies the content of a data set; raises DataError where its folder cannot be used."""
        if config not in self._fingerprints:
            with self._watch(config.path or str(config.name)) as on_progress:
                self._fingerprints[config] = source_fingerprint(config, on_progress)
        return self._fingerprints[config]

    def statistics_sha256(self, path: str) -> str | None:
        """Return the SHA-256 of a statistics file in hex; None where there is no such file. Raises OSError."""
        if path not in self._statistics:
            self._statistics[path] = sha256_of(Path(path)) if Path(path).is_file() else None
        return self._statistics[path]

    def model(self, path: str) -> Pretrained:
        """Return what a file or folder with a trained network holds; raises UserError where it cannot be used."""
        if path not in self._models:
            from edm.pretrained.errors import PretrainedError
            from edm.pretrained.read import describe  # heavy: it reads all weights

            try:
                self._models[path] = describe(path)
            except PretrainedError as error:
                raise UserError(str(error)) from None
        return self._models[path]
