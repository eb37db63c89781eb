"""Which shorter trainings a plan finds that a longer one passes."""

from pathlib import Path

import pytest

from experiments.inputs import InputFiles
from experiments.store.files import write_json
from experiments.store.layout import RESULT
from experiments.store.store import Store
from experiments.sweep import plan
from experiments.sweep.plan import Plan
from experiments.sweep.shorter import Shorter
from experiments.sweep.tasks import Training
from experiments.trials.context import write_config
from tests.extending import write_sweep
from tests.planning import load_sweep, plan_sweep

SWEEP = """\
name: lengths
model:      {preset: nano, channels: 8}
training:   {kimg: 3.2, batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1}
sampling:   {steps: 3}
evaluation: {images: 120, features: classifier}
"""


def planned(folder: Path, *overrides: str, grid: str = "{training.kimg: [0.64, 3.2, 1.28]}") -> Plan:
    file = folder / "lengths.yaml"
    file.write_text(f"{SWEEP}grid: {grid}\n")
    return plan_sweep(load_sweep(file, overrides))


def passed(made: Plan) -> dict[float, list[float]]:
    """By the kimg of each training, those of the shorter ones, as their steps say."""
    by_name = made.trainings
    for name, shorter in made.shorter.items():
        assert all(by_name[other.signature].config.num_steps == other.steps for other in shorter), name
    return {
        by_name[name].config.kimg: [by_name[other.signature].config.kimg for other in shorter]
        for name, shorter in made.shorter.items()
    }


def test_each_length_passes_all_shorter_ones_the_longest_first(tmp_path: Path) -> None:
    assert passed(planned(tmp_path)) == {3.2: [1.28, 0.64], 1.28: [0.64]}


def test_trainings_that_differ_in_more_are_not_passed(tmp_path: Path) -> None:
    made = planned(tmp_path, "seeds=[0, 1]", grid="{training.kimg: [0.64, 3.2], training.lr: [1.0e-3, 2.0e-3]}")
    assert len(made.trainings) == 8 and len(made.shorter) == 4
    for name, (other,) in made.shorter.items():
        long, short = made.trainings[name], made.trainings[other.signature]
        assert (long.seed, long.config.lr, long.config.kimg) == (short.seed, short.config.lr, 3.2)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # the average's half-life is reached by the longest alone, so that the others' canonical forms name another
        (["training.ema_halflife_kimg=0.1"], {3.2: [1.28, 0.64], 1.28: [0.64]}),
        (["training.ema_halflife_kimg=500"], {3.2: [1.28, 0.64], 1.28: [0.64]}),
        # the learning rate falls after 1 kimg; a shorter training does not see that
        (["training.lr_schedule=inverse_sqrt", "training.lr_decay_kimg=1"], {3.2: [1.28, 0.64], 1.28: [0.64]}),
        (["training.warmup_kimg=2"], {3.2: [1.28, 0.64], 1.28: [0.64]}),
        # what stays of the way has to be made on it
        (["training.keep=all"], {}),
        (["training.power_ema=[0.05, 0.1]"], {}),
        (["training.keep_state=false"], {}),
    ],
)
def test_what_decides_whether_a_training_is_passed(overrides: list[str], expected: dict, tmp_path: Path) -> None:
    assert passed(planned(tmp_path, *overrides)) == expected


def test_a_training_that_keeps_no_state_is_not_passed(tmp_path: Path) -> None:
    grid = "[{training.kimg: [0.64], training.keep_state: [false]}, {training.kimg: [1.28, 3.2]}]"
    assert passed(planned(tmp_path, grid=grid)) == {3.2: [1.28]}


def test_a_training_that_is_hardly_longer_keeps_its_own_last_loss(tmp_path: Path) -> None:
    # of 1,000 steps, the last line of the journal is of steps 996 to 1,000
    kimg = ", ".join(f"{steps * 0.032:g}" for steps in (995, 996, 1000))
    made = planned(tmp_path, grid=f"{{training.kimg: [{kimg}]}}")
    assert {
        made.trainings[name].config.num_steps: [other.steps for other in shorter]
        for name, shorter in made.shorter.items()
    } == {1000: [995], 996: [995]}


def test_a_learning_rate_of_an_extension_may_depend_on_the_length(tmp_path: Path) -> None:
    ideas = (
        "from edm import extend\n\n\n@extend.lr_schedule('linear')\n"
        "def linear(kimg, total_kimg):\n    return 1 - kimg / total_kimg\n"
    )
    sweep = SWEEP.replace("lengths", "mine").replace("kimg: 3.2,", "lr_schedule: linear,")
    file = write_sweep(tmp_path, f"{sweep}extensions: [ideas.py]\ngrid: {{training.kimg: [0.64, 3.2]}}\n", ideas)
    made = plan_sweep(load_sweep(file))
    assert len(made.trainings) == 2 and not made.shorter


def test_a_guide_of_fewer_images_is_passed_by_the_network_that_it_guides(tmp_path: Path) -> None:
    made = planned(tmp_path, grid="{sampling.guidance: [2], sampling.guide: [{kimg: 0.64}]}")
    assert passed(made) == {3.2: [0.64]}


# the store ------------------------------------------------------------------------------------------


def finish(store: Store, training: Training) -> None:
    folder = store.folder_of(training)
    folder.mkdir(parents=True)
    write_config(folder, training)
    write_json(folder / RESULT, {})


def plan_for(store: Store, folder: Path, kimg: float) -> Plan:
    planned(folder, grid=f"{{training.kimg: [{kimg}]}}")
    return plan.plan_sweep(load_sweep(folder / "lengths.yaml"), InputFiles(), holdings=store)


def test_a_training_of_another_sweep_is_passed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").create()
    short, longer = planned(tmp_path).trainings.values(), plan_for(store, tmp_path, 6.4)
    assert not longer.shorter
    for training in short:
        finish(store, training)
    longer = plan_for(store, tmp_path, 6.4)
    by_steps = sorted(short, key=lambda training: -training.config.num_steps)
    (shorter,) = longer.shorter.values()
    assert shorter == tuple(Shorter(training.signature, training.config.num_steps) for training in by_steps)


def test_a_longer_one_in_the_store_is_not_passed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").create()
    for training in planned(tmp_path).trainings.values():
        finish(store, training)
    assert not plan_for(store, tmp_path, 0.32).shorter
