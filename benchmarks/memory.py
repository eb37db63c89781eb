"""How much memory trainings and evaluations take: is a data set resident once per node, is an evaluation flat?

    uv run python benchmarks/memory.py

First it starts 1, 2 and 4 processes that draw batches from all images of one prepared data set, as trainings on a CPU
do, then asks Linux how much of its file is resident, in all processes together (each page counted once), and how much
memory of its own a process has taken since it opened the data set. On a GPU with enough memory each training has a copy
there. Then it draws and scores more and more images of digits, each number of them in a process of its own.
benchmarks/evaluation.py measures the memory of scoring alone, in Inception's 2,048 dimensions.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edm.data.prepare import IMAGES, LABELS, SPLIT_INDICES

SHAPE = (20_000, 3, 64, 64)
PROCESSES = (1, 2, 4)
WORKER = """\
import sys
from pathlib import Path
import torch
from edm.batches import TrainingSet
from edm.data.dataset import open_prepared

def own_kib():
    return int(Path('/proc/self/status').read_text().split('RssAnon:')[1].split()[0])

data = open_prepared(Path(sys.argv[1]), 0.5)
images = TrainingSet.of(data, torch.device('cpu'))
images.at(torch.arange(64))
before = own_kib()
for positions in torch.randperm(len(images)).split(64):
    images.at(positions)
print(own_kib() - before, flush=True)
sys.stdin.read()  # until all have been measured
"""

SWEEP = """\
name: memory
model:      {preset: nano, channels: 8}
training:   {kimg: 0.64, batch_size: 32}
sampling:   {steps: 2}
evaluation: {images: 1000, features: classifier, metrics: [fid, kid]}
"""
EVALUATED = (1_000, 4_000, 16_000, 64_000)
EVALUATION = """\
import resource, sys
from pathlib import Path
from experiments.inputs import InputFiles
from experiments.store.store import Store
from experiments.sweep.plan import plan_sweep
from experiments.sweep.reader import load_sweep
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform

folder, evaluated = sys.argv[1:]
inputs = InputFiles()
plan = plan_sweep(load_sweep(f'{folder}/memory.yaml', (f'evaluation.images={evaluated}',), inputs), inputs)
store = Store(Path(folder, 'store')).create()
tasks = [*plan.preparations.values(), *plan.trainings.values(), *plan.evaluations.values()]
for task in tasks:
    outcome = perform(store, task, TrialContext(run_id='memory'))
    assert outcome.state == 'done', outcome
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def make_data_set(folder: Path) -> float:
    """Write random images as a prepared data set; return their size in MiB."""
    images = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    np.save(folder / IMAGES, images)
    np.save(folder / LABELS, np.zeros(len(images), dtype=np.int64))
    everything = {"train": list(range(len(images))), "val": [], "test": []}
    (folder / SPLIT_INDICES).write_text(json.dumps(everything))
    return images.nbytes / 2**20


def resident_kib(pid: int) -> tuple[int, int]:
    """Return how much of the images is in the memory of a process: whole, and its share of what several have."""
    sections = Path(f"/proc/{pid}/smaps").read_text().split(IMAGES)[1:]

    def total(key: str) -> int:
        return sum(int(section.split(f"\n{key}:", 1)[1].split()[0]) for section in sections)

    return total("Rss"), total("Pss")


def measure(folder: Path, num: int) -> tuple[float, float, float]:
    """Return MiB of images that are resident in one process and in all together, and the most own memory of one."""
    command = [sys.executable, "-c", WORKER, str(folder)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(num)]
    try:
        own = max(int(worker.stdout.readline()) for worker in workers if worker.stdout)
        found = [resident_kib(worker.pid) for worker in workers]
    finally:
        for worker in workers:
            worker.communicate()
    return max(whole for whole, _ in found) / 1024, sum(share for _, share in found) / 1024, own / 1024


def of_data() -> None:
    """Print how much of a data set is resident, for every number of processes."""
    with tempfile.TemporaryDirectory() as temporary:
        size = make_data_set(Path(temporary))
        print(f"{SHAPE[0]:,} images of {SHAPE[1]}x{SHAPE[2]}x{SHAPE[3]}, {size:.0f} MiB")
        for num in PROCESSES:
            one, together, own = measure(Path(temporary), num)
            print(
                f"{num} trainings: {one:.0f} MiB of them resident in one, {together:.0f} MiB in all together; "
                f"{own:.0f} MiB of own memory for batches",
                flush=True,
            )


def evaluate(folder: Path, images: int) -> int:
    """Do what is missing of the sweep with this number of images; return the most memory that it took, in MiB."""
    command = [sys.executable, "-c", EVALUATION, str(folder), str(images)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def of_evaluations() -> None:
    """Print the most memory of a process that evaluates, with all its libraries, for every number of images."""
    print("evaluations of digits with FID and KID in classifier features")
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary, "prepared")
        prepared.mkdir()
        (prepared / "memory.yaml").write_text(SWEEP)
        evaluate(prepared, 100)  # trains the network and the classifier
        for images in EVALUATED:
            copied = Path(temporary, str(images))
            shutil.copytree(prepared, copied)
            print(f"{images:7,} images: {evaluate(copied, images):5,} MiB at most", flush=True)


def main() -> None:
    """Measure and print both."""
    of_data()
    of_evaluations()


if __name__ == "__main__":
    main()
