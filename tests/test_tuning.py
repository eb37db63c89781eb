"""How cores and GPUs are shared out, and how Tune is fed."""

import pickle

import pytest

from experiments.errors import UserError
from experiments.plan import Plan
from experiments.schedule import Schedule
from experiments.sharing import Share, share
from experiments.spec import ResourcesConfig
from experiments.tuning import ScheduleSearcher

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own deprecations

NO_GPU, EIGHT_GPUS = {"CPU": 16.0}, {"CPU": 32.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("resources", "total", "expected"),
    [
        (ResourcesConfig(), {"CPU": 2.0}, Share(1, 0.0)),  # two trainings on two cores: a thread each
        (ResourcesConfig(), NO_GPU, Share(8, 0.0)),  # on sixteen cores: eight each
        (ResourcesConfig(cpus=3), NO_GPU, Share(3, 0.0)),
        (ResourcesConfig(), EIGHT_GPUS, Share(4, 1.0)),  # a GPU each, and its part of the cores
        (ResourcesConfig(gpus=0.5), EIGHT_GPUS, Share(2, 0.5)),
        (ResourcesConfig(gpus=0.0), EIGHT_GPUS, Share(16, 0.0)),
    ],
)
def test_each_trial_gets_a_gpu_of_its_own_or_an_even_share_of_the_cores(
    tiny_plan: Plan, resources: ResourcesConfig, total: dict, expected: Share
) -> None:
    assert share("training", tiny_plan, resources, total) == expected


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 64])
@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_threads_of_trials_side_by_side_never_exceed_the_cores(tiny_plan: Plan, cores: int, kind) -> None:
    given = share(kind, tiny_plan, ResourcesConfig(), {"CPU": float(cores)})
    assert given.cpus >= 1 and (cores // given.cpus) * given.cpus <= cores
    pieces = len(tiny_plan.trainings if kind == "training" else tiny_plan.evaluations)
    assert min(pieces, cores // given.cpus) == min(pieces, cores)  # and none of them waits for want of threads


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (ResourcesConfig(gpus=1.0), "1 per trial but there are 0; give --gpus 0"),
        (ResourcesConfig(cpus=17), "17 per trial but there are 16; give --cpus-per-trial 16"),
    ],
)
def test_more_than_there_is_is_refused(tiny_plan: Plan, resources: ResourcesConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        share("training", tiny_plan, resources, NO_GPU)


def test_the_searcher_waits_for_trainings_and_then_finishes(tiny_plan: Plan) -> None:
    changes = []
    searcher = ScheduleSearcher(Schedule(tiny_plan, frozenset()), lambda piece: changes.append(piece.kind))
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert isinstance(first, dict) and isinstance(second, dict) and {first["kind"], second["kind"]} == {"training"}
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("a", {"state": "done", "message": ""})
    evaluation = searcher.suggest("c")
    assert isinstance(evaluation, dict) and evaluation["kind"] == "evaluation"
    searcher.on_trial_complete("b", error=True)
    assert searcher.schedule.messages[second["signature"]].startswith("the worker process died")
    assert isinstance(searcher.suggest("d"), dict)
    assert searcher.suggest("e") == ScheduleSearcher.FINISHED
    assert changes == ["training", "training", "training", "evaluation", "training", "evaluation"]


def test_tune_may_pickle_the_searcher(tiny_plan: Plan) -> None:
    pickle.dumps(ScheduleSearcher(Schedule(tiny_plan, frozenset()), print))
