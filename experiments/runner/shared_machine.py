"""What the runs of one account on this machine tell each other, so that they share its cores and GPUs.

A run writes into a folder for temporary files of its own (scratch.py), whose lock tells that it still runs:

    <place>/edm-XXXXXXXX/run.json    its process and command, the GPUs it has taken, the cores its trials occupy now
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from experiments import hardware
from experiments.runner.scratch import live_folders, places, scratch_folder
from experiments.store.files import read_json
from experiments.store.provenance import command_line
from experiments.sweep.spec import ResourcesConfig, gpus_of_training
from experiments.wording import count, shortened

RECORD = "run.json"
LOOK_S = 1.0  # between looks at other runs
MOST_COMMAND = 200  # characters


@dataclass(frozen=True)
class OtherRun:
    """Another run of this account on this machine. cores: that it is bound to. occupied: cores of its trials now."""

    pid: int
    command: str
    cores: tuple[int, ...]
    gpus: tuple[str, ...]
    occupied: int

    @property
    def text(self) -> str:
        """The run in words."""
        return f"'{shortened(self.command, MOST_COMMAND)}' (process {self.pid})"


class MachineShare:
    """A run's part of this machine, as others see it, and what they leave to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = {
            "pid": os.getpid(),
            "command": command_line(),
            "cores": bound_cores(),
            "gpus": [],
            "occupied": 0,
        }
        self._others: list[OtherRun] = []
        self._looked = -LOOK_S
        self._write()

    def others(self) -> list[OtherRun]:
        """Return the other runs that may use a core or a GPU that this one may use."""
        self._looked = time.monotonic()
        own = set(self._record["cores"])
        found = filter(None, (_read(folder) for folder in live_folders() if folder != self._folder))
        self._others = [run for run in found if own & {*run.cores} or run.gpus]
        return self._others

    # cores ----------------------------------------------------------------------------------------

    def admits(self, occupied: int, cores: int) -> bool:
        """Return whether this run, whose trials occupy some of the cores, may start another trial, and tell others.

        It may have its equal part of the cores, and what the trials of others leave; in any case one trial.
        """
        self._set(occupied=min(occupied, cores))
        if time.monotonic() - self._looked >= LOOK_S:
            self.others()
        sharing = [run for run in self._others if set(self._record["cores"]) & {*run.cores}]
        if not sharing:
            return True
        left = cores - sum(run.occupied for run in sharing)
        return occupied < max(1, cores // (1 + len(sharing)), left)

    # GPUs -----------------------------------------------------------------------------------------

    def take_gpus(self, needed: int) -> Sequence[str] | None:
        """Take the GPUs that no other run has taken; return them, or None where there are fewer than needed.

        All are taken where CUDA_VISIBLE_DEVICES names them, as a person has chosen them, or where there are not enough
        for anybody, which is reported later.
        """
        with _one_at_a_time():
            shown = _shown_gpus()
            taken = {gpu for run in self.others() for gpu in run.gpus}
            free = [gpu for gpu in shown if gpu not in taken]
            is_chosen = hardware.VISIBLE in os.environ
            own = shown if is_chosen or len(shown) < needed else free
            if len(own) < min(needed, len(shown)):
                return None
            self._set(gpus=own)
            return own

    def holders(self) -> list[OtherRun]:
        """Return the other runs that have taken GPUs."""
        return [run for run in self._others if run.gpus]

    # writing --------------------------------------------------------------------------------------

    def _set(self, **values: object) -> None:
        if any(self._record[name] != value for name, value in values.items()):
            self._record |= values
            self._write()

    def _write(self) -> None:
        """Write the record, whole for whoever reads it; a full disk keeps no run from going on."""
        beside = self._folder / f"{RECORD}.new"
        with suppress(OSError):
            beside.write_text(json.dumps(self._record))
            beside.replace(self._folder / RECORD)


@contextmanager
def sharing_machine(
    resources: ResourcesConfig, notify: Callable[[str], None], on_wait: Callable[[], None]
) -> Generator[MachineShare]:
    """Take what other runs of this account leave of this machine for as long as the block lasts.

    A run that needs GPUs waits until some are free, and calls `on_wait` every second meanwhile. notify: called with
    sentences for people.
    """
    with scratch_folder() as folder:
        share = MachineShare(folder.parent)
        if resources.gpus == 0 or not _shown_gpus():
            _tell_of_cores(share, notify)
            yield share
            return
        with _only(_gpus(share, resources, notify, on_wait)):
            yield share


def _tell_of_cores(share: MachineShare, notify: Callable[[str], None]) -> None:
    others = share.others()
    if others:
        notify(f"{_named(others)} on this machine: they share its cores, so that each takes longer.")


def _gpus(
    share: MachineShare, resources: ResourcesConfig, notify: Callable[[str], None], on_wait: Callable[[], None]
) -> Sequence[str]:
    """Return the GPUs of this run, once there are enough."""
    needed = gpus_of_training(resources.gpus)
    is_told = False
    while (own := share.take_gpus(needed)) is None:
        if not is_told:
            notify(
                f"{_named(share.holders())} on this machine and has taken its GPUs: this run starts when "
                f"{count(needed, 'GPU')} {'is' if needed == 1 else 'are'} free. To share GPUs now, name them in "
                f"{hardware.VISIBLE}; to use the CPU, give --gpus 0."
            )
            is_told = True
        on_wait()
        time.sleep(LOOK_S)
    holders = share.holders()
    if set(own) & {gpu for run in holders for gpu in run.gpus}:
        notify(f"{_named(holders)} on this machine with GPUs that {hardware.VISIBLE} names: they share them.")
    elif holders:
        notify(f"{_named(holders)} on this machine with some of its GPUs: this run uses the other {len(own)}.")
    return own


def _named(others: Sequence[OtherRun]) -> str:
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"{others[0].text}{more} also {'run' if more else 'runs'}"


def bound_cores() -> list[int]:
    """Return the numbers of the cores that this process is bound to; all where it may use any."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _shown_gpus() -> list[str]:
    """Return the identifiers of the GPUs that this process may use."""
    return [gpu.identifier for gpu in hardware.visible(hardware.all_gpus(), os.environ.get(hardware.VISIBLE))]


@contextmanager
def _only(gpus: Sequence[str]) -> Iterator[None]:
    """Show only these GPUs to what is started meanwhile, if others are shown now."""
    if list(gpus) == _shown_gpus():
        yield
        return
    os.environ[hardware.VISIBLE] = ",".join(gpus)  # which was not set: what a person names is taken as it is
    try:
        yield
    finally:
        del os.environ[hardware.VISIBLE]


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one run of this account at a time decide what it takes; where that cannot be, two may take the same."""
    place = next(places(), None)
    if place is None:
        yield
        return
    try:
        lock = os.open(place / f"edm-sweep-{os.getuid()}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(folder: Path) -> OtherRun | None:
    """The run of a folder; None where it is none, or another version of this program made it."""
    content = read_json(folder / RECORD) or {}
    try:
        cores, gpus = tuple(map(int, content["cores"])), tuple(map(str, content["gpus"]))
        return OtherRun(int(content["pid"]), str(content["command"]), cores, gpus, int(content["occupied"]))
    except (KeyError, TypeError, ValueError):
        return None
