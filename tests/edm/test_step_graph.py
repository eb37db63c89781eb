"""Functions that are captured and replayed: here by a recorder that calls them again, as no GPU is at hand."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from edm.batches import Batches, TrainingSet
from edm.config import NetworkConfig, TrainingConfig
from edm.step_graph import WARM_UP, Function, Replay, ReplayedFunction, replays_follow_seeds, seeded
from edm.train import Computing, TrainState, train
from tests.edm.test_waiting import CONFIG, GPU, NETWORK, CopiesThatWait, images_on


class CallingRecorder:
    """Stands for a GPU's: what it captures is called again by every replay."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.captures = 0

    def call(self, function: Function, inputs: Sequence[Tensor]) -> Tensor:
        return function(*inputs)

    def capture(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Replay, Tensor]:
        self.captures += 1
        if self.error is not None:
            raise self.error
        output = torch.empty(0)  # capturing computes nothing

        def replay() -> None:
            value = function(*inputs)
            output.resize_as_(value).copy_(value)

        return replay, output


class MasksThatStay(CallingRecorder):
    """Stands for a GPU's whose replays all draw the random numbers of the capture."""

    def capture(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Replay, Tensor]:
        replay, output = super().capture(function, inputs)
        seed = torch.initial_seed()

        def seeded_again() -> None:
            with seeded(seed, CPU):
                replay()

        return seeded_again, output


CPU = torch.device("cpu")


def doubled(x: Tensor, y: Tensor) -> Tensor:
    return (2 * x + y).sum()


def test_replays_return_what_the_function_returns_for_their_own_inputs() -> None:
    recorder = CallingRecorder()
    captured = ReplayedFunction(doubled, recorder)
    pairs = [(torch.full((3,), float(i)), torch.tensor([1.0, 2.0, i])) for i in range(WARM_UP + 4)]
    assert [captured(*pair) for pair in pairs] == [doubled(*pair) for pair in pairs]
    assert recorder.captures == 1


def test_a_returned_value_is_not_changed_by_the_next_call() -> None:
    captured = ReplayedFunction(doubled, CallingRecorder())
    values = [captured(torch.full((3,), float(i)), torch.zeros(3)) for i in range(WARM_UP + 3)]
    assert [float(value) for value in values] == [6.0 * i for i in range(WARM_UP + 3)]


def test_inputs_are_copied_so_that_their_tensors_may_change_afterwards() -> None:
    captured = ReplayedFunction(doubled, CallingRecorder())
    x = torch.zeros(3)
    for i in range(WARM_UP + 3):
        x.fill_(i)
        assert float(captured(x, torch.zeros(3))) == 6.0 * i


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operation not permitted when stream is capturing\nmore of it"),
        torch.OutOfMemoryError("out of memory"),
    ],
    ids=["not permitted", "out of memory"],
)
def test_what_cannot_be_captured_goes_on_being_called_and_says_why(error: Exception) -> None:
    recorder = CallingRecorder(error)
    problems: list[str] = []
    captured = ReplayedFunction(doubled, recorder, problems.append)
    inputs = torch.ones(3), torch.ones(3)
    assert {float(captured(*inputs)) for _ in range(WARM_UP + 3)} == {9.0}
    assert recorder.captures == 1 and problems == [str(error).split("\n")[0]]


def test_a_training_whose_step_cannot_be_captured_does_not_claim_it(monkeypatch) -> None:
    error = RuntimeError("operation not permitted when stream is capturing")
    monkeypatch.setattr("edm.train.GpuRecorder", lambda device: CallingRecorder(error))
    config = TrainingConfig(kimg=0.06, batch_size=12)
    network = replace(NETWORK, dropout=0.0)
    data = TrainingSet(torch.zeros(30, 1, 8, 8, dtype=torch.uint8), torch.arange(30) % 3)
    computing = Computing("fp32", compiled=False, graphed=True)
    state = TrainState(network, config, 0.5, 0, CPU, computing)
    assert len(list(train(state, data))) == 5 and not state.computing.graphed


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    captured = ReplayedFunction(doubled, CallingRecorder(KeyError("a mistake")))
    with pytest.raises(KeyError):
        for _ in range(WARM_UP + 1):
            captured(torch.ones(3), torch.ones(3))


def weights_after(
    steps: int,
    graphed: bool,
    monkeypatch: pytest.MonkeyPatch,
    micro_batch: int | None = None,
    dropout: float = 0.0,
    recorder: type[CallingRecorder] = CallingRecorder,
) -> list[Tensor]:
    monkeypatch.setattr("edm.train.GpuRecorder", lambda device: recorder())
    config = TrainingConfig(
        kimg=steps * 12 / 1000,
        batch_size=12,
        ema_halflife_kimg=0.05,
        stratified=True,
        augment=0.5,
        label_dropout=0.3,
        clip_norm=0.5,
        micro_batch=micro_batch,
    )
    network = NetworkConfig(
        image_channels=1, resolution=8, num_classes=3, channels=8, depths=(1, 1), heads=(0, 2), bridge_heads=2,
        cond_channels=4, dropout=dropout,
    )  # fmt: skip
    images = torch.randint(0, 256, (30, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    data = TrainingSet(images, torch.arange(30) % 3)
    computing = Computing("fp32", compiled=False, micro_batch=config.micro_batch, graphed=graphed)
    state = TrainState(config.prepared(network), config, 0.5, 0, CPU, computing)
    losses = list(train(state, data))
    expected = graphed and recorder is CallingRecorder and not (dropout and micro_batch)  # each of these has a seed
    assert state.computing.graphed == expected
    return [torch.stack(losses), *state.tensors().values()]


@pytest.mark.parametrize("dropout", [0.0, 0.4], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("micro_batch", [None, 4], ids=["whole batches", "micro-batches"])
def test_a_training_by_replays_equals_one_by_calls(micro_batch, dropout, monkeypatch) -> None:
    by_calls, by_replays = (weights_after(9, graphed, monkeypatch, micro_batch, dropout) for graphed in (False, True))
    torch.testing.assert_close(by_replays, by_calls, rtol=0, atol=0)


def test_micro_batches_and_steps_have_masks_of_their_own(monkeypatch) -> None:
    masks: list[Tensor] = []
    dropout = torch.nn.functional.dropout

    def drop(x: Tensor, share: float, training: bool) -> Tensor:
        dropped = dropout(x, share, training)
        masks.append((dropped == 0) & (x != 0))
        return dropped

    monkeypatch.setattr("edm.networks.blocks.F.dropout", drop)
    weights_after(2, False, monkeypatch, micro_batch=4, dropout=0.4)
    of_a_shape = [mask for mask in masks if mask.shape == masks[0].shape]
    assert len(of_a_shape) >= 6
    assert all(not a.equal(b) for i, a in enumerate(of_a_shape) for b in of_a_shape[:i])


def test_replays_that_draw_the_same_masks_are_found_out(monkeypatch) -> None:
    assert replays_follow_seeds(CallingRecorder(), CPU)
    assert not replays_follow_seeds(MasksThatStay(), CPU)
    by_calls = weights_after(6, False, monkeypatch, dropout=0.4)
    refused = weights_after(6, True, monkeypatch, dropout=0.4, recorder=MasksThatStay)
    torch.testing.assert_close(refused, by_calls, rtol=0, atol=0)


def test_trying_replays_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    replays_follow_seeds(CallingRecorder(), CPU)
    assert torch.get_rng_state().equal(before)


def test_what_is_captured_copies_nothing_from_the_host() -> None:
    """A graph would copy from memory that belongs to something else by then."""
    batches = Batches(images_on(GPU), CONFIG, 0, 3)
    source = batches.source(2, torch.arange(12))
    computing = Computing("fp32", compiled=False, fused=False, micro_batch=CONFIG.micro_batch)
    state = TrainState(CONFIG.prepared(NETWORK), CONFIG, 0.5, 0, GPU, computing)
    with CopiesThatWait(any_copy=True) as copies:
        for part in batches.made(source).parts(4):
            state.objective(part).mean().backward()
    assert copies.found == []


def test_a_graph_is_chosen_on_gpus_for_all_but_the_shortest_trainings() -> None:
    def chosen(device: str, graphed: bool = True, **changes: object) -> bool:
        config = TrainingConfig(**{"kimg": 100.0, "batch_size": 100, "precision": "bf16"} | changes)  # pyright: ignore[reportArgumentType]
        return Computing.choose(config, torch.device(device), graphed=graphed).graphed

    assert chosen("cuda")
    assert not chosen("cpu")
    assert not chosen("cuda", graphed=False)
    assert not chosen("cuda", kimg=1.0)
    assert not chosen("cuda", precision="fp16")
