"""Memory of workers: kept from tensor to tensor, and returned at the end of a task."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runner.ray_environment import KEPT_MEMORY

ROOT = Path(__file__).parents[3]
# as in a worker: not in the first thread; 20 MB are 5,000 pages
IN_A_THREAD = """\
import resource, threading
from pathlib import Path
import torch
from experiments.trials.memory import return_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

def work():
    images = torch.ones(5_000_000)
    for _ in range(10):  # the library itself needs some tensors until it reuses their memory
        images.relu()
    before = pages()
    for _ in range(10):
        images.relu()
    cleared = pages() - before
    del images
    kept = resident()
    return_freed_memory()
    print(cleared, kept - resident())

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def pages_in_a_thread(**variables: str) -> tuple[int, int]:
    """Return how many pages the system cleared for ten tensors of 5,000 pages each, and how many were returned."""
    command = [sys.executable, "-c", IN_A_THREAD]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    cleared, returned = map(int, done.stdout.split())
    return cleared, returned


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's environment variables")
def test_workers_keep_memory_for_the_next_tensor_and_return_it_at_the_end() -> None:
    cleared, returned = pages_in_a_thread(**KEPT_MEMORY)
    assert cleared < 500  # some pages of Python's own
    assert returned > 9_000  # of both tensors
    cleared, _ = pages_in_a_thread(**dict.fromkeys(KEPT_MEMORY, ""))
    assert cleared > 45_000
