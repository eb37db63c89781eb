"""The processes that train one network together with this one: started, watched and ended here; and what they do.

    python -m experiments.peers '{"root": ..., "signature": ..., ...}'

The first of a team is the trial itself, which alone writes to the store. The others have nothing to save and end at
once when it does, however it ends: their standard input closes.
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
import yaml
from pydantic import TypeAdapter
from torch.distributed import Store as Rendezvous  # pyright: ignore[reportPrivateImportUsage]

from edm.batches import TrainingSet
from edm.parallel import ALONE, ProcessLostError, Team, abandon, join_rendezvous, open_rendezvous, process_group
from edm.train import Computing, TrainState, train
from experiments.errors import UserError
from experiments.store.layout import CONFIG, LOG
from experiments.store.store import Store
from experiments.sweep.checks import require_even_batches
from experiments.sweep.tasks import Training
from experiments.trials.assets import ensure_data
from experiments.trials.context import TrialContext
from experiments.trials.failures import is_out_of_memory

START_S = 300  # for all of a team to be there: on a cold disk torch alone takes a minute to import
LEAVE_S = 10  # for a process to end before it is killed
NOTICE_S = 3  # from an exchange that fails to the end of the process that is to blame
POLL_S = 0.1
OUT_OF_MEMORY = 75  # exit code of a process that had too little of it


@dataclass(frozen=True)
class WorkerSpec:
    """What one process of a team is to train, and as which of them."""

    root: str
    signature: str
    rank: int
    size: int
    port: int
    device: str
    threads: int
    computing: dict[str, Any]


class WorkerGroup:
    """The other processes of a team, seen from its first."""

    def __init__(self, team: Team, device: torch.device, processes: list[subprocess.Popen[bytes]]) -> None:
        self.team, self.device, self.processes = team, device, processes
        self.ending = threading.Event()

    def raise_if_lost(self) -> None:
        """Raise where one of them has ended before its work was done."""
        codes = [process.poll() for process in self.processes]
        if any(codes):
            raise _end_of(codes)

    def require_whole(self) -> None:
        """The same once all that was computed with them is there: to be asked before anything of it is saved."""
        if self.processes and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.raise_if_lost()

    def gather(self, rendezvous: Rendezvous) -> None:
        """Wait until all of them are there."""
        deadline = time.monotonic() + START_S
        while not rendezvous.check([_here(1 + number) for number in range(len(self.processes))]):
            self.raise_if_lost()
            if time.monotonic() > deadline:
                raise ProcessLostError(f"the {self.team.size} processes of a training did not start within {START_S} s")
            time.sleep(POLL_S)

    def watch(self) -> None:
        """Give up what is exchanged with them as soon as one is gone: a GPU would wait for it for ever."""
        while not self.ending.wait(POLL_S):
            if any(process.poll() for process in self.processes):
                abandon()
                return

    def explain(self, error: RuntimeError) -> None:
        """Raise what lies behind an error of an exchange, where it is that one of them is gone."""
        if isinstance(error, ProcessLostError) or is_out_of_memory(error):
            return
        deadline = time.monotonic() + NOTICE_S
        while time.monotonic() < deadline:
            try:
                self.raise_if_lost()
            except RuntimeError as behind:
                raise behind from error
            time.sleep(POLL_S)

    def end(self) -> None:
        """End them all."""
        self.ending.set()
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_of(codes: list[int | None]) -> RuntimeError:
    """What to say of processes that have ended with these exit codes; what others met because of it counts less."""
    of = f"of {1 + len(codes)} processes that train one network, number"
    rank, code = min(((rank, code) for rank, code in enumerate(codes, start=1) if code), key=_weight)
    if code == OUT_OF_MEMORY:
        return torch.OutOfMemoryError(f"{of} {rank} is out of memory")
    if code < 0:
        return ProcessLostError(f"{of} {rank} was killed (signal {-code})")
    return RuntimeError(f"{of} {rank} failed (exit code {code}); its traceback is above in {LOG}")


def _weight(ended: tuple[int, int]) -> tuple[bool, bool]:
    return ended[1] != OUT_OF_MEMORY, ended[1] > 0


def _here(rank: int) -> str:
    return f"here/{rank}"


@contextmanager
def worker_group(
    store: Store, training: Training, context: TrialContext, computing: Computing
) -> Iterator[WorkerGroup]:
    """The processes that `context` wants to train one network, started, and ended when the block ends.

    Raises ProcessLostError where one of them is gone, torch.OutOfMemoryError where one is out of memory.
    """
    size = team_size(training, context)
    if size == 1:
        yield WorkerGroup(ALONE, context.device, [])
        return
    group, rendezvous = WorkerGroup(Team(0, size), context.device, []), open_rendezvous()
    try:
        with (store.folder("trainings", training.signature) / LOG).open("a") as log:
            for rank in range(1, size):
                spec = _spec(store, training, context, computing, rank, rendezvous.port)
                group.processes.append(_started(spec, log))
        group.gather(rendezvous)
        threading.Thread(target=group.watch, daemon=True).start()
        with process_group(rendezvous, group.team, group.device):
            yield group
    except RuntimeError as error:
        group.explain(error)
        raise
    finally:
        group.end()


def team_size(training: Training, context: TrialContext) -> int:
    """How many processes train a network together; raises UserError where its batches cannot be shared out."""
    size = max(1, int(context.gpus))
    require_even_batches([training], context.gpus)
    if context.device.type == "cuda" and torch.cuda.device_count() < size:
        raise UserError(
            f"resources.gpus: {size} GPUs were asked for and torch sees {torch.cuda.device_count()}; "
            "give at most as many, or look at CUDA_VISIBLE_DEVICES"
        )
    return size


def _spec(
    store: Store, training: Training, context: TrialContext, computing: Computing, rank: int, port: int
) -> WorkerSpec:
    size, device = int(context.gpus), context.device.type
    device = f"cuda:{rank}" if device == "cuda" else device
    root = str(store.root)
    return WorkerSpec(root, training.signature, rank, size, port, device, context.threads, asdict(computing))


def _started(spec: WorkerSpec, log: TextIO) -> subprocess.Popen[bytes]:
    # code that is shipped to a cluster's nodes is on this process's path alone
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.trials.training.distributed", json.dumps(asdict(spec))],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the first of a team, which saves before they all end
    )


# the other side: what such a process does ----------------------------------------------------------


def follow(spec: WorkerSpec) -> None:
    """Train as one of a team, to the end."""
    device = torch.device(spec.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(spec.threads)
    store = Store(Path(spec.root))
    training = planned(store, spec.signature)
    data = ensure_data(store, training.data)
    rendezvous = join_rendezvous(spec.port)
    rendezvous.set(_here(spec.rank), "")
    with process_group(rendezvous, Team(spec.rank, spec.size), device) as team:
        computing = Computing(**spec.computing)
        state = TrainState(training.network, training.config, data.sigma_data, training.seed, device, computing, team)
        for _ in train(state, TrainingSet.of(data, device)):
            pass


def planned(store: Store, signature: str) -> Training:
    """A training as it was planned, from its folder."""
    content = yaml.safe_load((store.folder("trainings", signature) / CONFIG).read_text())
    return TypeAdapter(Training).validate_json(json.dumps(content))


def _end_with_the_first() -> None:
    """Wait for standard input to close, and leave, whatever else this process waits for."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Be one of a team, as the spec in the arguments says."""
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to all of a job; the first saves what there is
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        follow(WorkerSpec(**json.loads(sys.argv[1])))
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(OUT_OF_MEMORY if is_out_of_memory(error) else 1)  # at once: others wait in an exchange


if __name__ == "__main__":
    main()
