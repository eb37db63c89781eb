"""What is started next, and what is not."""

from collections import Counter
from pathlib import Path

import pytest

from experiments.runner.options import Options
from experiments.runner.resume import open_schedule
from experiments.runner.retries import LOST_LIMIT
from experiments.runner.schedule import Schedule
from experiments.store.failures import Failure, FailureKind
from experiments.store.layout import CHECKPOINTS
from experiments.store.store import Store
from experiments.store.training_records import step_stem
from experiments.sweep.jobs import Job, Outcome
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import Evaluation, SweepTask, Training
from tests.extending import write_sweep
from tests.planning import load_sweep, plan_sweep, probes_of

DONE = Outcome("done")


class Fixed:
    """Every training takes 100 s, every evaluation as long as it is told to."""

    def __init__(self, evaluation_s: float) -> None:
        self.evaluation_s = evaluation_s

    def seconds(self, task: SweepTask) -> float:
        return 100.0 if task.kind == "training" else self.evaluation_s

    def measured(self, task: SweepTask) -> bool:
        return True

    def learn(self, task: SweepTask, seconds: float) -> None:
        pass


def schedule(plan: Plan, *present: str, **options) -> Schedule:
    return Schedule(plan, frozenset(present), **options)


def take(made: Schedule) -> SweepTask:
    """The one task of the next job."""
    job = made.take()
    assert job is not None and len(job.tasks) == 1 and not job.helps
    return job.tasks[0]


def failed(kind: FailureKind, place: str = "", message: str = "no") -> Outcome:
    return Outcome.failed(Failure(message, kind, place))


def finish(made: Schedule) -> list[str]:
    """Do all that there is to start; the signatures in the order they were done."""
    order = []
    while (job := made.take()) is not None:
        for task in job.tasks:
            order.append(task.signature)
            made.ended(task.signature, DONE)
    return order


def plan_of(tiny_file: Path, old: str, new: str) -> Plan:
    text = tiny_file.read_text()
    assert old in text
    tiny_file.write_text(text.replace(old, new))
    return plan_sweep(load_sweep(tiny_file))


def test_trainings_first_longest_first_then_evaluations_of_what_is_done(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    first, second = take(made), take(made)
    assert (first.kind, second.kind) == ("training", "training") and first.flops > second.flops
    assert made.take() is None and not made.finished
    made.ended(second.signature, DONE)
    evaluation = take(made)
    assert isinstance(evaluation, Evaluation) and evaluation.training.signature == second.signature


def test_everything_is_taken_once(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    assert sorted(finish(made)) == sorted([*tiny_plan.trainings, *tiny_plan.evaluations])
    assert made.finished


def test_what_the_store_holds_is_not_taken(tiny_plan: Plan) -> None:
    training, other = tiny_plan.trainings
    made = schedule(tiny_plan, training)
    assert take(made).signature == other
    task = take(made)
    assert isinstance(task, Evaluation) and task.training.signature == training


def test_a_training_that_nothing_unfinished_stands_on_is_not_repeated(tiny_plan: Plan) -> None:
    training = next(iter(tiny_plan.trainings))
    finished = [name for name, e in tiny_plan.evaluations.items() if e.training.signature == training]
    made = schedule(tiny_plan, *finished)  # the training's own folder is gone
    assert training not in {task.signature for task in made.of("waiting")}


def test_what_was_damaged_is_repeated_even_if_nothing_stands_on_it(tiny_plan: Plan) -> None:
    first = next(iter(tiny_plan.trainings))
    made = schedule(tiny_plan, *tiny_plan.evaluations, redo=frozenset({first}))
    assert finish(made) == [first]


def test_a_failed_training_blocks_its_evaluations_and_nothing_else(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    first, second = take(made), take(made)
    made.ended(first.signature, failed("diverged"))
    assert {p.training.signature for p in made.of("blocked") if isinstance(p, Evaluation)} == {first.signature}
    assert {p.training.signature for p in made.of("waiting") if isinstance(p, Evaluation)} == {second.signature}
    assert made.failures[first.signature].message == "no"
    made.ended(second.signature, DONE)
    finish(made)
    assert made.finished


def test_after_a_stop_nothing_is_started(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    task = take(made)
    made.stop()
    assert made.take() is None and not made.finished  # one still runs
    made.ended(task.signature, Outcome("interrupted"))
    assert made.finished


def test_evaluations_of_the_same_images_run_one_after_the_other(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "sampling.sampler: [euler, heun]", "evaluation.reference: [equal, all]")
    made = schedule(plan, *plan.trainings)
    first, second = take(made), take(made)
    assert made.take() is None  # the others wait for their images
    assert first.kind == second.kind == "evaluation" and first.training != second.training  # pyright: ignore
    made.ended(first.signature, DONE)
    third = take(made)
    assert isinstance(third, Evaluation) and isinstance(first, Evaluation) and third.drawing == first.drawing


# joining and helping -------------------------------------------------------------------------------


def test_short_evaluations_of_one_training_are_joined(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "sampling.sampler: [euler, heun]", f"sampling.seed: {list(range(40))}")
    made = schedule(plan, *plan.trainings, costs=Fixed(2.0))
    made.slots = 2
    jobs = []
    while (job := made.take()) is not None:
        jobs.append(job)
        for task in job.tasks:
            made.ended(task.signature, DONE)
    assert sum(len(job.tasks) for job in jobs) == 80
    assert len(jobs[0].tasks) == 20  # 40 of 160 s: a quarter for each of two workers
    assert len(jobs[-1].tasks) == 1  # the tail is shared out finely
    assert all(len({task.training for task in job.tasks if isinstance(task, Evaluation)}) == 1 for job in jobs)
    assert len(jobs) < 25


def test_one_long_evaluation_does_not_keep_the_short_ones_apart(tiny_file: Path) -> None:
    plan = plan_of(
        tiny_file, "sampling.sampler: [euler, heun]", f"sampling.steps: [200, {', '.join(map(str, range(3, 43)))}]"
    )

    class Unequal(Fixed):
        def seconds(self, task: SweepTask) -> float:
            return 40.0 if isinstance(task, Evaluation) and task.sampling.steps == 200 else 1.0

    made = schedule(plan, *plan.trainings, costs=Unequal(0.0))
    made.slots = 2
    sizes = []
    for _ in range(4):
        job = made.take()
        assert job is not None
        sizes.append(len(job.tasks))
    assert sizes[:2] == [1, 1] and min(sizes[2:]) > 5


def test_long_evaluations_are_not_joined(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "sampling.sampler: [euler, heun]", f"sampling.seed: {list(range(40))}")
    made = schedule(plan, *plan.trainings, costs=Fixed(90.0))
    job = made.take()
    assert job is not None and len(job.tasks) == 1


def test_who_has_nothing_else_to_do_helps_with_what_would_last_longest(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "images: 120", "images: 50000")
    made = schedule(plan, *plan.trainings, costs=Fixed(1000.0))
    taken = [take(made) for _ in plan.evaluations]
    left = {task.signature: 10 for task in taken} | {taken[2].signature: 30}
    made.helpers.parts_left = lambda e: left[e.signature]
    job = made.take()
    assert job == Job((taken[2],), helps=True)
    job = made.take()
    assert job == Job((taken[2],), helps=True)  # 30 parts for three are still more than 10 for two
    left[taken[2].signature] = 0
    left[taken[0].signature] = 1  # a part takes 20 s
    job = made.take()
    assert job is not None and job.helps
    for task in taken:
        left[task.signature] = 0
    assert made.take() is None


def test_where_helping_failed_nobody_helps_again(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "images: 120", "images: 50000")
    made = schedule(plan, *plan.trainings, costs=Fixed(1000.0))
    taken = [take(made) for _ in plan.evaluations]
    made.helpers.parts_left = lambda e: 40
    for task in taken:
        assert made.helpers.refuse(task.signature)
    assert made.take() is None


def test_nobody_helps_while_there_is_work_to_start_or_for_a_moment_only(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "images: 120", "images: 50000")
    made = schedule(plan, *plan.trainings, costs=Fixed(100.0))  # 2 s a part
    made.helpers.parts_left = lambda e: 4
    jobs = [made.take() for _ in plan.evaluations]
    assert all(job is not None and not job.helps for job in jobs)
    assert made.take() is None  # 8 s for two: not worth a worker's start
    made.helpers.parts_left = lambda e: 40
    job = made.take()
    assert job is not None and job.helps


# what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "times"), [("unknown", 2), ("memory", 2), ("input", 1), ("diverged", 1)])
def test_a_failure_is_tried_again_as_often_as_its_class_allows(tiny_plan: Plan, kind: FailureKind, times: int) -> None:
    made = schedule(tiny_plan, retries=1)
    task = take(made)
    for _ in range(times - 1):
        made.ended(task.signature, failed(kind))
        assert take(made) == task
    made.ended(task.signature, failed(kind))
    assert made.states[task.signature] == "failed"


@pytest.mark.parametrize("kind", ["lost", "device", "damaged"])
def test_what_is_not_the_works_own_fault_is_tried_again_freely(tiny_plan: Plan, kind: FailureKind) -> None:
    made = schedule(tiny_plan, retries=0)
    task = take(made)
    for _ in range(LOST_LIMIT - 1):
        made.ended(task.signature, failed(kind))
        assert take(made) == task
    made.ended(task.signature, failed(kind))  # which may go on for ever only where it is somebody's fault after all
    assert made.states[task.signature] == "failed"


def test_a_full_disk_is_waited_for(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan, retries=0)
    task = take(made)
    made.paused = "no room"
    for _ in range(50):
        made.ended(task.signature, failed("disk"))
    assert made.take() is None and not made.finished
    made.paused = None
    assert take(made) == task


def test_the_same_mistake_in_three_pieces_stops_their_kind(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "model.attention: [false, true]", "training.lr: [1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3, 5.0e-3]")
    made = schedule(plan, retries=0)
    for _ in range(2):
        made.ended(take(made).signature, failed("unknown", "here", "KeyError: 'x'"))
    assert made.counts["withheld"] == 0 and not made.notices
    made.ended(take(made).signature, failed("unknown", "there"))
    made.ended(take(made).signature, failed("unknown", "here", "KeyError: 'x'"))
    states = Counter(made.states[name] for name in plan.trainings)
    assert states == {"failed": 4, "withheld": 1}
    assert made.notices == [
        "No more trainings are started: 3 trainings failed with the same error: KeyError: 'x'",
    ]
    assert made.take() is None and made.finished
    assert Counter(made.states[name] for name in plan.evaluations) == {"blocked": 8, "withheld": 2}


FAILING = """\
name: mine
extensions: [ideas.py]
model: {preset: nano}
grid:
  - {sampling.sampler: [euler], sampling.steps: [2, 3, 4, 5, 6]}
  - {sampling.sampler: [damped], sampling.steps: [12, 13, 14, 15, 16], sampling.sampler_options.damping: [0.8, 0.9]}
"""


def test_the_same_mistake_in_an_extension_stops_only_what_uses_it(tmp_path: Path) -> None:
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, FAILING)))
    made = schedule(plan, *plan.trainings, *plan.prepared)
    own = {s for s, task in plan.evaluations.items() if task.sampling.sampler != "euler"}
    while (job := made.take()) is not None:
        for task in job.tasks:
            made.ended(task.signature, failed("unknown", "here", "oops") if task.signature in own else DONE)
    assert {made.states[signature] for signature in plan.evaluations.keys() - own} == {"done"}
    assert Counter(made.states[signature] for signature in own) == {"failed": 3, "withheld": 7}
    assert made.finished and made.notices == [
        "No more evaluations that use damped are started: 3 evaluations failed with the same error: oops"
    ]


def test_one_piece_that_fails_three_times_stops_nobody_else(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan, retries=5)
    task = take(made)
    for _ in range(4):
        made.ended(task.signature, failed("unknown", "here"))
        assert take(made) == task
    assert made.counts["withheld"] == 0


def test_trainings_that_diverge_stop_nobody_else(tiny_file: Path) -> None:
    plan = plan_of(tiny_file, "model.attention: [false, true]", "training.lr: [1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3]")
    made = schedule(plan)
    for _ in range(3):
        made.ended(take(made).signature, failed("diverged", "here"))
    assert take(made).kind == "training"


def test_what_stands_on_a_pruned_training_is_pruned(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    first, second = take(made), take(made)
    made.ended(first.signature, Outcome("pruned", "pruned at 3 kimg"))
    made.ended(second.signature, DONE)
    finish(made)
    assert made.finished and made.counts == {"pruned": 3, "done": 3, "waiting": 0, "running": 0}


def test_a_damaged_training_is_done_again_before_what_stands_on_it(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan, *tiny_plan.trainings)
    evaluation = take(made)
    assert isinstance(evaluation, Evaluation)
    made.redo(evaluation.training.signature)
    made.ended(evaluation.signature, failed("damaged"))
    training = take(made)
    assert training == evaluation.training
    made.ended(training.signature, DONE)
    assert evaluation.signature in finish(made)


def test_what_another_run_is_at_is_waited_for(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    first, second = take(made), take(made)
    made.ended(first.signature, Outcome("elsewhere"))
    made.ended(second.signature, DONE)
    for name in tiny_plan.evaluations:
        if second.signature in made.graph.dependencies(name):
            made.ended(take(made).signature, DONE)
    assert made.take() is None and not made.finished
    made.release(first.signature)  # the other run has died
    assert take(made) == first


def test_what_waits_again_takes_over_the_end_of_what_it_stands_on(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan, *tiny_plan.trainings, retries=0)
    first = take(made)
    assert isinstance(first, Evaluation)
    training = first.training
    other = next(e for e in tiny_plan.evaluations.values() if e.training == training and e != first)
    while made.states[other.signature] != "running":
        take(made)
    made.redo(training.signature)
    made.ended(first.signature, failed("damaged"))
    while made.states[training.signature] != "running":
        take(made)
    made.ended(training.signature, failed("diverged"))
    made.ended(other.signature, failed("damaged"))
    assert made.states[first.signature] == made.states[other.signature] == "blocked"


def test_a_stop_does_not_wait_for_what_another_run_is_at(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    made.ended(take(made).signature, Outcome("elsewhere"))
    assert not made.finished
    made.stop()
    assert made.finished


def test_probes_come_first_and_trainings_wait_for_theirs(tiny_plan: Plan) -> None:
    probe = next(iter(probes_of(tiny_plan).values()))
    first, second = sorted(tiny_plan.trainings.values(), key=lambda t: -t.flops)
    made = schedule(tiny_plan, probes={probe.signature: (probe, (first.signature,))})
    assert take(made).kind == "probe"
    assert take(made) == second and made.take() is None
    made.ended(probe.signature, DONE)
    assert take(made) == first


def test_a_probe_is_not_made_for_what_is_done(tiny_plan: Plan) -> None:
    probe = next(iter(probes_of(tiny_plan).values()))
    names = frozenset(tiny_plan.trainings) | frozenset(tiny_plan.evaluations)
    made = Schedule(tiny_plan, names, probes={probe.signature: (probe, tuple(tiny_plan.trainings))})
    assert made.finished and made.take() is None
    assert isinstance(next(iter(tiny_plan.trainings.values())), Training)


def test_a_probe_that_fails_stops_nobody(tiny_plan: Plan) -> None:
    probe = next(iter(probes_of(tiny_plan).values()))
    made = schedule(tiny_plan, probes={probe.signature: (probe, tuple(tiny_plan.trainings))}, retries=0)
    assert take(made) == probe and made.take() is None
    made.ended(probe.signature, failed("unknown"))
    assert take(made).kind == "training" and made.counts["blocked"] == 0


# trainings that begin where shorter ones end ----------------------------------------------------------


def lengths(tiny_file: Path) -> tuple[Plan, dict[str, str], list[str]]:
    """A plan of trainings of three lengths, which of them wait for which, and their signatures by length."""
    made = plan_of(tiny_file, "  model.attention: [false, true]\n", "  training.kimg: [0.64, 1.28, 3.2]\n")
    by_length = sorted(made.trainings, key=lambda name: made.trainings[name].config.kimg)
    return made, {name: shorter[0].signature for name, shorter in made.shorter.items()}, by_length


@pytest.mark.parametrize("outcome", [DONE, failed("diverged"), Outcome("pruned", "pruned at 1 kimg")])
def test_a_training_waits_for_the_end_of_a_shorter_one_whatever_that_is(tiny_file: Path, outcome: Outcome) -> None:
    plan, shorter, (first, second, third) = lengths(tiny_file)
    made = schedule(plan, shorter=shorter)
    assert take(made).signature == first and made.take() is None
    made.ended(first, outcome)
    assert take(made).signature == second
    blocked = {task.training.signature for task in made.of("blocked", "pruned") if isinstance(task, Evaluation)}
    assert blocked == ({first} if outcome.state != "done" else set())
    made.ended(second, outcome)
    assert take(made).signature == third


def test_it_waits_for_one_that_another_run_trains_and_for_none_done(tiny_file: Path) -> None:
    plan, shorter, (first, second, third) = lengths(tiny_file)
    made = schedule(plan, first, shorter=shorter)
    assert take(made).signature == second
    made.ended(second, Outcome("elsewhere"))
    assert third not in {task.signature for job in iter(made.take, None) for task in job.tasks}
    made.ended(second, DONE)
    assert take(made).signature == third


def test_the_first_of_a_long_chain_goes_before_a_longer_training(tiny_file: Path) -> None:
    text = tiny_file.read_text().replace("  model.attention: [false, true]\n", "")
    grid = "grid:\n  - {training.kimg: [0.64, 3.2]}\n  - {training.kimg: [1.28], training.lr: [1.0e-3]}\n"
    tiny_file.write_text(text.replace("grid:\n  sampling.sampler: [euler, heun]\n", grid))
    plan = plan_sweep(load_sweep(tiny_file))
    made = schedule(plan, shorter={name: own[0].signature for name, own in plan.shorter.items()})
    trainings = [take(made) for _ in range(2)]
    assert [task.config.kimg for task in trainings if isinstance(task, Training)] == [0.64, 1.28]


def test_a_shorter_training_that_is_cancelled_lets_the_longer_one_begin(tiny_file: Path) -> None:
    plan, shorter, (first, second, _) = lengths(tiny_file)
    made = schedule(plan, shorter=shorter)
    for name, evaluation in plan.evaluations.items():
        if evaluation.training.signature == first:
            made.cancel(name)
    assert made.states[first] == "cancelled" and take(made).signature == second


def test_a_training_waits_for_the_longest_asked_for_until_it_has_begun(tiny_file: Path, tmp_path: Path) -> None:
    plan, _, (first, second, third) = lengths(tiny_file)
    store = Store(tmp_path / "store")
    whole = open_schedule(plan, store).graph
    assert whole.shorter == {third: second, second: first}
    some = open_schedule(plan, store, Options(only=("kimg=0.64/*", "kimg=3.2/*"))).graph
    assert some.shorter == {third: first}
    checkpoints = store.folder("trainings", third) / CHECKPOINTS
    checkpoints.mkdir(parents=True)
    (checkpoints / f"{step_stem(5)}-abc.safetensors").touch()
    assert open_schedule(plan, store).graph.shorter == {second: first}
