"""How Tune is fed, and how it prunes."""

import pickle
from pathlib import Path
from types import SimpleNamespace

from experiments.runner.allocation import Allocator
from experiments.runner.dispatch import Dispatcher
from experiments.runner.schedule import Schedule
from experiments.runner.tune import DispatchedSearcher, SavingAsha
from experiments.store.layout import PRUNE
from experiments.store.store import Store
from experiments.sweep.jobs import Outcome
from experiments.sweep.plan import Plan
from experiments.sweep.spec import ResourcesConfig
from experiments.sweep.tasks import Evaluation
from tests.planning import load_sweep, plan_sweep

DONE = Outcome("done").as_dict()


def searcher_of(plan: Plan, store: Store, cores: int = 2) -> DispatchedSearcher:
    allocator = Allocator(plan, ResourcesConfig(cpus=1), {"CPU": float(cores)}, store)
    return DispatchedSearcher(Dispatcher(Schedule(plan, frozenset()), store), allocator)


def told(config: dict, outcome: dict = DONE) -> dict:
    """What a trial reports in the end."""
    return {"outcomes": [(name, outcome) for name in config["signatures"]]}


def test_the_searcher_waits_for_trainings_and_then_finishes(tiny_plan: Plan, tmp_path: Path) -> None:
    searcher = searcher_of(tiny_plan, Store(tmp_path))
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert isinstance(first, dict) and isinstance(second, dict)
    assert {*first["signatures"], *second["signatures"]} == set(tiny_plan.trainings)
    assert first["cpus"] == 1 and first["gpus"] == 0.0 and not first["helps"]
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("a", told(first))
    evaluation = searcher.suggest("c")
    assert isinstance(evaluation, dict) and evaluation["signatures"][0] in tiny_plan.evaluations
    searcher.on_trial_complete("b", error=True)
    assert searcher.dispatcher.schedule.failures[second["signatures"][0]].message.startswith("the worker was lost")
    for trial in "cdefgh":
        config = searcher.suggest(trial) if trial != "c" else evaluation
        if isinstance(config, dict):
            searcher.on_trial_complete(trial, told(config))
    assert searcher.suggest("z") == DispatchedSearcher.FINISHED
    assert not searcher.jobs and not searcher.dispatcher.running


def test_no_more_is_handed_out_than_there_is_room_for_and_one(tiny_file: Path, tmp_path: Path) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("grid:", "grid:\n  training.lr: [1.0e-3, 2.0e-3, 3.0e-3]"))
    searcher = searcher_of(plan_sweep(load_sweep(tiny_file)), Store(tmp_path), cores=3)
    configs = [searcher.suggest(trial) for trial in "abcdef"]
    assert all(isinstance(config, dict) for config in configs[:4]) and configs[4:] == [None, None]
    first = configs[0]
    assert isinstance(first, dict)
    searcher.on_trial_complete("a", told(first))
    assert isinstance(searcher.suggest("e"), dict) and searcher.suggest("f") is None


def test_what_a_trial_tells_along_the_way_counts_at_once(tiny_plan: Plan, tmp_path: Path) -> None:
    searcher = searcher_of(tiny_plan, Store(tmp_path))
    first = searcher.suggest("a")
    assert isinstance(first, dict)
    searcher.on_trial_result("a", {"val_loss": 0.3, "percent": 10.0})
    assert searcher.dispatcher.schedule.counts["running"] == 1
    searcher.on_trial_result("a", told(first))
    assert searcher.dispatcher.schedule.states[first["signatures"][0]] == "done"
    searcher.on_trial_complete("a", error=True)  # its worker died later
    assert searcher.dispatcher.schedule.states[first["signatures"][0]] == "done"


def test_tune_may_pickle_the_searcher(tiny_plan: Plan, tmp_path: Path) -> None:
    searcher = searcher_of(tiny_plan, Store(tmp_path))
    searcher.dispatcher.notify = lambda text: None  # as a console's, which cannot be pickled
    assert vars(pickle.loads(pickle.dumps(searcher))) == {}


# asha ---------------------------------------------------------------------------------------------


def raced(plan: Plan, store: Store, losses: dict[str, float], percent: float = 10.0) -> set[str]:
    """Let trainings report losses; return the signatures of those that are asked to leave."""
    searcher = searcher_of(plan, store, cores=len(plan.trainings))
    asha = SavingAsha(searcher, store)
    for number in range(len(losses)):
        config = searcher.suggest(str(number))
        assert isinstance(config, dict)
        (name,) = config["signatures"]
        store.folder("trainings", name).mkdir(parents=True)
        result = {"val_loss": losses[name], "percent": percent, "training_iteration": 1}
        assert asha.on_trial_result(None, SimpleNamespace(trial_id=str(number)), result) == "CONTINUE"
    return {name for name in plan.trainings if (store.folder("trainings", name) / PRUNE).exists()}


def plan_of(tiny_file: Path, grid: str) -> Plan:
    text = tiny_file.read_text()
    tiny_file.write_text(text.replace("model.attention: [false, true]", grid))
    return plan_sweep(load_sweep(tiny_file))


RATES = "training.lr: [1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3, 5.0e-3, 6.0e-3]"


def test_asha_asks_those_to_leave_whose_loss_is_behind(tiny_file: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny_file, RATES)
    losses = {name: float(place) for place, name in enumerate(plan.trainings)}
    leaving = raced(plan, Store(tmp_path / "a"), losses)
    assert leaving == set(list(plan.trainings)[1:])  # each is behind the first, which reported before it
    assert raced(plan, Store(tmp_path / "b"), dict.fromkeys(losses, 1.0)) == set()


def test_asha_prunes_nobody_before_the_first_rung_or_at_the_end(tiny_file: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny_file, RATES)
    losses = {name: float(place) for place, name in enumerate(plan.trainings)}
    assert raced(plan, Store(tmp_path / "a"), losses, percent=9.0) == set()
    assert raced(plan, Store(tmp_path / "b"), losses, percent=100.0) == set()


def test_a_network_that_guides_others_is_never_pruned(tiny_file: Path, tmp_path: Path) -> None:
    text = tiny_file.read_text().replace("{steps: 3}", "{steps: 3, guidance: 2, guide: {kimg: 0.32}}")
    tiny_file.write_text(text)
    plan = plan_of(tiny_file, RATES)
    guides = {e.guide.signature for e in plan.evaluations.values() if isinstance(e, Evaluation) and e.guide}
    assert len(guides) == 6
    leaving = raced(plan, Store(tmp_path), {name: 9.0 if name in guides else 1.0 for name in plan.trainings})
    assert leaving == set()


def test_a_network_that_others_begin_with_is_never_pruned(tiny_file: Path, tmp_path: Path) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("training:   {", "training:   {from: {training.clip_norm: 1}, "))
    plan = plan_of(tiny_file, RATES)
    first = [start.signature for training in plan.trainings.values() for start in training.depends_on]
    assert len(first) == 6 and len(plan.trainings) == 12
    assert raced(plan, Store(tmp_path), {name: float(place) for place, name in enumerate(first)}) == set()


def test_only_jobs_that_fit_are_at_a_worker_that_starts(tiny_plan: Plan, tmp_path: Path) -> None:
    searcher = searcher_of(tiny_plan, Store(tmp_path), cores=1)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert isinstance(first, dict) and isinstance(second, dict)
    assert searcher.starting() == set(first["signatures"])
    searcher.on_trial_complete("a", told(first))
    assert searcher.starting() == set(second["signatures"])
