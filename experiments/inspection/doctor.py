"""Checks whether this machine can run a sweep; each finding says what is wrong and how to fix it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edm.config import Extension, Features
from edm.cores import available_cores
from edm.data.catalogue import CATALOGUE
from experiments import hardware
from experiments.environment import DATA_VARIABLE, WEIGHTS_VARIABLE, given_weights
from experiments.inspection.datasets import files_of, named_sources
from experiments.loopback import REMEDY, loopback_problem
from experiments.redaction import redact
from experiments.runner.disk import GIB
from experiments.runner.forecast import forecast
from experiments.runner.scratch import LONGEST, places
from experiments.store import leases
from experiments.store.folders import existing
from experiments.store.layout import MLFLOW_DATABASE
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import DataSource
from experiments.tracking.answers import why_unanswered
from experiments.trials.remedies import explain
from experiments.wording import count, on_one_line

Verdict = Literal["ok", "note", "wrong"]  # note: no problem, or not one for now, but worth knowing

MIN_PYTHON = (3, 11)
MIN_FREE_GIB = 1.0
SHARED_MEMORY = Path("/dev/shm")  # where Ray keeps its objects
MIN_SHARED_GIB = 0.25
MIN_OPEN_FILES = 1024
LONGEST_ERROR = 200  # characters
TIMEOUT_S = 5.0  # for the answer of a tracking server


@dataclass(frozen=True)
class Finding:
    """The result of one check. remedy: how to fix it, or what to know about it."""

    what: str
    verdict: Verdict
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """Something to check. title: what it looks at. run: makes the check; it may take some seconds."""

    title: str
    run: Callable[[], Iterable[Finding]]


def checks(store: Store, plan: Plan | None, tracking_uri: str | None) -> Iterator[Check]:
    """Yield every check, in the order in which a run would meet a problem.

    plan: a sweep's, whose needs of data, weights, GPUs and disk are checked; without it all data sets and weights are.
    """
    yield Check("Python", lambda: [_python(), *_bytecode()])
    yield Check("torch", lambda: [_torch()])
    yield Check("cores", lambda: [_cores()])
    yield Check("GPUs", lambda: _gpus(plan))
    yield Check(
        "Ray", lambda: [_package("Ray", "ray[tune]"), _ray_folder(), _loopback(), _shared_memory(), _open_files()]
    )
    yield Check("MLflow", lambda: [_package("MLflow", "mlflow"), _tracking(store, tracking_uri)])
    yield Check("the store", lambda: _store(store))
    yield Check("data sets", lambda: _data(store, plan))
    yield Check("weights of feature extractors", lambda: _weights(plan))
    yield Check("disk space", lambda: [_disk(store, plan)])
    yield Check("HOME", lambda: [_home()])


def _python() -> Finding:
    text = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info < MIN_PYTHON:
        return Finding("Python", "wrong", text, "install Python 3.11 or later")
    return Finding("Python", "ok", text)


def _bytecode() -> Iterator[Finding]:
    """What makes every process compile the libraries anew, which nearly doubles the CPU time of their starts."""
    torch = importlib.util.find_spec("torch")
    compiled = Path(importlib.util.cache_from_source(torch.origin)) if torch is not None and torch.origin else None
    if compiled is None or compiled.exists():
        return
    again = "every process compiles the libraries anew, so that commands and workers start more slowly"
    if sys.dont_write_bytecode:
        remedy = "unset PYTHONDONTWRITEBYTECODE, or once: uv sync --compile-bytecode"
        yield Finding("bytecode", "note", f"Python writes none, and {again}", remedy)
    elif not os.access(existing(compiled.parent), os.W_OK):
        text = f"{compiled.parent} is not writable, and {again}"
        yield Finding("bytecode", "note", text, "once, as its owner: uv sync --compile-bytecode")


def _torch() -> Finding:
    try:
        import torch
        import torchvision
    except Exception as error:  # a broken install may raise anything
        return Finding(
            "torch", "wrong", _line(error), "install torch and torchvision together, so that they match: uv sync"
        )
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return Finding("torch", "ok", f"{torch.__version__} ({built}), torchvision {torchvision.__version__}")


def _cores() -> Finding:
    own, all_of_them = available_cores(), os.cpu_count() or 1
    others = "" if own == all_of_them else f" of {all_of_them:,}; the others are not for this process"
    return Finding("CPU cores", "ok", f"{own:,}{others}")


def _gpus(plan: Plan | None) -> Iterator[Finding]:
    names = hardware.gpu_names()
    wanted = plan is not None and plan.sweep.resources.gpus not in (None, 0)
    if not names:
        yield _no_gpu(wanted)
        return
    yield Finding("GPUs", "ok", f"{len(names)} x {', '.join(sorted(set(names)))}, driver {hardware.gpu_driver()}")
    yield _cuda()


def _no_gpu(wanted: bool) -> Finding:
    on_cpu, verdict = "so trials run on the CPU", "wrong" if wanted else "note"
    if hardware.is_driver_silent():  # also where a cluster's login node has the driver's tools and no GPU
        remedy = "see what nvidia-smi says; if this machine has a GPU, restart it or install the driver again"
        return Finding("GPUs", verdict, f"nvidia-smi lists none, {on_cpu}", remedy)
    hidden = len(hardware.all_gpus())
    if hidden:
        text = f"{hardware.VISIBLE}={os.environ.get(hardware.VISIBLE, '')} hides {count(hidden, 'GPU')}, {on_cpu}"
        return Finding("GPUs", verdict, text, f"unset {hardware.VISIBLE}" if wanted else "")
    remedy = "install the GPU's driver, or run on the CPU with --gpus 0" if wanted else ""
    return Finding("GPUs", verdict, f"no GPU was found, {on_cpu}", remedy)


def _cuda() -> Finding:
    try:
        import torch

        if not torch.cuda.is_available():
            remedy = "install a torch that was built for this driver's CUDA version, or check CUDA_VISIBLE_DEVICES"
            return Finding("CUDA", "wrong", "torch sees none of the GPUs", remedy)
        memory = [torch.cuda.mem_get_info(device) for device in range(torch.cuda.device_count())]
    except Exception as error:
        return Finding("CUDA", "wrong", _line(error), "end the process that blocks the GPU, or restart the machine")
    text = ", ".join(f"{free / GIB:.1f} of {total / GIB:.1f} GiB free" for free, total in memory)
    busy = any(free < total / 2 for free, total in memory)
    remedy = "another process uses the GPU; end it if you can, or run one trial per GPU with --gpus 1" if busy else ""
    return Finding("GPU memory", "note" if busy else "ok", text, remedy)


def _package(name: str, requirement: str) -> Finding:
    if importlib.util.find_spec(name.lower()) is None:
        return Finding(name, "wrong", "is not installed", f"uv sync, or pip install '{requirement}'")
    return Finding(name, "ok", importlib.metadata.version(name))


def _shared_memory() -> Finding:
    if not SHARED_MEMORY.exists():
        return Finding("shared memory", "note", f"there is no {SHARED_MEMORY}, so Ray uses the disk, which is slower")
    free = shutil.disk_usage(SHARED_MEMORY).free / GIB
    if free < MIN_SHARED_GIB:
        remedy = "give the container more, such as docker run --shm-size=2g"
        return Finding("shared memory", "wrong", f"{free:.2f} GiB free in {SHARED_MEMORY}", remedy)
    return Finding("shared memory", "ok", f"{free:.1f} GiB free in {SHARED_MEMORY}")


def _ray_folder() -> Finding:
    """Check the folder for what Ray writes while a run lasts: sockets, whose paths must be short, and logs."""
    place = next(places(), None)
    if place is None:
        text = "no folder for Ray's temporary files can be written"
        return Finding("Ray's folder", "wrong", text, f"set RAY_TMPDIR to one with at most {LONGEST} characters")
    free = shutil.disk_usage(place).free / GIB
    text, remedy = f"{place}, {free:,.1f} GiB free", ""
    named = [name for name in ("RAY_TMPDIR", "TMPDIR") if len(os.environ.get(name, "")) > LONGEST]
    if named:
        remedy = f"{named[0]} has more than {LONGEST} characters, too many for Ray's sockets, so this folder is used"
    if free < MIN_FREE_GIB:
        return Finding("Ray's folder", "wrong", text, "free some space there, or set RAY_TMPDIR to another short path")
    return Finding("Ray's folder", "note" if remedy else "ok", text, remedy)


def _loopback() -> Finding:
    problem = loopback_problem()
    if problem is not None:
        return Finding("loopback", "wrong", problem, REMEDY)
    return Finding("loopback", "ok", "Ray's processes can reach each other")


def _open_files() -> Finding:
    """Check how many files a process may have open; Ray's hold a connection to each other."""
    try:
        import resource
    except ImportError:  # not on Windows
        return Finding("open files", "note", "the limit is not known on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft:,} per process" + ("" if soft == hard else f", which may be raised to {hard:,}")
    if soft < MIN_OPEN_FILES:
        return Finding("open files", "wrong", text, f"allow more before a run: ulimit -n {MIN_OPEN_FILES}")
    return Finding("open files", "ok", text)


def _tracking(store: Store, uri: str | None) -> Finding:
    """Check MLflow's server, or the database in the store."""
    if uri is None or not uri.startswith(("http://", "https://")):
        there = (store.root / MLFLOW_DATABASE).exists()
        text = redact(uri or "") or f"the database in the store{'' if there else ', which the first run creates'}"
        return Finding("MLflow tracking", "ok", text)
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=TIMEOUT_S) as answer:
            version = answer.read(100).decode(errors="replace").strip()
    except (OSError, ValueError, urllib.error.URLError) as error:
        remedy = (
            "start it with 'mlflow server', or leave --tracking-uri out; runs work without it, and 'sync' catches up"
        )
        return Finding(
            "MLflow tracking", "wrong", f"{redact(uri)} does not answer ({why_unanswered(error, uri)})", remedy
        )
    own = importlib.metadata.version("mlflow")
    same = version.split(".")[0] == own.split(".")[0]
    remedy = "" if same else f"install mlflow {own} on the server, or {version} here"
    return Finding("MLflow tracking", "ok" if same else "wrong", f"{redact(uri)} answers, version {version}", remedy)


# the store ----------------------------------------------------------------------------------------


def _store(store: Store) -> Iterator[Finding]:
    remedy = "choose another folder with --store or EDM_SWEEP_STORE"
    try:
        with tempfile.TemporaryDirectory(dir=existing(store.root), prefix=".doctor-") as name:
            folder = Path(name)
            yield Finding("store", "ok", f"{store.root} is writable")
            yield _attempt("store's renames", lambda: _rename(folder), remedy)
            yield _attempt("store's leases", lambda: _lease(folder), remedy)
    except OSError as error:
        yield Finding("store", "wrong", f"{store.root} is not writable ({error.strerror})", remedy)


def _attempt(what: str, attempt: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, "ok", attempt())
    except Exception as error:
        return Finding(what, "wrong", _line(error), f"this file system is not suitable for a store; {remedy}")


def _rename(folder: Path) -> str:
    for name in ("old", "new"):
        (folder / name).write_text(name)
    (folder / "new").replace(folder / "old")
    if (folder / "old").read_text() != "new":
        raise OSError("a file that was renamed over another did not replace it")
    return "a file renamed over another replaces it"


def _lease(folder: Path) -> str:
    """Check that only one process can hold a folder at a time."""
    with leases.held(folder):
        try:
            leases.acquire(folder)
        except leases.Held:
            pass
        else:
            raise OSError("two processes could hold the same folder")
    try:
        os.link(folder / "old", folder / "link")
    except OSError:
        return "only one process at a time can hold a folder (without hard links)"
    return "only one process at a time can hold a folder"


def _disk(store: Store, plan: Plan | None) -> Finding:
    free = store.free_bytes() / GIB
    if plan is None:
        if free < MIN_FREE_GIB:
            return Finding(
                "disk", "wrong", f"{free:,.1f} GiB free", "free some space, or choose another disk with --store"
            )
        return Finding("disk", "ok", f"{free:,.1f} GiB free")
    left = [
        task
        for task in (*plan.trainings.values(), *plan.evaluations.values())
        if not store.has_result(task.store_kind, task.signature)
    ]
    needs = forecast(plan, left, store).disk_span_gib.high
    text = f"{free:,.1f} GiB free; the rest of {plan.sweep.name} needs about {needs:,.2f} GiB"
    if needs > free:
        remedy = "free some space ('edm-sweep gc' shows what can be deleted), or choose another disk with --store"
        return Finding("disk", "wrong", text, remedy)
    return Finding("disk", "ok", text)


def _home() -> Finding:
    home = Path("~").expanduser()
    if os.access(home, os.W_OK):
        return Finding("HOME", "ok", str(home))
    return Finding("HOME", "note", f"{home} is not writable, which edm-sweep does not need")


# data and weights ---------------------------------------------------------------------------------


def _data(store: Store, plan: Plan | None) -> Iterator[Finding]:
    for source in plan.sources.values() if plan is not None else named_sources():
        yield _dataset(store, source, needed=plan is not None)


def _dataset(store: Store, source: DataSource, needed: bool) -> Finding:
    name = str(source.config.name)
    if store.has_result("data", source.signature):
        return Finding(f"data set {name}", "ok", "prepared")
    if isinstance(source.config.name, Extension):
        return Finding(f"data set {name}", "ok", "made by an extension; a run prepares it")
    if name not in CATALOGUE:
        return Finding(f"data set {name}", "ok", f"its images are in {source.config.path}; a run prepares it")
    if not CATALOGUE[name].files:
        return Finding(f"data set {name}", "ok", "comes with an installed package; a run prepares it")
    files = files_of(store, name)
    absent = [file for file in files if not file["there"]]
    if not absent:
        place = Path(files[0]["path"]).parent
        return Finding(f"data set {name}", "ok", f"its files are in {place}; a run prepares it")
    names = ", ".join(Path(file["path"]).name for file in absent)
    megabytes = sum(file["bytes"] for file in absent) / 1e6
    text = f"missing in {Path(absent[0]['path']).parent}: {names} ({megabytes:,.0f} MB)"
    remedy = f"let the run download it, or put it there, or say where it is with {DATA_VARIABLE}=DIR or "
    remedy += f"'edm-sweep data prepare {name} --from DIR'"
    return Finding(f"data set {name}", "note", text, remedy if needed else "")


def _weights(plan: Plan | None) -> Iterator[Finding]:
    spaces: dict[Features | Extension, None] = dict.fromkeys(get_args(Features))
    if plan is not None:
        spaces = dict.fromkeys(space.name for e in plan.evaluations.values() for space, _ in e.spaces)
    for name in spaces:
        if name != "classifier" and not isinstance(name, Extension):
            yield _weights_of(name, needed=plan is not None)


def _weights_of(name: Features, needed: bool) -> Finding:
    try:
        from edm.metrics.features import required_weights  # heavy: torch
        from edm.metrics.weights import present_weights

        weights = required_weights(name)
        assert weights is not None
        path = present_weights(weights, given_weights())
    except Exception as error:
        return Finding(
            f"weights of {name}",
            "wrong" if needed else "note",
            on_one_line(explain(error) or type(error).__name__, LONGEST_ERROR),
        )
    if path is not None:
        return Finding(f"weights of {name}", "ok", str(path))
    text = f"{weights.file} ({weights.bytes / 1e6:,.0f} MB) is not on this machine"
    remedy = f"let the run download it, or get it from {weights.url} and set {WEIGHTS_VARIABLE} to its path"
    return Finding(f"weights of {name}", "note", text, remedy if needed else "")


def _line(error: BaseException | str) -> str:
    """An error's message in one line."""
    return on_one_line(str(error) or type(error).__name__, LONGEST_ERROR)
