"""Fifteen hundred mutations of valid files, the same in every run: exit code 0 or 2, one sentence, quick, and small."""

import contextlib
import json
import resource
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edm.config import NetworkConfig
from edm.files import load_model, save_model
from edm.metrics.published import StatisticsError, load_statistics
from edm.precondition import Denoiser
from experiments.store.layout import CONFIG, INFLUENCES, JOURNAL, RESULT, SAMPLES
from experiments.store.result_files import OWN_CHECKSUM, with_checksum
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.bundle import MANIFEST, SWEEP, export
from tests.commandline import invoke
from tests.experiments.tracking.test_bundle import tampered
from tests.fuzzing import mutations

SWEEP_FILE = """\
name: trial
x-short: &short {kimg: 50, label_dropout: 0.1}
data:       {name: digits}
model:      {preset: nano, channels: 8}
training:   {<<: *short, batch_size: 32, lr: 2.0e-3}
sampling:   {sampler: heun, steps: 3, guidance: 1.5}
evaluation: {images: 1000, features: classifier, splits: [train, test]}
grid:
  - {model.attention: [false, true]}
  - {model.attention: [none], sampling.steps: [4, 5]}
zip: {sampling.seed: [1, 2], sampling.rho: [6, 7]}
exclude: [{model.attention: false}]
seeds: [0, 1]
resources:  {gpus: 0, cpus: 1}
report:     {columns: [sampling.steps], metrics: [fid_test]}
"""
DIMENSION = 6
QUICK = 20
LARGEST_GROWTH_KIB = 500 * 2**10
LONGEST_S = 10.0  # of CPU time: what blows up takes minutes; a slow machine took 2.7 s for a report


def same_every_time(examples: int) -> settings:
    """Settings for so many mutations, the same in every run; the deadline is only for what would never end."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=timedelta(seconds=60),
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def within_bounds() -> Iterator[None]:
    """Assert that the block uses less than LONGEST_S of this process's CPU, and does not let it grow by 500 MB.

    CPU time does not tell how busy the machine is. What the block imports has to be imported before.
    """
    before, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began_s < LONGEST_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST_GROWTH_KIB


def check(answer: subprocess.CompletedProcess[str]) -> None:
    """Assert that a command ended well or with one sentence, and printed nothing that controls a terminal."""
    assert answer.returncode in (0, 2), answer.stdout + answer.stderr
    assert all(line.isprintable() for line in (answer.stdout + answer.stderr).splitlines())
    if answer.returncode == 2:
        assert len(answer.stderr.splitlines()) == 1 and 10 < len(answer.stderr) < 2000


def quick_and_slow(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a test run with few mutations, and as a slow one with all of them."""
    counts = [pytest.param(QUICK, id="some"), pytest.param(examples, id="all", marks=pytest.mark.slow)]
    return pytest.mark.parametrize("examples", counts)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzing")


@pytest.fixture(scope="session")
def packed(finished: tuple[Plan, Store], place: Path) -> Path:
    path = place / "bundle.zip"
    export(*finished, path)
    answer = invoke("report", path, "--store", place / "store")  # imports what takes long to import
    assert answer.returncode == 0, answer.stderr
    return path


@pytest.fixture(scope="session")
def planned(place: Path) -> None:
    """The file that is mutated is valid; to plan it imports what takes long to import."""
    file = place / "valid.yaml"
    file.write_text(SWEEP_FILE)
    answer = invoke("plan", file, "--store", place / "store")
    assert answer.returncode == 0, answer.stderr


@quick_and_slow(400)
def test_sweep_files(place: Path, planned: None, examples: int) -> None:
    file = place / "x.yaml"

    @same_every_time(examples)
    @given(mutations.texts(SWEEP_FILE))
    def mutated(text: str) -> None:
        file.write_text(text, encoding="utf-8", newline="")
        with within_bounds():
            check(invoke("plan", file, "--store", place / "store"))

    mutated()


@quick_and_slow(300)
def test_bytes_of_sweep_files(place: Path, planned: None, examples: int) -> None:
    file = place / "y.yaml"

    @same_every_time(examples)
    @given(mutations.contents(SWEEP_FILE.encode()))
    def mutated(content: bytes) -> None:
        file.write_bytes(content)
        with within_bounds():
            check(invoke("plan", file, "--store", place / "store"))

    mutated()


@quick_and_slow(150)
def test_bytes_of_bundles(place: Path, packed: Path, examples: int) -> None:
    file = place / "bytes.zip"

    @same_every_time(examples)
    @given(mutations.contents(packed.read_bytes(), start=200))
    def mutated(content: bytes) -> None:
        file.write_bytes(content)
        with within_bounds():
            check(invoke("report", file, "--store", place / "store"))

    mutated()


def members(packed: Path) -> st.SearchStrategy[dict[str, bytes]]:
    """A file of a bundle, changed and sealed as if it had been exported so."""
    with zipfile.ZipFile(packed) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name != MANIFEST}
    kinds = (SWEEP, RESULT, CONFIG, JOURNAL, INFLUENCES, SAMPLES)
    names = [name for name in held if name.endswith(kinds)]

    def changed(name: str) -> st.SearchStrategy[dict[str, bytes]]:
        if not name.endswith(".json"):
            return mutations.contents(held[name], start=100).map(lambda content: {name: content})
        document = json.loads(held[name])
        document.pop(OWN_CHECKSUM, None)
        return mutations.documents(document).map(lambda made: {name: _sealed(made)})

    return st.sampled_from(names).flatmap(changed)


def _sealed(document: Any) -> bytes:
    own = isinstance(document, dict) and "provenance" in document
    return json.dumps(with_checksum(document) if own else document).encode()


@quick_and_slow(100)
def test_files_in_bundles(place: Path, packed: Path, examples: int) -> None:
    @same_every_time(examples)
    @given(members(packed))
    def mutated(files: dict[str, bytes]) -> None:
        bad = tampered(packed, place / "files.zip", files)
        with within_bounds():
            check(invoke("report", bad, "--store", place / "store"))

    mutated()


@quick_and_slow(300)
def test_published_statistics(place: Path, examples: int) -> None:
    file = place / "statistics.npz"
    np.savez(file, mu=np.zeros(DIMENSION), sigma=np.eye(DIMENSION))
    assert load_statistics(file, DIMENSION).covariance.shape == (DIMENSION, DIMENSION)
    valid = file.read_bytes()

    @same_every_time(examples)
    @given(mutations.contents(valid, start=200))
    def mutated(content: bytes) -> None:
        file.write_bytes(content)
        with within_bounds(), contextlib.suppress(StatisticsError):
            load_statistics(file, DIMENSION)

    mutated()


@quick_and_slow(300)
def test_models(place: Path, examples: int) -> None:
    file = place / "model.safetensors"
    network = NetworkConfig(1, 8, 3, 8, (1,), (0,), 0, norm="group")
    save_model(Denoiser(network, 0.5), file)
    assert asdict(load_model(file).config) == asdict(network)
    valid = file.read_bytes()
    header = int.from_bytes(valid[:8], "little")

    @same_every_time(examples)
    @given(mutations.contents(valid, start=header + 8))
    def mutated(content: bytes) -> None:
        file.unlink()  # a model that was read is mapped
        file.write_bytes(content)
        with within_bounds():
            said = refusal(file)
        assert said is None or (said.startswith(f"{file}: ") and "\n" not in said)

    mutated()


def refusal(file: Path) -> str | None:
    """What is said of a model file; None where it is read."""
    try:
        load_model(file)
    except ValueError as error:
        return str(error)
    return None
