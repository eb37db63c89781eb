"""One network on two processes: the same curve, weights and averages as on one, to the last digits of float32."""

import dataclasses
import itertools
import multiprocessing

import pytest
import torch
from torch import nn

from edm.batch_norm import SyncedBatchNorm2d
from edm.batches import Batches, TrainingSet
from edm.config import TrainingConfig
from edm.parallel import ALONE, Team, join_rendezvous, open_rendezvous, process_group
from edm.train import Computing, TrainState, averaged_model, train
from tests.edm.small import NETWORK

CPU = torch.device("cpu")
SIZE = 2
GROUP_NORM = dataclasses.replace(NETWORK, norm="group", resample="residual", init="edm")
CONFIG = TrainingConfig(kimg=0.12, batch_size=12, lr=1e-3, ema_halflife_kimg=0.05, label_dropout=0.3)
EVERYTHING = dataclasses.replace(
    CONFIG, stratified=True, augment=0.5, flip=True, clip_norm=0.5, warmup_kimg=0.03, power_ema=(0.05, 0.1)
)
CASES = {
    "batch norm": (NETWORK, CONFIG),
    "group norm": (GROUP_NORM, CONFIG),
    "batch norm, everything": (NETWORK, EVERYTHING),
    "batch norm, accumulated": (NETWORK, dataclasses.replace(EVERYTHING, micro_batch=4)),
    "group norm, accumulated": (GROUP_NORM, dataclasses.replace(EVERYTHING, micro_batch=2)),
    "bf16": (NETWORK, dataclasses.replace(CONFIG, kimg=0.06, precision="bf16")),
    "fp16": (NETWORK, dataclasses.replace(CONFIG, kimg=0.06, precision="fp16")),
}
RESUMED_AT = 4


def tiny_data() -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return TrainingSet(images, torch.arange(24) % 3)


def new_state(case: str, team: Team = ALONE, seed: int = 0) -> TrainState:
    network, config = CASES[case]
    return TrainState(config.prepared(network), config, 0.5, seed, CPU, Computing.choose(config, CPU), team)


def trained(case: str, team: Team) -> tuple[torch.Tensor, TrainState]:
    state = new_state(case, team)
    return torch.stack(list(train(state, tiny_data()))), state


def resumed(team: Team, tensors: dict[str, torch.Tensor]) -> TrainState:
    """Trained on from what the first process alone has been given."""
    state = new_state("batch norm", team, seed=0)
    if team.rank == 0:
        state.load(tensors)
    else:
        for parameter in state.denoiser.parameters():
            nn.init.zeros_(parameter)
    list(train(state, tiny_data()))
    return state


def one_norm(team: Team) -> tuple[torch.Tensor, ...]:
    """What a norm makes of a team's part of some images, its gradient, and the statistics that it keeps."""
    x, grad = (torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    x = (5 * x + 100)[team.rank :: team.size].clone().requires_grad_()
    norm = nn.BatchNorm2d(3)
    nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(2))
    norm = SyncedBatchNorm2d.of(norm, team) if team.size > 1 else norm
    output = norm(x)
    output.backward(grad[team.rank :: team.size])
    assert x.grad is not None and norm.running_mean is not None and norm.running_var is not None
    return output.detach(), x.grad, norm.running_mean, norm.running_var, norm.num_batches_tracked


def all_of(team: Team, saved: dict[str, torch.Tensor]):
    """Everything that the tests look at, in the same order in each process."""
    norm = one_norm(team)
    results = {case: trained(case, team) for case in CASES}
    return norm, results, resumed(team, saved)


def follow(port: int) -> None:
    torch.set_num_threads(1)
    with process_group(join_rendezvous(port), Team(1, SIZE), CPU) as team:
        all_of(team, {})


@pytest.fixture(scope="module")
def halfway() -> dict[str, torch.Tensor]:
    state = new_state("batch norm")
    list(itertools.islice(train(state, tiny_data()), RESUMED_AT))
    return state.tensors()


@pytest.fixture(scope="module")
def together(halfway):
    """What the first of two processes has found in the end."""
    meeting = open_rendezvous()
    other = multiprocessing.get_context("spawn").Process(target=follow, args=(meeting.port,))
    other.start()
    with process_group(meeting, Team(0, SIZE), CPU) as team:
        found = all_of(team, halfway)
    other.join()
    assert other.exitcode == 0
    return found


def assert_close_states(found: TrainState, expected: TrainState) -> None:
    """All weights and their averages, but for biases: those before a norm change nothing, and Adam makes steps of
    what is rounded off in their gradient.
    """
    assert found.step == expected.step
    found_tensors, expected_tensors = found.tensors(), expected.tensors()
    assert found_tensors.keys() == expected_tensors.keys()
    weights = [name for name in expected_tensors if name.endswith(".weight") and not name.startswith("optimizer.")]
    for name in weights:
        torch.testing.assert_close(found_tensors[name], expected_tensors[name], rtol=1e-3, atol=1e-4, msg=name)
    models = [averaged_model(state, tiny_data(), 8) for state in (found, expected)]
    x, sigma, label = torch.ones(2, 1, 8, 8), torch.tensor([0.1, 3.0]), torch.tensor([0, 3])
    with torch.no_grad():
        torch.testing.assert_close(*(model(x, sigma, label) for model in models), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("bf16", "fp16")])
def test_two_processes_learn_what_one_does(together, case):
    losses, state = together[1][case]
    expected, alone = trained(case, ALONE)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    assert_close_states(state, alone)


@pytest.mark.parametrize("case", ["bf16", "fp16"])
def test_so_they_do_in_half_precision(together, case):
    losses, _ = together[1][case]
    torch.testing.assert_close(losses, trained(case, ALONE)[0], rtol=0.02, atol=0.02)


def test_a_team_goes_on_from_the_state_of_its_first(together):
    assert_close_states(together[2], trained("batch norm", ALONE)[1])


def test_a_norm_over_a_team_is_that_over_all_images(together):
    output, grad, *statistics = together[0]
    whole, whole_grad, *expected = one_norm(ALONE)
    torch.testing.assert_close(output, whole[::SIZE], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad, whole_grad[::SIZE], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(statistics, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("num_parts", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [1, 2])
def test_shares_of_a_batch_are_its_parts_cut_once_more(size, num_parts):
    config = dataclasses.replace(EVERYTHING, batch_size=12)
    batches = Batches(tiny_data(), config, 0, 3)
    whole = batches[3].parts(12 // num_parts)
    for rank in range(size):
        shares = batches.made(batches.team_share(3, Team(rank, size), num_parts)).parts(12 // num_parts // size)
        assert len(shares) == num_parts
        for share, part in zip(shares, whole, strict=True):
            for field in dataclasses.fields(part):
                expected = getattr(part, field.name)[rank::size]
                torch.testing.assert_close(getattr(share, field.name), expected, rtol=1e-6, atol=1e-6)


def test_a_team_exchanges_nothing_over_the_network():
    import psutil

    meeting = open_rendezvous()
    places = [c.laddr for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]
    assert [place.ip for place in places if place.port == meeting.port] == ["127.0.0.1"]


def test_processes_that_share_a_gpu_may_choose_gloo() -> None:
    with process_group(open_rendezvous(), ALONE, torch.device("cuda"), backend="gloo"):
        assert torch.distributed.get_backend() == "gloo"
