"""Shapes and types of edm's public functions are checked in every test run; small sweeps and stores for all tests."""

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pytest
import torch

from tests.shapes import check_shapes

check_shapes("edm")  # before anything of edm is imported
torch.set_num_threads(1)  # networks this small only wait for each other's threads

from experiments.store.store import Store  # noqa: E402
from experiments.sweep.plan import Plan  # noqa: E402
from reports.metrics import METRICS  # noqa: E402
from tests.commandline import run  # noqa: E402
from tests.planning import load_sweep, plan_sweep  # noqa: E402
from tests.table import reproducible  # noqa: E402

QUICK = "not slow"  # what pyproject.toml gives to -m
MEMORY = Path("/dev/shm")
ROOM = 6 * 2**30  # bytes, several times what all tests write
LONG_FILES = (  # whose few slow tests take a minute or more each
    "test_cluster.py",
    "test_faults.py",
    "test_gpu_check.py",
    "test_real_data.py",
    "test_shared_store.py",
    "test_terminal.py",
)

TINY = """\
name: tiny_digits
model:      {preset: nano, channels: 8}
training:   {kimg: 0.64, batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1, label_dropout: 0.1}
sampling:   {steps: 3}
evaluation: {images: 120, features: classifier}
grid:
  model.attention: [false, true]
  sampling.sampler: [euler, heun]
resources:  {sampling_batch: 40}
"""


def pytest_configure() -> None:
    """Keep the folders of tests in memory if there is room: a store syncs every file, which takes a disk 10 ms."""
    if MEMORY.is_dir() and min(psutil.disk_usage(str(MEMORY)).free, psutil.virtual_memory().available) > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run in one process where files are named, which start faster so, and where slow tests are asked for.

    Otherwise there is a worker for every core: the default of -n auto.
    """
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return None if everything and config.option.markexpr == QUICK else 0


@pytest.hookimpl(trylast=True)  # when those that are not to run have been left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker has one of them left when the others are done."""
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name not in LONG_FILES, -counts[item.path]))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without slow tests where only those are asked for: to import all takes each worker 10 s."""
    only_slow = config.option.markexpr.startswith("slow") and collection_path.name.startswith("test_")
    return True if only_slow and not names_slow(collection_path) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a slow test that would not be found so: its file has to contain the word."""
    if item.get_closest_marker("slow") is not None and not names_slow(item.path):
        raise pytest.UsageError(f"{item.path}: has a slow test, but not the word")


@cache
def names_slow(path: Path) -> bool:
    """Return whether a file contains the name of the mark."""
    return "slow" in path.read_text()


def filled_once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], None]) -> Path:
    """Return a folder that the first worker to ask fills, for all workers; the others wait for it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of all workers
    folder, filled = base / name, base / f"{name}.filled"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not filled.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            fill(folder)
            filled.touch()
    return folder


@pytest.fixture(autouse=True)
def no_silent_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which processes earlier tests saw fall silent: most of them were this one."""
    from experiments.store import lease_watch

    monkeypatch.setattr(lease_watch, "_silent", set())


@pytest.fixture(autouse=True)
def own_metrics() -> Iterator[None]:
    """Forget the metrics that extensions of a test declare."""
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """A sweep of two trainings and four evaluations that takes a few seconds."""
    path = tmp_path / "tiny_digits.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny_plan(tiny_file: Path) -> Plan:
    """Its plan."""
    return plan_sweep(load_sweep(tiny_file))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the digits, their classifier and their reference statistics, made once for all tests."""
    return filled_once(tmp_path_factory, "prepared", prepare) / "store"


def prepare(folder: Path) -> None:
    """Fill a store with everything that scoring the tiny sweep needs."""
    from experiments.trials.perform import perform
    from tests.inprocess import CONTEXT

    file = folder / "tiny_digits.yaml"
    file.write_text(TINY)
    store = Store(folder / "store").create()
    for task in plan_sweep(load_sweep(file)).preparations.values():
        assert perform(store, task, CONTEXT).state == "done"


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Store:
    """A store of its own for one test, with the digits and what scoring them needs already there."""
    root = tmp_path / "store"
    shutil.copytree(prepared, root)
    return Store(root)


# long enough for a kill to land inside, with checkpoints and segments all along
LONGER = (
    TINY.replace("kimg: 0.64", "kimg: 4")
    .replace("images: 120", "images: 1500")
    .replace("steps: 3", "steps: 5")
    .replace("sampling_batch: 40", "sampling_batch: 40, checkpoint_s: 0.3")
)


@pytest.fixture(scope="module")
def few_statistics() -> Iterator[None]:
    """Compute batch-norm statistics over few batches, which else take as long as a training of a test."""
    from edm.train import averaged_model
    from experiments.trials.training import observer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observer, "averaged_model", lambda state, data, *_: averaged_model(state, data, 4))
        yield


@dataclass(frozen=True)
class Filled:
    """A sweep file, the store that a run of it filled, what the run printed, and its table."""

    file: Path
    store: Path
    output: str
    results: str  # results.csv, without measured times


@pytest.fixture(scope="session")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """The plan of the tiny sweep, and the store that it filled, in this process; to be read, not changed."""
    from tests.finished import fill

    folder = filled_once(tmp_path_factory, "finished", lambda folder: fill(folder, prepared))
    return plan_sweep(load_sweep(folder / "tiny_digits.yaml")), Store(folder / "store")


@pytest.fixture
def done(finished: tuple[Plan, Store], tmp_path: Path) -> tuple[Plan, Store]:
    """The same, to be changed."""
    from tests.finished import copy_of

    return finished[0], copy_of(finished[1], tmp_path)


@pytest.fixture
def trained(finished: tuple[Plan, Store], tmp_path: Path) -> Store:
    """A store of its own for one test, with the networks of the tiny sweep, of which nothing has been drawn."""
    root = tmp_path / "store"
    shutil.copytree(finished[1].root, root, ignore=shutil.ignore_patterns("drawings", "evaluations", "sweeps"))
    return Store(root)


@pytest.fixture
def filled(done: tuple[Plan, Store]) -> Store:
    """A store that the tiny sweep has filled, to be changed."""
    return done[1]


@pytest.fixture(scope="session")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A real run, by the command line, on Ray and with MLflow, to which nothing happens; made once for all workers."""
    folder = filled_once(tmp_path_factory, "undisturbed", lambda folder: run_undisturbed(folder, prepared))
    output, results = ((folder / name).read_text() for name in ("output.txt", "results.csv"))
    return Filled(folder / "tiny_digits.yaml", folder / "store", output, results)


def run_undisturbed(folder: Path, prepared: Path) -> None:
    """Run a sweep in a folder whose packages have our names, and with a TMPDIR that is too long for Ray's sockets."""
    temporary = folder / ("temporary" * 9)
    temporary.mkdir()
    for name in ("edm", "experiments", "reports"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('somebody else's package')\n")
    file, store = folder / "tiny_digits.yaml", folder / "store"
    file.write_text(LONGER)
    shutil.copytree(prepared, store)
    done = run("run", file, "--store", store, folder=folder, TMPDIR=str(temporary))
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "output.txt").write_text(done.stdout)
    (folder / "results.csv").write_text(reproducible(store / "reports" / "tiny_digits" / "results.csv"))
