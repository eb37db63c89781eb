"""Trains one network with several processes: starts, watches and stops the workers, and is what they run.

    python -m experiments.trials.training.distributed '{"root": ..., "signature": ..., ...}'

The first process of a team is the trial itself, and only it writes to the store. The workers have nothing to save. When
the trial ends, in whatever way, their standard input closes and they exit at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch.distributed import Store as Rendezvous  # pyright: ignore[reportPrivateImportUsage]

from edm.batches import TrainingSet
from edm.networks.device import is_out_of_memory
from edm.parallel import ALONE, ProcessLostError, Team, abandon, join_rendezvous, open_rendezvous, process_group
from edm.train import Computing, train
from experiments.environment import inherited
from experiments.errors import UserError
from experiments.store.layout import CONFIG, LOG
from experiments.store.store import Store
from experiments.store.yaml_text import parse_yaml
from experiments.sweep.checks import require_even_batches
from experiments.sweep.serialisation import task_from_json
from experiments.sweep.spec import gpus_of_training
from experiments.sweep.tasks import Training
from experiments.trials.assets import ensure_data
from experiments.trials.context import TrialContext
from experiments.trials.extensions import require_loaded
from experiments.trials.training.state import first_state

START_S = 300  # for all workers to be ready; from a cold disk, importing torch alone takes a minute
EXIT_S = 10  # for a worker to exit before it is killed
BLAME_S = 3  # after an exchange failed, for the worker that caused it to exit
POLL_S = 0.1
OUT_OF_MEMORY = 75  # exit code of a worker that ran out of memory


@dataclass(frozen=True)
class WorkerSpec:
    """Tells a worker which training to take part in, and as which process of the team."""

    root: str
    signature: str
    rank: int
    size: int
    port: int
    device: str
    threads: int
    computing: dict[str, Any]


class WorkerGroup:
    """The workers of a team, as its first process sees them; empty where one process trains alone."""

    def __init__(self, team: Team, device: torch.device, processes: list[subprocess.Popen[bytes]]) -> None:
        self.team, self.device, self.processes = team, device, processes
        self.stopping = threading.Event()

    def raise_if_lost(self) -> None:
        """Raise the reason if a worker has exited before its work was done."""
        codes = [process.poll() for process in self.processes]
        if any(codes):
            raise _reason(codes)

    def synchronize(self) -> None:
        """Wait for all computation and raise if a worker was lost in it; call this before saving anything."""
        if self.processes and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.raise_if_lost()

    def wait_until_ready(self, rendezvous: Rendezvous) -> None:
        """Wait until all workers have joined; raises ProcessLostError after START_S seconds."""
        deadline = time.monotonic() + START_S
        while not rendezvous.check([_ready_key(1 + number) for number in range(len(self.processes))]):
            self.raise_if_lost()
            if time.monotonic() > deadline:
                raise ProcessLostError(f"the {self.team.size} processes of a training did not start within {START_S} s")
            time.sleep(POLL_S)

    def watch(self) -> None:
        """Abort exchanges as soon as a worker is lost, as a GPU would wait for it for ever; runs in a thread."""
        while not self.stopping.wait(POLL_S):
            if any(process.poll() for process in self.processes):
                abandon()
                return

    def raise_cause(self, error: RuntimeError) -> None:
        """Raise the loss of a worker, if that is what made an exchange fail with `error`."""
        if isinstance(error, ProcessLostError) or is_out_of_memory(error):
            return
        deadline = time.monotonic() + BLAME_S
        while time.monotonic() < deadline:
            try:
                self.raise_if_lost()
            except RuntimeError as cause:
                raise cause from error
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop all workers; kill those that do not exit in time."""
        self.stopping.set()
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(EXIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _reason(codes: list[int | None]) -> RuntimeError:
    """Return the error for these exit codes: that of the worker that most likely failed first."""
    rank, code = min(((rank, code) for rank, code in enumerate(codes, start=1) if code), key=_blame)
    worker = (
        f"process {rank + 1} of the {1 + len(codes)} that train one network"  # as in the log: the trial is number 1
    )
    if code == OUT_OF_MEMORY:
        return torch.OutOfMemoryError(f"{worker} ran out of memory")
    if code < 0:
        return ProcessLostError(f"{worker} was killed (signal {-code})")
    return RuntimeError(f"{worker} failed (exit code {code}); its traceback is above in {LOG}")


def _blame(exited: tuple[int, int]) -> tuple[bool, bool]:
    """Order (rank, exit code): out of memory, then killed, then errors, which may only follow from another's end."""
    code = exited[1]
    return code != OUT_OF_MEMORY, code > 0


def _ready_key(rank: int) -> str:
    return f"ready/{rank}"


@contextmanager
def worker_group(
    store: Store, training: Training, context: TrialContext, computing: Computing
) -> Iterator[WorkerGroup]:
    """Start the workers that train a network with this process, and stop them when the block ends.

    Raises ProcessLostError if a worker is lost, torch.OutOfMemoryError if one runs out of memory.
    """
    size = team_size(training, context)
    if size == 1:
        yield WorkerGroup(ALONE, context.device, [])
        return
    group, rendezvous = WorkerGroup(Team(0, size), context.device, []), open_rendezvous()
    try:
        with (store.folder_of(training) / LOG).open("a") as log:
            for rank in range(1, size):
                spec = _spec(store, training, context, computing, rank, rendezvous.port)
                group.processes.append(_start(spec, log))
        group.wait_until_ready(rendezvous)
        threading.Thread(target=group.watch, daemon=True).start()
        with process_group(rendezvous, group.team, group.device):
            yield group
    except RuntimeError as error:
        group.raise_cause(error)
        raise
    finally:
        group.stop()


def team_size(training: Training, context: TrialContext) -> int:
    """Return how many processes train a network; raises UserError if they cannot share its batches or lack GPUs."""
    size = gpus_of_training(context.gpus)
    require_even_batches([training], context.gpus)
    if context.device.type == "cuda" and torch.cuda.device_count() < size:
        raise UserError(
            f"resources.gpus: asks for {size} GPUs, but torch sees {torch.cuda.device_count()}; "
            "ask for fewer, or check CUDA_VISIBLE_DEVICES"
        )
    return size


def _spec(
    store: Store, training: Training, context: TrialContext, computing: Computing, rank: int, port: int
) -> WorkerSpec:
    size, device = gpus_of_training(context.gpus), context.device.type
    device = f"cuda:{rank}" if device == "cuda" else device
    root = str(store.root)
    return WorkerSpec(root, training.signature, rank, size, port, device, context.threads, asdict(computing))


def _start(spec: WorkerSpec, log: TextIO) -> subprocess.Popen[bytes]:
    # code that is shipped to a cluster's nodes is on this process's path alone
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.trials.training.distributed", json.dumps(asdict(spec))],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=inherited(PYTHONPATH=path),
        start_new_session=True,  # Ctrl-C is for the first process, which saves its state and then stops the workers
    )


# what a worker runs --------------------------------------------------------------------------------


def train_as_worker(spec: WorkerSpec) -> None:
    """Take part in a training from its newest checkpoint to its last step."""
    device = torch.device(spec.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(spec.threads)
    store = Store(Path(spec.root))
    content = (store.folder("trainings", spec.signature) / CONFIG).read_bytes()
    training = task_from_json(Training, parse_yaml(content))
    require_loaded(training, store)
    data = ensure_data(store, training.data)
    rendezvous = join_rendezvous(spec.port)
    rendezvous.set(_ready_key(spec.rank), "")
    with process_group(rendezvous, Team(spec.rank, spec.size), device) as team:
        computing = Computing(**spec.computing)
        state = first_state(store, training, data, device, computing, team)
        for _ in train(state, TrainingSet.of(data, device)):
            pass


def _exit_with_trial() -> None:
    """Wait for standard input to close, then exit, whatever else this process is waiting for."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Run as the worker that the first argument, a WorkerSpec in JSON, describes."""
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to all processes; the trial saves its state
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_trial, daemon=True).start()
    try:
        train_as_worker(WorkerSpec(**json.loads(sys.argv[1])))
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(OUT_OF_MEMORY if is_out_of_memory(error) else 1)  # at once, as the others wait in an exchange


if __name__ == "__main__":
    main()
