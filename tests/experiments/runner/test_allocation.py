"""How cores and GPUs are shared out."""

from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.runner.allocation import EXTRACTOR_GIB, MARGIN, Allocation, Allocator, require_possible
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.probes import Probe
from experiments.sweep.spec import ResourcesConfig
from tests.planning import load_sweep, plan_sweep, probes_by_training
from tests.results import probe_result

NO_GPU, EIGHT_GPUS = {"CPU": 16.0}, {"CPU": 32.0, "GPU": 8.0}
AUTO = ResourcesConfig(gpus="auto")


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """A store with nothing in it."""
    return Store(tmp_path / "empty")


def first(plan: Plan, kind: str):
    return next(iter((plan.trainings if kind == "training" else plan.evaluations).values()))


def keep_probe(store: Store, probe: Probe, training_gib: float, sampling_gib: float, device_gib: float | None) -> None:
    """A probe's result, as far as sharing looks at it."""
    store.folder("probes", probe.signature).mkdir(parents=True, exist_ok=True)
    result = probe_result(training_gib=training_gib, sampling_gib=sampling_gib, device_gib=device_gib)
    store.finish(probe.signature, result)


def keep_probes(store: Store, plan: Plan, training_gib: float, sampling_gib: float, device_gib: float | None) -> None:
    for probe in set(probes_by_training(plan).values()):
        keep_probe(store, probe, training_gib, sampling_gib, device_gib)


@pytest.mark.parametrize(
    ("resources", "total", "expected"),
    [
        (ResourcesConfig(), {"CPU": 2.0}, Allocation(1, 0.0)),  # two trainings on two cores: a thread each
        (ResourcesConfig(), NO_GPU, Allocation(8, 0.0)),  # on sixteen cores: eight each
        (ResourcesConfig(cpus=3), NO_GPU, Allocation(3, 0.0)),
        (AUTO, NO_GPU, Allocation(8, 0.0)),
        (ResourcesConfig(), EIGHT_GPUS, Allocation(4, 1.0)),  # a GPU each, and its part of the cores
        (ResourcesConfig(gpus=0.5), EIGHT_GPUS, Allocation(2, 0.5)),
        (ResourcesConfig(gpus=0.0), EIGHT_GPUS, Allocation(16, 0.0)),
        (ResourcesConfig(gpus=4.0), EIGHT_GPUS, Allocation(16, 4.0)),
        (AUTO, EIGHT_GPUS, Allocation(4, 1.0)),  # nothing is known of its memory
    ],
)
def test_each_training_gets_what_was_asked_or_a_gpu_or_an_even_share(
    tiny_plan: Plan, empty: Store, resources: ResourcesConfig, total: dict, expected: Allocation
) -> None:
    assert Allocator(tiny_plan, resources, total, empty).of(first(tiny_plan, "training")) == expected


@pytest.mark.parametrize(("seeds", "threads"), [("[0]", 8), ("[0, 1]", 4)])
def test_trainings_that_wait_for_each_other_share_no_cores(
    seeds: str, threads: int, tiny_file: Path, empty: Store
) -> None:
    axis = "  model.attention: [false, true]\n"
    tiny_file.write_text(tiny_file.read_text().replace(axis, "  training.kimg: [0.64, 1.28, 3.2]\n"))

    def cpus(*overrides: str) -> int:
        plan = plan_sweep(load_sweep(tiny_file, (f"seeds={seeds}", *overrides)))
        return Allocator(plan, ResourcesConfig(), {"CPU": 8.0}, empty).of(first(plan, "training")).cpus

    assert (cpus(), cpus("training.keep_state=false")) == (threads, max(1, threads // 3))


def test_an_evaluation_gets_one_gpu_where_a_training_gets_several(tiny_plan: Plan, empty: Store) -> None:
    given = Allocator(tiny_plan, ResourcesConfig(gpus=4.0), EIGHT_GPUS, empty)
    assert given.of(first(tiny_plan, "evaluation")) == Allocation(4, 1.0)
    assert (given.slots("training"), given.slots("evaluation")) == (2, 8)
    probe = next(iter(probes_by_training(tiny_plan).values()))
    assert given.of(probe).gpus == 1.0


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 64])
@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_threads_of_trials_side_by_side_never_exceed_the_cores(tiny_plan: Plan, empty: Store, cores: int, kind) -> None:
    given = Allocator(tiny_plan, ResourcesConfig(), {"CPU": float(cores)}, empty)
    cpus = given.of(first(tiny_plan, kind)).cpus
    assert cpus >= 1 and (cores // cpus) * cpus <= cores
    tasks = len(tiny_plan.trainings if kind == "training" else tiny_plan.evaluations)
    assert min(tasks, cores // cpus) == min(tasks, cores)  # and none of them waits for want of threads
    assert given.slots(kind) == cores // cpus


@pytest.mark.parametrize(
    ("resources", "total", "message"),
    [
        (ResourcesConfig(gpus=1.0), NO_GPU, "1 per trial, but this machine has none; give --gpus 0 to"),
        (
            ResourcesConfig(gpus=16.0),
            EIGHT_GPUS,
            "16 per trial, but this machine has 8 GPUs; give --gpus 8 or fewer, or --gpus 0",
        ),
        (ResourcesConfig(cpus=17), NO_GPU, "17 per trial, but this machine has 16 cores; give --cpus-per-trial 16"),
    ],
)
def test_more_than_there_is_is_refused(
    tiny_plan: Plan, empty: Store, resources: ResourcesConfig, total: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Allocator(tiny_plan, resources, total, empty)


def test_what_is_impossible_is_known_before_ray_starts() -> None:
    with pytest.raises(UserError, match="--gpus 0"):
        require_possible(ResourcesConfig(gpus=2.0), gpu_devices=())
    require_possible(AUTO, gpu_devices=())
    require_possible(ResourcesConfig(gpus=2.0), gpu_devices=[Path("/")])


# by memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training_gib", "at_once"),
    [(100.0, 1), (81.0 / MARGIN, 1), (39.0 / MARGIN, 2), (26.0 / MARGIN, 3), (0.7, 8)],
)
def test_trainings_are_packed_by_the_memory_that_was_measured(
    tiny_plan: Plan, empty: Store, training_gib: float, at_once: int
) -> None:
    keep_probes(empty, tiny_plan, training_gib, 1.0, 80.0)
    given = Allocator(tiny_plan, AUTO, EIGHT_GPUS, empty)
    share = given.of(first(tiny_plan, "training"))
    assert share.gpus == 1 / at_once
    assert given.at_once(share) == given.slots("training") == min(8 * at_once, 32)  # a core each, at least
    assert share.cpus * given.at_once(share) <= 32


def test_an_evaluation_is_packed_by_its_own_memory_and_its_extractor(tiny_plan: Plan, empty: Store) -> None:
    own = 80.0 / MARGIN / 4 - EXTRACTOR_GIB["classifier"]
    keep_probes(empty, tiny_plan, 79.0, own, 80.0)
    given = Allocator(tiny_plan, AUTO, EIGHT_GPUS, empty)
    assert given.of(first(tiny_plan, "training")).gpus == 1.0
    assert given.of(first(tiny_plan, "evaluation")).gpus == 1 / 4


def test_a_probe_that_finishes_during_a_run_is_taken_in(tiny_plan: Plan, empty: Store) -> None:
    given, training = Allocator(tiny_plan, AUTO, EIGHT_GPUS, empty), first(tiny_plan, "training")
    assert given.of(training).gpus == 1.0
    keep_probes(empty, tiny_plan, 10.0, 1.0, 80.0)
    assert given.of(training).gpus == 1 / 6


def test_memory_that_was_measured_on_a_cpu_packs_no_gpu(tiny_plan: Plan, empty: Store) -> None:
    keep_probes(empty, tiny_plan, 0.1, 0.1, None)
    assert Allocator(tiny_plan, AUTO, EIGHT_GPUS, empty).of(first(tiny_plan, "training")).gpus == 1.0


def test_on_a_cluster_every_gpu_has_cores_and_a_trial_fits_on_one_node(tiny_plan: Plan, tmp_path: Path) -> None:
    nodes = [{"CPU": 16.0}, {"CPU": 64.0, "GPU": 8.0}, {"CPU": 12.0, "GPU": 4.0}]
    total = {"CPU": 92.0, "GPU": 12.0}
    training = next(iter(tiny_plan.trainings.values()))

    def sharing(gpus: float | None) -> Allocator:
        return Allocator(tiny_plan, ResourcesConfig(gpus=gpus), total, Store(tmp_path), nodes)

    assert sharing(None).of(training) == Allocation(3, 1.0)
    assert sharing(8.0).of(training) == Allocation(64, 8.0)
    with pytest.raises(UserError, match="10 per trial, but no node has more than 8 GPUs; give --gpus 8 or fewer"):
        sharing(10.0)
