"""What results say of the code that computed them."""

import json
from pathlib import Path

from experiments.code import Sources
from experiments.store.code_files import BETWEEN, code_path, definitions_of, own_part, united
from experiments.store.layout import BEGUN_WITH
from experiments.store.results import DatasetRecord, EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.code_parts import EdmCode, all_parts, digests_of, parts_of
from experiments.sweep.plan import Plan
from experiments.trials.code import begun_with
from tests import ROOT

# functions of edm/ that experiments/trials/ calls, although no result depends on what they do
WITHOUT_RESULT = {
    *("edm.pictures", "edm.files", "edm.checksums", "edm.parallel", "edm.temporary"),
    *("edm.trying", "edm.registry", "edm.extension", "edm.extend", "edm.data.progress"),
    "edm.data.class_names",
}


def evaluation_with(plan: Plan, sampler: str):
    return next(task for task in plan.evaluations.values() if task.sampling.sampler == sampler)


def test_every_kind_of_result_says_which_code_made_it(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    tasks = [*plan.preparations.values(), *plan.trainings.values(), *plan.evaluations.values()]
    for task in tasks:
        code = store.finished(task.result_type, task.signature).code
        assert set(parts_of(task)) <= code.keys()
        assert code == {name: digests_of([own_part(name)])[own_part(name)] for name in code}
        assert all(definitions_of(store, digest) for digest in code.values())


def test_an_evaluation_says_what_code_its_training_and_data_had(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    code = store.finished(EvaluationResult, evaluation_with(plan, "heun").signature).code
    assert "sampler/heun" in code and "sampler/euler" not in code
    assert {"training: training", "training: norm/batch", "data: data/digits", "classifier: classifier"} <= code.keys()


def test_a_result_without_code_is_written_as_before() -> None:
    record = DatasetRecord(name="digits", sigma_data=1.0)
    assert "code" not in record.to_json()
    assert DatasetRecord.from_json(record.to_json()).code == {}


def test_definitions_of_a_part_are_kept_once_by_its_digest(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    digest = store.finished(EvaluationResult, evaluation_with(plan, "heun").signature).code["sampler/heun"]
    kept = json.loads(code_path(store, digest).read_text())
    assert kept["part"] == "sampler/heun" and "edm.samplers.heun" in kept["definitions"]


def test_a_resumed_task_has_the_code_of_before_and_of_now(tmp_path: Path) -> None:
    begun_with(tmp_path, {"training": "b", "network": "n"}, resumed=False)
    assert begun_with(tmp_path, {"training": "a", "network": "n"}, resumed=True) == {"training": "a,b", "network": "n"}
    assert begun_with(tmp_path, {"training": "c"}, resumed=False) == {"training": "c"}
    assert json.loads((tmp_path / BEGUN_WITH).read_text()) == {"training": "c"}


def test_parts_that_changed_midway_have_several_digests() -> None:
    assert united({"a": "2", "b": "1"}, {"a": "1,3"}) == {"a": "1,2,3", "b": "1"}


def test_the_note_of_what_computed_a_training_stays_with_its_state(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    training = next(iter(plan.trainings.values()))
    result, note = store.result(TrainingResult, training.signature), store.folder_of(training) / BEGUN_WITH
    assert result is not None
    assert json.loads(note.read_text()) == {part: code for part, code in result.code.items() if BETWEEN not in part}


def test_every_part_reaches_something() -> None:
    code = EdmCode.of_this_version()
    for part in all_parts():
        reach = code.reach(part)
        assert reach is not None and reach.definitions, part
    assert code.digest("sampler/unheard_of") is None and code.digest("unheard of") is None


def test_what_trials_call_of_edm_is_in_some_part() -> None:
    """So that a function which trials begin to use is not forgotten."""
    code = EdmCode.of_this_version()
    reached = {name for part in all_parts() for name in code.reach(part).definitions}  # pyright: ignore[reportOptionalMemberAccess]
    sources = Sources({"edm": ROOT / "edm", "experiments.trials": ROOT / "experiments" / "trials"})
    used = {
        target.name
        for module in sources.modules.values()
        if module.name.startswith("experiments.trials")
        for name in module.imports
        if (target := sources.resolve(module, None, name)) is not None and target.name.startswith("edm.")
    }
    used = {name for name in used if name.rpartition(".")[0] not in WITHOUT_RESULT and not is_configuration(name)}
    assert used - reached == set()


def is_configuration(name: str) -> bool:
    """Whether a definition only holds settings, or is an error."""
    return name.startswith("edm.config.") or name.endswith("Error") or name in NO_COMPUTATION


NO_COMPUTATION = {
    "edm.data.sources.OnProgress",
    "edm.data.sources.Origin",
    "edm.data.prepare.FILES",
    "edm.download.require_reachable",
    "edm.metrics.features.required_weights",
    "edm.metrics.features.load_inception",  # finds the weights, whose fingerprint results have
    "edm.metrics.features.load_dinov2",
    "edm.metrics.weights.find_weights",
    "edm.metrics.weights.require_weights",
    "edm.metrics.truncation.OnImages",
    "edm.networks.device.is_out_of_memory",
    "edm.metrics.features.Extractor",
    "edm.validation.VALIDATION_IMAGES",
}
