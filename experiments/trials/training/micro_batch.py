"""How many images fit through a network at once: learnt by running out of memory, remembered for its siblings."""

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
from experiments.sweep.tasks import Training
from experiments.trials.context import TrialContext, device_name

LESSONS = "lessons"  # folder of the store

log = logging.getLogger("edm_sweep")


@dataclass(frozen=True)
class MicroBatchLimit:
    """The largest micro-batch that may fit, for a network, a batch, a precision and a device."""

    path: Path
    batch_size: int
    num_gpus: int

    @classmethod
    def of(cls, store: Store, training: Training, context: TrialContext, computing: Computing) -> MicroBatchLimit:
        """Where it is kept for a training and all that are like it."""
        batch_size = training.config.batch_size
        like = {
            "network": canonical(training.network),
            "batch_size": batch_size,
            "precision": computing.precision,
            "device": device_name(context.device),
            "gpus": context.gpus,  # a share of one has a share of its memory
        }
        digest = hashlib.sha256(json.dumps(like, sort_keys=True).encode()).hexdigest()[:20]
        return cls(store.root / LESSONS / f"{digest}.json", batch_size, max(1, int(context.gpus)))

    def apply(self, computing: Computing) -> Computing:
        """`computing` with a micro-batch that fits, as far as is known; never more than it has."""
        known = (read_json(self.path) or {}).get("micro_batch", self.batch_size)
        if known >= (computing.micro_batch or self.batch_size):
            return computing
        log.warning("%d images at a time: more did not fit into memory before (%s)", known, self.path)
        return replace(computing, micro_batch=known)

    def shrink(self, computing: Computing, error: BaseException) -> Computing:
        """`computing` with the next smaller micro-batch, written down; raises `error` where there is none."""
        smaller = smaller_micro_batch(self.batch_size, computing.micro_batch or self.batch_size, self.num_gpus)
        if smaller is None:
            self.path.unlink(missing_ok=True)  # something else takes the memory, perhaps for now
            raise error
        self.path.parent.mkdir(exist_ok=True)
        write_json(self.path, {"micro_batch": smaller})
        log.warning(
            "out of memory: from here on %d of the %d images of a batch go through the network at once; gradients "
            "add up to the same, but batch norm sees the smaller number",
            *(smaller, self.batch_size),
        )
        return replace(computing, micro_batch=smaller)


def smaller_micro_batch(batch_size: int, current: int, num_gpus: int) -> int | None:
    """Half of `current`, or the next smaller number that cuts a batch evenly among GPUs; None below an image each."""
    fitting = [n for n in range(num_gpus, current, num_gpus) if batch_size % n == 0]
    return current // 2 if current // 2 in fitting and current % 2 == 0 else max(fitting, default=None)
