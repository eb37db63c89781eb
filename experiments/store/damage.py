"""Damaged files of a store: moved to its folder `damaged`, so that their tasks are done again, and logged there.

<root>/damaged/log.jsonl                     one line for each time that something was set aside
<root>/damaged/<kind>/<signature>/<n>/...    the files
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast, get_args

from experiments.errors import UserError
from experiments.store.folders import make_inside
from experiments.store.journal import Journal
from experiments.store.layout import DAMAGED, StoreKind
from experiments.store.results import AS_TUPLE, Record

log = logging.getLogger("edm_sweep")


class DamagedFile(UserError):
    """A file of the store is not what was written. It has been set aside, and the task that it belongs to is undone."""


@dataclass(frozen=True)
class Damage(Record):
    """A line of the log: whose files were set aside, which ones, why, and when."""

    kind: StoreKind
    signature: str
    files: tuple[str, ...] = field(metadata=AS_TUPLE)
    why: str
    time: float


class DamageLog:
    """The folder `damaged` of a store."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / DAMAGED
        self._journal = Journal(self.folder / "log.jsonl")

    def since(self, offset: int) -> tuple[list[Damage], int]:
        """Return what was logged after an offset, and the offset after that; 0 is the beginning."""
        lines, end = self._journal.read_from(offset)
        return [Damage.from_json(line) for line in lines], end

    def holds(self, kind: StoreKind, signature: str) -> bool:
        """Return whether anything of a task was ever set aside."""
        return (self.folder / kind / signature).exists()

    def move(self, kind: StoreKind, signature: str, names: Iterable[str], why: str) -> None:
        """Move a task's damaged files here; nothing happens where another process was faster."""
        folder = self.root / kind / signature
        try:
            present = [name for name in names if (folder / name).exists()]
            if not present:
                return
            place = self._new_place(kind, signature)
            for name in present:
                make_inside(place, (place / name).parent)
                with suppress(FileNotFoundError):
                    (folder / name).rename(place / name)
        except OSError as error:
            log.warning("%s is damaged (%s) and cannot be set aside: %s", folder, why, error)
            return
        self._note(kind, signature, present, why)

    def copy(self, kind: StoreKind, signature: str, names: list[str], why: str) -> None:
        """Copy a task's damaged files here, where what can be read of them goes on to be used."""
        folder, place = self.root / kind / signature, self._new_place(kind, signature)
        for name in names:
            with suppress(FileNotFoundError):
                shutil.copy2(folder / name, place / name)
        self._note(kind, signature, names, why)

    def _new_place(self, kind: StoreKind, signature: str) -> Path:
        parent, number = self.folder / kind / signature, 1
        make_inside(self.root, parent)
        while True:
            try:
                (parent / str(number)).mkdir()
                return parent / str(number)
            except FileExistsError:
                number += 1

    def _note(self, kind: StoreKind, signature: str, names: list[str], why: str) -> None:
        paths = ", ".join(str(self.root / kind / signature / name) for name in names)
        log.warning("%s: damaged (%s), set aside to be redone", paths, why)
        with suppress(OSError):  # a full disk: the task's own log has the warning
            self._journal.append(asdict(Damage(kind, signature, tuple(names), why, time.time())))


def set_aside_file(path: Path, why: str) -> None:
    """Set aside one damaged file, whose name has its checksum; a file outside a store is removed."""
    owner = _owner_of(path)
    if owner is None:
        log.warning("%s is damaged (%s) and will be redone", path, why)
        path.unlink(missing_ok=True)
        return
    damages, kind, signature, name = owner
    damages.move(kind, signature, [name], why)


def copy_aside_file(path: Path, why: str) -> None:
    """Copy one damaged file to where its store sets such files aside; a file outside a store is left alone."""
    owner = _owner_of(path)
    if owner is not None:
        damages, kind, signature, name = owner
        damages.copy(kind, signature, [name], why)


def _owner_of(path: Path) -> tuple[DamageLog, StoreKind, str, str] | None:
    """Return the damage log of the store that a file is in, the file's kind and signature, and its name there."""
    for folder in path.parents:
        if folder.name in get_args(StoreKind):
            signature, *rest = path.relative_to(folder).parts
            return DamageLog(folder.parent), cast(StoreKind, folder.name), signature, "/".join(rest)
    return None
