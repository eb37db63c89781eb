"""What cells share, as tasks on real Ray: published weights are downloaded, an exact solution is drawn."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from edm.metrics.weights import INCEPTION_WEIGHTS
from experiments.store.results import EvaluationResult, SolutionRecord, WeightsRecord
from experiments.store.store import Store
from experiments.sweep.preparations import ExactSolution
from tests.commandline import run
from tests.conftest import TINY
from tests.planning import load_sweep, plan_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRIPWIRE = Path(__file__).parents[2] / "faults" / "tripwire" / "sitecustomize.py"
PIXELS, DIMENSION = 64, 2048
# in every process of the run: Inception's weights are the test's, and its features a projection, which takes no minutes
SITE = f"""
import dataclasses, importlib.util, json, os, sys

spec = importlib.util.spec_from_file_location("tripwire", {str(TRIPWIRE)!r})
tripwire = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tripwire)

def publish(module):
    ours = dataclasses.replace(module.INCEPTION_WEIGHTS, **json.loads(os.environ["EDM_TEST_WEIGHTS"]))
    module.INCEPTION_WEIGHTS = module.PUBLISHED["inception"] = ours

class Projection:
    dimension, knows_classes, fingerprint = {DIMENSION}, False, "a projection"

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, images):
        return images.flatten(1).float() @ self.matrix, None

def project(module):
    def load_inception(device, resize="pytorch-fid", given=None):
        return Projection(module.torch.load(module.find_weights(module.INCEPTION_WEIGHTS, given), weights_only=True))

    module.load_inception = load_inception

changes = {{"edm.metrics.weights": publish, "edm.metrics.features": project}}
sys.meta_path.insert(0, tripwire.Finder([], None, changes))
"""


@pytest.fixture
def published(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Serve weights on this machine; the variables by which a run takes them for those of Inception."""
    for folder in ("served", "site", "weights"):
        (tmp_path / folder).mkdir()
    file = tmp_path / "served" / INCEPTION_WEIGHTS.file
    torch.save(torch.randn(PIXELS, DIMENSION, generator=torch.Generator().manual_seed(0)) / 255, file)
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    handler = partial(SimpleHTTPRequestHandler, directory=str(file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        content = file.read_bytes()
        weights = {
            "url": f"http://127.0.0.1:{server.server_port}/{file.name}",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        yield {
            "PYTHONPATH": str(tmp_path / "site"),
            "EDM_TEST_WEIGHTS": json.dumps(weights),
            "EDM_SWEEP_WEIGHTS": str(tmp_path / "weights"),
            "no_proxy": "127.0.0.1",
        }
        server.shutdown()


def test_weights_and_an_exact_solution_are_tasks_of_a_run(tmp_path: Path, published: dict[str, str]) -> None:
    file, store = tmp_path / "tiny_digits.yaml", Store(tmp_path / "store")
    text = TINY.replace("model.attention: [false, true]", "model.attention: [false]")
    file.write_text(text.replace("features: classifier", "features: inception, metrics: [kid], truncation: true"))
    one_core = ("--cpus-per-trial", "1")  # also for the training, which would have its own worker with both
    done = run("run", file, "--store", store.root, *one_core, **published)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    (drawn,) = (number for number, line in enumerate(lines) if "done draw exact-solution/" in line)
    (trained,) = (number for number, line in enumerate(lines) if "done train " in line)
    assert trained < drawn and sum("done download weights/inception: " in line for line in lines) == 1
    plan = plan_sweep(load_sweep(file))
    (solution,) = (task for task in plan.preparations.values() if isinstance(task, ExactSolution))
    record = store.verified(SolutionRecord, solution.signature)
    assert record is not None and record.seconds > 0 and record.provenance.began is not None
    results = [store.result(EvaluationResult, signature) for signature in plan.evaluations]
    assert len(results) == 2 and all(result and result.metrics["truncation_rms"] > 0 for result in results)
    (folder,) = (store.root / "weights").iterdir()
    weights = store.result(WeightsRecord, folder.name)
    assert weights is not None and Path(weights.path).parent == tmp_path / "weights"
    assert "is there" in run("logs", "weights/inception", "--store", store.root, **published).stdout
    assert run("logs", "exact-solution", "--store", store.root, **published).returncode == 0
    again = run("run", file, "--store", store.root, **published)
    assert again.returncode == 0 and "Nothing is left to do." in again.stdout
