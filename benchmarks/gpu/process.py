"""Runs sections, each in a process of its own, which is killed with all of its children where it takes too long.

A section that runs out of memory, crashes or leaves something behind on the GPU does not change the next. Processes are
forked from a server that has imported torch and edm but never touched the GPU, so that none waits for imports. Where
such processes cannot use the GPU, each starts from nothing.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.gpu.report import Report, Row, read_rows
from benchmarks.gpu.setting import Setting

IMPORTED_ONCE = (
    "torch",
    "numpy",
    "edm.train",
    "edm.generate",
    "edm.validation",
    "edm.metrics.features",
    "edm.metrics.kid",
)
COMPILER = "torch._dynamo"  # takes seconds, and only to be turned off; on a GPU it might look for one too early
PROBE_S = 180.0  # to import torch from a cold disk
POLL_S = 0.5
GRACE_S = 20.0  # beyond its time, in which a section may end by itself


@dataclass(frozen=True)
class Section:
    """A section: a module with a function `run(setting, report)`.

    seconds: its share of a check of 12 minutes on one H100. about: what it does, to be read after its name.
    folder: of the module, as a package.
    """

    name: str
    seconds: float
    about: str
    folder: str = "benchmarks.gpu"


def prepare_server(setting: Setting) -> BaseContext:
    """Return how to start processes: from a server with torch and edm imported, if those can use the device."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED_ONCE, *([] if setting.is_gpu else [COMPILER])])
    probe = context.Process(target=_touch, args=(setting.device,))
    probe.start()
    probe.join(PROBE_S)
    if probe.exitcode == 0:
        return context
    probe.kill()
    return multiprocessing.get_context("spawn")


def _touch(device: str) -> None:
    import torch

    torch.zeros(1, device=device).add_(1).item()


def run_sections(
    context: BaseContext,
    sections: Sequence[Section],
    setting: Setting,
    seconds: float,
    log: Path,
    on_rows: Callable[[Sequence[Row]], None] = lambda _rows: None,
    grace_s: float = GRACE_S,
) -> list[Row]:
    """Run sections beside each other for about `seconds`; return their rows, and how long each took.

    A section that did not come to its end has a row that says so. context: as `prepare_server` returns it. on_rows:
    called with the rows so far whenever there are more. grace_s: for how long beyond their time they may go on.
    """
    running = [RunningSection(context, section, setting, seconds, log) for section in sections]
    deadline, seen = time.monotonic() + seconds + grace_s, 0
    try:
        while sum(each.is_running() for each in running) and time.monotonic() < deadline:
            time.sleep(POLL_S)
            rows = [row for each in running for row in each.rows()]
            if len(rows) > seen:
                seen = len(rows)
                on_rows(rows)
    finally:  # also where the check itself is interrupted
        for each in running:
            each.end(seconds + grace_s)
    return [row for each in running for row in each.rows()]


class RunningSection:
    """A section in its process."""

    def __init__(self, context: BaseContext, section: Section, setting: Setting, seconds: float, log: Path) -> None:
        self.section, self.path = section, setting.scratch / f"{section.name}.json"
        self.last: list[Row] = []
        self.began, self.ended = time.monotonic(), None
        self.process: BaseProcess = context.Process(target=_inside, args=(section, setting, self.path, seconds, log))  # pyright: ignore[reportAttributeAccessIssue]
        self.process.start()

    def is_running(self) -> bool:
        """Return whether its process still runs, and note the time where it does not."""
        if self.process.is_alive():
            return True
        self.ended = self.ended or time.monotonic()
        return False

    def rows(self) -> list[Row]:
        """Return its rows so far."""
        return [*read_rows(self.path), *self.last]

    def end(self, limit_s: float) -> None:
        """End its process and all of that one's children, and add what went wrong and how long it took."""
        problem = "" if not self.is_running() else f"was stopped, as it took more than {limit_s:.0f} s"
        took = (self.ended or time.monotonic()) - self.began
        assert self.process.pid is not None
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the group holds its children, too
        except ProcessLookupError:
            self.process.kill()
        self.process.join()
        if not problem and self.process.exitcode:
            problem = f"its process ended with exit code {self.process.exitcode}; the log has its last words"
        name = self.section.name
        if problem:
            self.last.append(Row(name, name, "failed", note=problem))
        self.last.append(Row(name, "the whole section", "measured", took, "s", note=self.section.about))


def _inside(section: Section, setting: Setting, path: Path, seconds: float, log: Path) -> None:
    """Run a section in this process, with all of its output in the log."""
    os.setsid()
    with log.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    print(f"--- {section.name}", flush=True)
    report = Report(path, section.name, seconds)
    with report.attempt(section.name):
        _prepare(setting)
        importlib.import_module(f"{section.folder}.{section.name}").run(setting, report)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # at once: leaving the interpreter may wait for threads of libraries


def _prepare(setting: Setting) -> None:
    import torch

    torch.manual_seed(0)
    if setting.is_gpu:
        torch.cuda.init()
        return
    if setting.tiny:
        torch.set_num_threads(1)  # work this small only waits for other threads
        torch.compiler.set_stance("force_eager")  # compiling takes minutes on a CPU
