"""What is started next, and what is not."""

from pathlib import Path

from experiments.plan import Plan, plan_sweep
from experiments.schedule import Schedule
from experiments.spec import load_sweep


def schedule(plan: Plan, *present: str) -> Schedule:
    return Schedule(plan, frozenset(present))


def test_trainings_first_longest_first_then_evaluations_of_what_is_done(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    first, second = made.take(), made.take()
    assert first is not None and second is not None
    assert (first.kind, second.kind) == ("training", "training") and first.flops > second.flops
    assert made.take() is None and not made.finished
    made.ended(second.signature, "done")
    evaluation = made.take()
    assert evaluation is not None and evaluation.kind == "evaluation"
    assert evaluation.training.signature == second.signature


def test_everything_is_taken_once(tiny_plan: Plan) -> None:
    made, taken = schedule(tiny_plan), []
    while (piece := made.take()) is not None:
        taken.append(piece.signature)
        made.ended(piece.signature, "done")
    assert sorted(taken) == sorted([*tiny_plan.trainings, *tiny_plan.evaluations])
    assert made.finished


def test_what_the_store_holds_is_not_taken(tiny_plan: Plan) -> None:
    training, other = tiny_plan.trainings
    made = schedule(tiny_plan, training)
    piece = made.take()
    assert piece is not None and piece.signature == other
    piece = made.take()
    assert piece is not None and piece.kind == "evaluation" and piece.training.signature == training


def test_a_training_that_nothing_unfinished_stands_on_is_not_repeated(tiny_plan: Plan) -> None:
    training = next(iter(tiny_plan.trainings))
    finished = [name for name, e in tiny_plan.evaluations.items() if e.training.signature == training]
    made = schedule(tiny_plan, *finished)  # the training's own folder is gone
    assert training not in {piece.signature for piece in made.of("waiting")}


def test_a_failed_training_blocks_its_evaluations_and_nothing_else(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    first, second = made.take(), made.take()
    assert first is not None and second is not None
    made.ended(first.signature, "failed", "no")
    assert {p.training.signature for p in made.of("blocked")} == {first.signature}
    assert {p.training.signature for p in made.of("waiting")} == {second.signature}
    assert made.messages == {first.signature: "no"}
    made.ended(second.signature, "done")
    while (piece := made.take()) is not None:
        made.ended(piece.signature, "done")
    assert made.finished


def test_after_a_stop_nothing_is_started(tiny_plan: Plan) -> None:
    made = schedule(tiny_plan)
    made.take()
    made.stop()
    assert made.take() is None and made.finished


def test_evaluations_of_the_same_images_run_one_after_the_other(tiny_file: Path) -> None:
    axes = "evaluation.reference: [equal, all]"
    tiny_file.write_text(tiny_file.read_text().replace("sampling.sampler: [euler, heun]", axes))
    plan = plan_sweep(load_sweep(tiny_file))
    made = schedule(plan, *plan.trainings)
    first, second = made.take(), made.take()
    assert first is not None and second is not None and made.take() is None  # the others wait for their images
    assert first.kind == second.kind == "evaluation" and first.training != second.training
    made.ended(first.signature, "done")
    third = made.take()
    assert third is not None and third.kind == "evaluation" and third.drawing == first.drawing
