"""Runs each section in a process of its own, which is killed with all of its children where it takes too long.

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

    seconds: what it may take on one H100 in a check of 8 minutes. about: what it does, to be read after its name.
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


def run_section(
    context: BaseContext,
    section: Section,
    setting: Setting,
    seconds: float,
    log: Path,
    on_rows: Callable[[Sequence[Row]], None] = lambda _rows: None,
    grace_s: float = GRACE_S,
) -> list[Row]:
    """Run a section for about `seconds`; return its rows, with one that says so where it did not come to its end.

    context: as `prepare_server` returns it. on_rows: called with the rows so far whenever there are more. grace_s: for
    how long beyond its time it may go on.
    """
    path = setting.scratch / f"{section.name}.json"
    process = context.Process(target=_inside, args=(section, setting, path, seconds, log))
    process.start()
    deadline, seen = time.monotonic() + seconds + grace_s, 0
    try:
        while process.is_alive() and time.monotonic() < deadline:
            process.join(POLL_S)
            rows = read_rows(path)
            if len(rows) > seen:
                seen = len(rows)
                on_rows(rows)
    finally:  # also where the check itself is interrupted
        problem = _end(process, seconds + grace_s)
    rows = read_rows(path)
    return [*rows, Row(section.name, section.name, "failed", note=problem)] if problem else rows


def _end(process: BaseProcess, limit_s: float) -> str:
    """End a section's process and its children; return what went wrong, or an empty text."""
    late = process.is_alive()
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)  # the group holds its children, too
    except ProcessLookupError:
        process.kill()
    process.join()
    if late:
        return f"was stopped, as it took more than {limit_s:.0f} s"
    if process.exitcode:
        return f"its process ended with exit code {process.exitcode}; the log has its last words"
    return ""


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
