"""Takes a trained network into the store, in place of a training."""

from __future__ import annotations

import logging
import time

from edm.files import MODEL, save_model
from edm.pretrained.errors import PretrainedError
from edm.pretrained.read import digest_of, read_pretrained
from experiments.errors import UserError
from experiments.store.files import replacing
from experiments.store.provenance import provenance
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.code_parts import parts_of
from experiments.sweep.tasks import Training
from experiments.trials.assets import ensure_data
from experiments.trials.code import code_now
from experiments.trials.context import TrialContext, device_name

log = logging.getLogger("edm_sweep")


def take_in(store: Store, training: Training, context: TrialContext) -> None:
    """Read a trained network from its file and write it as the model of `training`; the caller holds its lock.

    Its result has no loss, since nothing is trained. Raises UserError where the file cannot be used, or holds another
    network than when the sweep was planned.
    """
    pretrained, began, started = training.pretrained, time.time(), time.monotonic()
    assert pretrained is not None
    try:
        model = read_pretrained(pretrained.path)
    except PretrainedError as error:
        raise UserError(str(error)) from None
    if digest_of(model) != pretrained.digest:
        raise UserError(f"{pretrained.path}: holds other weights than when the sweep was planned; run the sweep again")
    if pretrained.sigma_data is None:
        model.sigma_data = ensure_data(store, training.data).sigma_data
    with replacing(store.folder_of(training) / MODEL) as temporary:
        save_model(model, temporary)
    result = TrainingResult(
        kimg=0.0,
        loss=None,
        seconds=time.monotonic() - started,
        flops=0.0,
        device=device_name(context.device),
        threads=context.threads,
        parameters=sum(p.numel() for p in model.parameters()),
        code=code_now(store, parts_of(training)),
        provenance=provenance(began),
    )
    store.finish(training.signature, result, [MODEL])
    log.info("the network of %s is in the store", pretrained.path)
