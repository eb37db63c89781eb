"""Trains one network by two processes that share a GPU, over Gloo, and compares it with one process."""

import itertools
import multiprocessing
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu.cases import SIGMA_DATA, network, relative, training_set
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.config import Precision, TrainingConfig
from edm.networks.device import full_precision
from edm.parallel import ALONE, Team, join_rendezvous, open_rendezvous, process_group
from edm.train import Computing, TrainState, train
from edm.typed_torch import floats

SIZE = 2
JOIN_S = 30
# of the loss and of the weights: sums in another order, which the optimizer's division by small moments enlarges
TOLERANCES: dict[Precision, tuple[float, float]] = {"fp32": (1e-4, 5e-3), "bf16": (1e-2, 3e-2)}
# of later losses on a GPU, which has other kernels for half a batch, so that two processes round in other places
LATER: dict[Precision, float] = {"fp32": 5e-3, "bf16": 5e-2}
CONFIG = TrainingConfig(
    kimg=1000, batch_size=64, lr=1e-3, ema_halflife_kimg=1, clip_norm=1.0, augment=0.3, stratified=True
)


def run(setting: Setting, report: Report) -> None:
    """Train alone, then by two, with batch norm and with group norm; compare losses, weights and statistics."""
    cases: list[tuple[str, Precision]] = [(norm, precision) for norm in ("batch", "group") for precision in TOLERANCES]
    alone = {case: outcome(setting, *case, ALONE) for case in cases}
    together = outcomes_of_two(setting, cases)
    for norm, precision in cases:
        for_loss, for_weights = TOLERANCES[precision]
        found, expected = (outcomes[norm, precision] for outcomes in (together, alone))
        what = f"two processes instead of one, {norm} norm, {precision}"
        away = losses_apart(found, expected)
        report.check(f"{what}: loss of the first step", away[0], for_loss)
        later = LATER[precision] if setting.is_gpu else for_loss
        report.check(f"{what}: losses of {len(away)} steps", max(away), later)
        report.check(f"{what}: averaged weights", relative(found["weights"], expected["weights"]), for_weights)
        if norm == "batch":
            of_statistics = relative(found["statistics"], expected["statistics"])
            report.check(f"{what}: batch-norm statistics", of_statistics, 10 * for_loss)


def losses_apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> list[float]:
    """Return how far apart the losses of each step are, relatively."""
    pairs = zip(floats(found["losses"]), floats(expected["losses"]), strict=True)
    return [abs(a / b - 1) for a, b in pairs]


def outcomes_of_two(
    setting: Setting, cases: list[tuple[str, Precision]]
) -> dict[tuple[str, Precision], dict[str, Tensor]]:
    """Return what the first of two processes has in the end."""
    meeting = open_rendezvous()
    other = multiprocessing.get_context("spawn").Process(target=follow, args=(setting, cases, meeting.port))
    other.start()
    try:
        with process_group(meeting, Team(0, SIZE), setting.torch_device, backend="gloo") as team:
            return {case: outcome(setting, *case, team) for case in cases}
    finally:
        other.join(JOIN_S)
        if other.is_alive():
            other.kill()


def follow(setting: Setting, cases: list[tuple[str, Precision]], port: int) -> None:
    """Be the second process."""
    if setting.tiny:
        torch.set_num_threads(1)
    team, device = Team(1, SIZE), setting.torch_device
    with process_group(join_rendezvous(port), team, device, backend="gloo") as joined:
        for case in cases:
            outcome(setting, *case, joined)


def outcome(setting: Setting, norm: str, precision: Precision, team: Team) -> dict[str, Tensor]:
    """Train some steps; return losses, averaged weights and the statistics of batch norms, on the CPU."""
    shape = replace(network("mini", 32, setting.tiny), norm=norm)
    config = replace(CONFIG, batch_size=8) if setting.tiny else CONFIG
    device = setting.torch_device
    data = training_set(64, shape, device)
    computing = Computing(precision, compiled=False, kernels=setting.is_gpu)
    with full_precision():
        state = TrainState(config.prepared(shape), config, SIGMA_DATA, 0, device, computing, team)
        losses = torch.stack(list(itertools.islice(train(state, data), 3 if setting.tiny else 10)))
    trained = state.denoiser.state_dict()
    statistics = [value.flatten() for name, value in trained.items() if "running" in name]
    return {
        "losses": losses.cpu(),
        "weights": torch.cat([parameter.flatten() for parameter in state.ema.module.parameters()]).cpu(),
        "statistics": torch.cat(statistics).cpu() if statistics else torch.ones(1),
    }
