"""Whether this machine can do what a sweep asks for: each thing that may be wrong, and how to put it right."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edm.config import DatasetName, Features
from edm.data.catalogue import CATALOGUE
from edm.data.sources import Origin
from experiments import hardware
from experiments.environment import DATA_VARIABLE, WEIGHTS_VARIABLE, data_folder, given_weights
from experiments.runner.disk import GIB
from experiments.runner.forecast import forecast
from experiments.store import leases
from experiments.store.layout import RESULT
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import DataSource
from experiments.trials.remedies import explain

Verdict = Literal["ok", "note", "wrong"]  # note: works, or is not needed now, and a person may want to know

OLDEST_PYTHON = (3, 11)
LEAST_FREE_GIB = 1.0
SHARED_MEMORY = Path("/dev/shm")  # where Ray keeps objects
LEAST_SHARED_GIB = 0.25
ANSWER_S = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. remedy: what to do about it."""

    what: str
    verdict: Verdict
    text: str
    remedy: str = ""


def examine(store: Store, plan: Plan | None, tracking_uri: str | None) -> Iterator[Finding]:
    """Look at everything, in the order in which a run would meet it; `plan` says what is needed of data and disk."""
    yield _python()
    yield _torch()
    yield from _gpus(plan)
    yield _package("Ray", "ray[tune]")
    yield _shared_memory()
    yield _package("MLflow", "mlflow")
    yield _record(store, tracking_uri)
    yield from _store(store)
    yield from _data(store, plan)
    yield from _weights(plan)
    yield _disk(store, plan)
    yield _home()


def _python() -> Finding:
    text = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", "wrong", text, "install Python 3.11 or later")
    return Finding("Python", "ok", text)


def _torch() -> Finding:
    try:
        import torch
        import torchvision
    except Exception as error:  # a broken install may raise anything
        return Finding("torch", "wrong", _line(error), "let one installer choose torch and torchvision: uv sync")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return Finding("torch", "ok", f"{torch.__version__} ({built}), torchvision {torchvision.__version__}")


def _gpus(plan: Plan | None) -> Iterator[Finding]:
    names = hardware.gpu_names()
    wanted = plan is not None and plan.sweep.resources.gpus not in (None, 0)
    if not names:
        text = "the driver lists none: trials compute on the CPU"
        remedy = "install the GPU's driver, or give --gpus 0" if wanted else ""
        yield Finding("GPUs", "wrong" if wanted else "note", text, remedy)
        return
    yield Finding("GPUs", "ok", f"{len(names)} x {', '.join(sorted(set(names)))}, driver {hardware.gpu_driver()}")
    yield _cuda()


def _cuda() -> Finding:
    try:
        import torch

        if not torch.cuda.is_available():
            remedy = "install a torch that was built for this driver's CUDA, or look at CUDA_VISIBLE_DEVICES"
            return Finding("CUDA", "wrong", "torch sees none of the GPUs", remedy)
        memory = [torch.cuda.mem_get_info(device) for device in range(torch.cuda.device_count())]
    except Exception as error:
        return Finding("CUDA", "wrong", _line(error), "restart what holds the GPU, or the machine")
    told = ", ".join(f"{free / GIB:.1f} of {total / GIB:.1f} GiB free" for free, total in memory)
    busy = any(free < total / 2 for free, total in memory)
    remedy = "something else uses it: end that, or have fewer trials on one with --gpus 1" if busy else ""
    return Finding("GPU memory", "note" if busy else "ok", told, remedy)


def _package(name: str, requirement: str) -> Finding:
    if importlib.util.find_spec(name.lower()) is None:
        return Finding(name, "wrong", "is not installed", f"uv sync, or pip install '{requirement}'")
    return Finding(name, "ok", importlib.metadata.version(name))


def _shared_memory() -> Finding:
    if not SHARED_MEMORY.exists():
        return Finding("shared memory", "note", f"there is no {SHARED_MEMORY}: Ray uses the disk instead")
    free = shutil.disk_usage(SHARED_MEMORY).free / GIB
    if free < LEAST_SHARED_GIB:
        remedy = "give the container more: docker run --shm-size=2g"
        return Finding("shared memory", "wrong", f"{free:.2f} GiB free in {SHARED_MEMORY}", remedy)
    return Finding("shared memory", "ok", f"{free:.1f} GiB free in {SHARED_MEMORY}")


def _record(store: Store, uri: str | None) -> Finding:
    """MLflow's server, or the database in the store."""
    if uri is None or not uri.startswith(("http://", "https://")):
        there = (store.root / "mlflow.db").exists()
        text = uri or f"the database in the store, {'which is there' if there else 'made by the first run'}"
        return Finding("MLflow's record", "ok", text)
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=ANSWER_S) as answer:
            version = answer.read(100).decode(errors="replace").strip()
    except (OSError, ValueError, urllib.error.URLError) as error:
        remedy = (
            "start it with 'mlflow server', or leave --tracking-uri out; runs go on without it, and 'sync' catches up"
        )
        return Finding("MLflow's record", "wrong", f"{uri} does not answer ({_line(error)})", remedy)
    own = importlib.metadata.version("mlflow")
    same = version.split(".")[0] == own.split(".")[0]
    remedy = "" if same else f"install mlflow {own} there, or {version} here"
    return Finding("MLflow's record", "ok" if same else "wrong", f"{uri} answers, version {version}", remedy)


# the store ----------------------------------------------------------------------------------------


def _store(store: Store) -> Iterator[Finding]:
    place = next(folder for folder in (store.root, *store.root.parents) if folder.exists())
    remedy = "choose another place with --store or EDM_SWEEP_STORE"
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".doctor-") as name:
            folder = Path(name)
            yield Finding("store", "ok", f"{store.root} can be written")
            yield _tried("store's renames", lambda: _rename(folder), remedy)
            yield _tried("store's leases", lambda: _lease(folder), remedy)
    except OSError as error:
        yield Finding("store", "wrong", f"{store.root} cannot be written ({error.strerror})", remedy)


def _tried(what: str, attempt: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, "ok", attempt())
    except Exception as error:
        return Finding(what, "wrong", _line(error), f"the file system does not do what is needed: {remedy}")


def _rename(folder: Path) -> str:
    for name in ("old", "new"):
        (folder / name).write_text(name)
    os.replace(folder / "new", folder / "old")
    if (folder / "old").read_text() != "new":
        raise OSError("a file that was renamed over another did not take its place")
    return "take the place of what was there"


def _lease(folder: Path) -> str:
    """One holder at a time, and the next number only by a name that nobody has."""
    with leases.held(folder):
        try:
            leases.acquire(folder)
        except leases.Held:
            pass
        else:
            raise OSError("a folder was held twice")
    try:
        os.link(folder / "old", folder / "link")
    except OSError:
        return "are exclusive, without hard links"
    return "are exclusive"


def _disk(store: Store, plan: Plan | None) -> Finding:
    free = store.free_bytes() / GIB
    if plan is None:
        if free < LEAST_FREE_GIB:
            return Finding("disk", "wrong", f"{free:,.1f} GiB free", "make room, or choose another --store")
        return Finding("disk", "ok", f"{free:,.1f} GiB free")
    left = [
        *(t for name, t in plan.trainings.items() if not (store.folder("trainings", name) / RESULT).exists()),
        *(e for name, e in plan.evaluations.items() if not (store.folder("evaluations", name) / RESULT).exists()),
    ]
    needs = forecast(plan, left, store).disk_span_gib.high
    text = f"{free:,.1f} GiB free, what is left of {plan.sweep.name} needs about {needs:,.2f} GiB"
    if needs > free:
        return Finding(
            "disk", "wrong", text, "make room ('edm-sweep gc' shows what could go), or choose another --store"
        )
    return Finding("disk", "ok", text)


def _home() -> Finding:
    home = Path(os.path.expanduser("~"))
    if os.access(home, os.W_OK):
        return Finding("HOME", "ok", str(home))
    return Finding("HOME", "note", f"{home} cannot be written; nothing of edm-sweep needs it")


# data and weights ---------------------------------------------------------------------------------


def _data(store: Store, plan: Plan | None) -> Iterator[Finding]:
    if plan is not None:
        sources = list(plan.sources.values())
    else:
        from edm.config import DataConfig

        sources = [DataSource.of(DataConfig(name)) for name in get_args(DatasetName) if name in CATALOGUE]
    for source in sources:
        yield _dataset(store, source, needed=plan is not None)


def _dataset(store: Store, source: DataSource, needed: bool) -> Finding:
    name = source.config.name
    if (store.folder("data", source.signature) / RESULT).exists():
        return Finding(f"data set {name}", "ok", "prepared")
    if name not in CATALOGUE or not CATALOGUE[name].files:
        return Finding(f"data set {name}", "ok", "there, prepared when it is first needed")
    origin = Origin.fetching(data_folder(store.root))
    absent = [f for f in CATALOGUE[name].files if not any(origin.find(name, n) for n in (f.name, f.unpacked))]
    if not absent:
        return Finding(f"data set {name}", "ok", f"its files are in {origin.path}, prepared when it is first needed")
    names = ", ".join(file.name for file in absent)
    megabytes = sum(file.size for file in absent) / 1e6
    remedy = f"it is downloaded by a run that needs it, or put it there, or say where it is: {DATA_VARIABLE}=DIR, or "
    remedy += f"edm-sweep data prepare {name} --from DIR"
    return Finding(
        f"data set {name}", "note", f"{names} ({megabytes:,.0f} MB) is not in {origin.path}", remedy if needed else ""
    )


def _weights(plan: Plan | None) -> Iterator[Finding]:
    spaces: dict[Features, None] = dict.fromkeys(get_args(Features))
    if plan is not None:
        spaces = dict.fromkeys(space.name for e in plan.evaluations.values() for space, _ in e.spaces)
    for name in spaces:
        if name != "classifier":
            yield _weights_of(name, needed=plan is not None)


def _weights_of(name: Features, needed: bool) -> Finding:
    try:
        from edm.metrics.features import required_weights  # heavy: torch
        from edm.metrics.weights import present_weights

        weights = required_weights(name)
        assert weights is not None
        path = present_weights(weights, given_weights())
    except Exception as error:
        return Finding(f"weights of {name}", "wrong" if needed else "note", _line(explain(error) or error))
    if path is not None:
        return Finding(f"weights of {name}", "ok", str(path))
    text = f"{weights.file} ({weights.bytes / 1e6:,.0f} MB) is not there"
    remedy = f"it is downloaded by a run that needs it, or get it from {weights.url} and set {WEIGHTS_VARIABLE} to it"
    return Finding(f"weights of {name}", "note", text, remedy if needed else "")


def _line(error: BaseException | str) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
