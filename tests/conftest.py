"""Shapes and types of edm's public functions are checked in every test run; small sweeps and stores for all tests."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# before anything of edm is imported; processes that tests start run unchecked
install_import_hook("edm", "beartype.beartype")
torch.set_num_threads(1)  # networks this small only wait for each other's threads

from experiments.store.store import Store  # noqa: E402
from experiments.sweep.plan import Plan  # noqa: E402
from tests.commandline import run  # noqa: E402
from tests.planning import load_sweep, plan_sweep  # noqa: E402

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
    from edm.config import SPLITS, EvaluationConfig
    from experiments.trials.evaluation.scoring import scale
    from tests.inprocess import references_of

    file = tmp_path_factory.mktemp("sweep") / "tiny_digits.yaml"
    file.write_text(TINY)
    evaluation = next(iter(plan_sweep(load_sweep(file)).evaluations.values()))
    store = Store(tmp_path_factory.mktemp("prepared"))
    scores = tuple(f"{metric}/{split}" for metric in ("fid", "kid") for split in SPLITS)
    scale(references_of(evaluation, store), EvaluationConfig(images=120), scores)
    return store.root


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Store:
    """A store of its own for one test, with the digits and what scoring them needs already there."""
    root = tmp_path / "store"
    shutil.copytree(prepared, root)
    return Store(root)


# long enough for a kill to land inside, with checkpoints and segments all along
LONGER = (
    TINY.replace("kimg: 0.64", "kimg: 6")
    .replace("images: 120", "images: 2000")
    .replace("steps: 3", "steps: 5")
    .replace("sampling_batch: 40", "sampling_batch: 40, checkpoint_s: 0.3")
)


@dataclass(frozen=True)
class Filled:
    """A sweep file, the store that a run of it filled, and what the run printed."""

    file: Path
    store: Path
    output: str

    @property
    def results(self) -> bytes:
        """results.csv as it is now."""
        return (self.store / "reports" / "tiny_digits" / "results.csv").read_bytes()


@pytest.fixture(scope="session")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """The plan of the tiny sweep, and the store that it filled, in this process; to be read, not changed."""
    from tests.finished import fill

    return fill(tmp_path_factory.mktemp("finished"), prepared)


@pytest.fixture
def done(finished: tuple[Plan, Store], tmp_path: Path) -> tuple[Plan, Store]:
    """The same, to be changed."""
    from tests.finished import copy_of

    return finished[0], copy_of(finished[1], tmp_path)


@pytest.fixture(scope="session")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A real run, by the command line, on Ray and with MLflow, to which nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file, store = folder / "tiny_digits.yaml", folder / "store"
    file.write_text(LONGER)
    shutil.copytree(prepared, store)
    done = run("run", file, "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    return Filled(file, store, done.stdout)
