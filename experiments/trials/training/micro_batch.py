"""Lowers the micro-batch where memory runs out, and remembers the limit for trainings of the same kind."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from edm.train import Computing
from experiments.store.files import read_json, write_json
from experiments.store.store import Store
from experiments.sweep.identity import canonical
from experiments.sweep.spec import gpus_of_training
from experiments.sweep.tasks import Training
from experiments.trials.context import TrialContext, device_name

LIMITS = "lessons"  # folder of the store

log = logging.getLogger("edm_sweep")


@dataclass(frozen=True)
class MicroBatchLimit:
    """The largest micro-batch that may fit, kept in a file for each network, batch, precision and device."""

    path: Path
    batch_size: int
    num_gpus: int

    @classmethod
    def of(cls, store: Store, training: Training, context: TrialContext, computing: Computing) -> MicroBatchLimit:
        """Return the limit that a training shares with all of the same network, batch, precision and device."""
        batch_size = training.config.batch_size
        kind = {
            "network": canonical(training.network),
            "batch_size": batch_size,
            "precision": computing.precision,
            "device": device_name(context.device),
            "gpus": context.gpus,  # a share of one has a share of its memory
        }
        digest = hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:20]
        return cls(store.root / LIMITS / f"{digest}.json", batch_size, gpus_of_training(context.gpus))

    def apply(self, computing: Computing) -> Computing:
        """Return `computing` with its micro-batch lowered to the limit, where one is known."""
        limit = (read_json(self.path) or {}).get("micro_batch", self.batch_size)
        if limit >= (computing.micro_batch or self.batch_size):
            return computing
        log.warning("training with %d images at a time, as more did not fit into memory before (%s)", limit, self.path)
        return replace(computing, micro_batch=limit)

    def lower(self, computing: Computing, error: BaseException) -> Computing:
        """Return `computing` with the next smaller micro-batch, kept as the limit; raises `error` if there is none."""
        smaller = smaller_micro_batch(self.batch_size, computing.micro_batch or self.batch_size, self.num_gpus)
        if smaller is None:
            self.path.unlink(missing_ok=True)  # something else takes the memory, maybe only now
            raise error
        self.path.parent.mkdir(exist_ok=True)
        write_json(self.path, {"micro_batch": smaller})
        log.warning(
            "out of memory: from now on, %d of the %d images of a batch pass through the network at a time; "
            "the gradients add up to the same, but batch norm sees fewer images",
            *(smaller, self.batch_size),
        )
        return replace(computing, micro_batch=smaller)


def smaller_micro_batch(batch_size: int, current: int, num_gpus: int) -> int | None:
    """Return half of `current`, or else the next smaller size that splits a batch evenly among GPUs, if any."""
    fitting = [n for n in range(num_gpus, current, num_gpus) if batch_size % n == 0]
    return current // 2 if current // 2 in fitting and current % 2 == 0 else max(fitting, default=None)
