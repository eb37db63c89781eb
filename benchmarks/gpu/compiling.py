"""Compiles the networks of all later sections at once, each in a process of its own, so that these find the programs.

torch keeps programs in the folder TORCHINDUCTOR_CACHE_DIR. Compiling is work for one core most of the time, so all of
them together take little longer than the slowest. A module of a section that compiles has a function
`programs(setting)`, which names a call for every program: one that has it compiled.
"""

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from benchmarks.gpu.measure import finish
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting

SECTIONS = ("training", "large", "sampling", "scores", "curves", "drawing", "graph")  # that compile; the longest first
CHOICES = "*.best_config"  # torch's choices between kernels by trial, which processes beside each other disturb

Programs = Mapping[str, Callable[[], object]]
Name = tuple[str, str]  # section, program


def run(setting: Setting, report: Report) -> None:
    """Compile all programs of the sections that will run, or of all; what failed is compiled by its section again."""
    sections = [section for section in SECTIONS if section in setting.sections] or SECTIONS
    names = [(section, name) for section in sections for name in programs(section, setting)]
    workers = 1 if setting.tiny else min(len(names), os.cpu_count() or 1)
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(compile_program, setting, name): name for name in names}
        collect(setting, report, jobs)
    for choice in inductor_cache().rglob(CHOICES):
        choice.unlink()
    what = f"{len(names)} programs compiled by {workers} processes"
    report.measure(what, time.perf_counter() - began, "s")


def collect(setting: Setting, report: Report, jobs: Mapping["Future[float]", Name]) -> None:
    """Report the seconds of each program once it is compiled, and note its name for its section."""
    done: list[str] = []
    for job in as_completed(jobs):
        section, name = jobs[job]
        with report.attempt(f"compiling for {section}: {name}"):
            report.measure(f"compiling for {section}: {name}", job.result(), "s", note="beside the others")
            done.append(name)
            setting.note_compiled(done)


def programs(section: str, setting: Setting) -> Programs:
    """Return the programs of a section."""
    return importlib.import_module(f"benchmarks.gpu.{section}").programs(setting)


def compile_program(setting: Setting, name: Name) -> float:
    """Compile a program in this process; return the seconds."""
    section, own = name
    if setting.tiny:
        torch.compiler.set_stance("force_eager")
    began = time.perf_counter()
    programs(section, setting)[own]()
    finish(setting.torch_device)
    return time.perf_counter() - began


def inductor_cache() -> Path:
    """Return the folder in which torch keeps programs, which the check sets."""
    return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
