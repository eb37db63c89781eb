"""What planning has to know about the files that a sweep names: folders of images and published statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edm.checksums import sha256_of
from edm.config import DataConfig, Pretrained
from edm.data.catalogue import DatasetFacts, facts, source_fingerprint
from experiments.errors import UserError


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
    """Reads the files that a sweep names from disk: only those that are asked about, and each of them once."""

    def __init__(self) -> None:
        self._facts: dict[DataConfig, DatasetFacts] = {}
        self._fingerprints: dict[DataConfig, str] = {}
        self._statistics: dict[str, str | None] = {}
        self._models: dict[str, Pretrained] = {}

    def facts(self, config: DataConfig) -> DatasetFacts:
        """Return the shape and the split sizes of a data set; raises DataError where its folder cannot be used."""
        if config not in self._facts:
            self._facts[config] = facts(config)
        return self._facts[config]

    def fingerprint(self, config: DataConfig) -> str:
        """Return what identifies the content of a data set; raises DataError where its folder cannot be used."""
        if config not in self._fingerprints:
            self._fingerprints[config] = source_fingerprint(config)
        return self._fingerprints[config]

    def statistics_sha256(self, path: str) -> str | None:
        """Return the SHA-256 of a statistics file in hex; None where there is no such file. Raises OSError."""
        if path not in self._statistics:
            self._statistics[path] = sha256_of(Path(path)) if Path(path).is_file() else None
        return self._statistics[path]

    def model(self, path: str) -> Pretrained:
        """Return what a file or folder with a trained network holds; raises UserError where it cannot be used."""
        if path not in self._models:
            from edm.pretrained.read import PretrainedError, describe  # heavy: it reads all weights

            try:
                self._models[path] = describe(path)
            except PretrainedError as error:
                raise UserError(str(error)) from None
        return self._models[path]
