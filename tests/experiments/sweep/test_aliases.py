"""Aliases: what a store holds under signatures of before is not computed again."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import yaml
from PIL import Image

from edm.config import canonical_but_for_kimg, canonical_training
from experiments.inputs import InputFiles
from experiments.store.layout import StoreKind
from experiments.sweep.aliases import Holdings
from experiments.sweep.forms import evaluation_forms, training_forms
from experiments.sweep.identity import signature
from experiments.sweep.plan import Plan, PlannedCell, plan_sweep
from experiments.sweep.tasks import DataSource, SweepTask
from tests.planning import load_sweep


class Held:
    """A store that has some results, and of other tasks their beginning.

    texts: the configurations of its tasks, by kind. read: the kinds whose configurations were asked for.
    """

    def __init__(
        self,
        done: Iterable[str] = (),
        begun: Iterable[str] = (),
        texts: Mapping[StoreKind, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.done, self.begun, self.texts = set(done), set(begun), texts
        self.read: list[StoreKind] = []

    @classmethod
    def with_results(cls, *tasks: SweepTask) -> "Held":
        """Return the store in which only these tasks are done."""
        texts: defaultdict[StoreKind, list[str]] = defaultdict(list)
        for task in tasks:
            texts[task.store_kind].append(yaml.safe_dump(json.loads(json.dumps(asdict(task))), sort_keys=False))
        return cls((task.signature for task in tasks), (), texts)

    def configs(self, kind: StoreKind) -> Iterator[str]:
        self.read.append(kind)
        return iter(self.texts.get(kind, ()))

    def has_result(self, _kind: StoreKind, signature: str) -> bool:
        return signature in self.done

    def signatures(self, _kind: StoreKind) -> set[str]:
        return self.done | self.begun

    def has_begun(self, _kind: StoreKind, signature: str) -> bool:
        return signature in self.done | self.begun


def plan(tmp_path: Path, text: str, store: Holdings | None = None) -> Plan:
    (tmp_path / "x.yaml").write_text(f"data: {{name: digits}}\nmodel: {{preset: nano}}\n{text}\n")
    return plan_sweep(load_sweep(tmp_path / "x.yaml"), InputFiles(), holdings=store)


def former(planned: PlannedCell) -> tuple[str, str]:
    """The signatures that an earlier release gave to a cell's training and evaluation."""
    cell, training = planned.cell, planned.training
    written = cell.training.without_unread()
    content = {"data": training.data.signature, "network": training.network, "training": written}
    trained = signature("training", **content, seed=cell.seed)
    drawing = signature("drawing", training=trained, sampling=cell.sampling.without_unread())
    return trained, signature(
        "evaluation", drawing=drawing, evaluation=cell.evaluation, features=planned.evaluation.features
    )


AXES = "training: {kimg: 1}\nevaluation: {features: classifier}\ngrid: {training.ema_halflife_kimg: [0.1, 0.5, 2]}"
INTERVALS = (
    "evaluation: {features: classifier}\nsampling: {guidance: 2}\n"
    "grid: {sampling.guidance_interval: [[0, 90], [0, 100], [1, 3]]}"
)


def test_results_of_an_earlier_release_fill_the_cells_they_were_made_for(tmp_path: Path) -> None:
    old = [former(planned) for planned in plan(tmp_path, AXES).cells]
    assert len(set(old)) == 3
    store = Held(name for names in old for name in names)
    found = plan(tmp_path, AXES, store)
    assert [(p.training.signature, p.evaluation.signature) for p in found.cells] == old
    assert set(found.trainings) | set(found.evaluations) == store.done
    assert "changes nothing" in found.warnings[0]  # although three networks are there


def test_a_result_that_one_cell_has_serves_the_others(tmp_path: Path) -> None:
    fresh = plan(tmp_path, AXES)
    trained, scored = former(fresh.cells[1])
    assert trained not in fresh.trainings
    found = plan(tmp_path, AXES, Held([trained, scored]))
    assert list(found.trainings) == [trained] and list(found.evaluations) == [scored]
    only_trained = plan(tmp_path, AXES, Held([trained]))
    assert list(only_trained.trainings) == [trained]
    (evaluation,) = only_trained.evaluations.values()
    assert evaluation.training.signature == trained


def test_a_training_that_was_begun_goes_on_unless_another_one_is_done(tmp_path: Path) -> None:
    fresh = plan(tmp_path, AXES)
    (canonical,) = fresh.trainings
    first, second, _ = (former(planned)[0] for planned in fresh.cells)
    assert set(plan(tmp_path, AXES, Held(begun=[second])).trainings) == {second}
    assert set(plan(tmp_path, AXES, Held(done=[first], begun=[second])).trainings) == {first}
    assert set(plan(tmp_path, AXES, Held(done=[canonical], begun=[second])).trainings) == {canonical}


def test_a_cell_keeps_the_result_that_was_made_for_it(tmp_path: Path) -> None:
    """Tables of sweeps that are done stay as they are, signatures included."""
    fresh = plan(tmp_path, AXES)
    everything = [name for planned in fresh.cells for name in former(planned)]
    found = plan(tmp_path, AXES, Held([*everything, *fresh.trainings, *fresh.evaluations]))
    assert [(p.training.signature, p.evaluation.signature) for p in found.cells] == list(map(former, fresh.cells))
    some = plan(tmp_path, AXES, Held([*former(fresh.cells[1]), *fresh.trainings, *fresh.evaluations]))
    assert [p.training.signature == former(p)[0] for p in some.cells] == [True, True, False]


def test_images_of_an_earlier_release_serve_all_cells_that_are_the_same(tmp_path: Path) -> None:
    fresh = plan(tmp_path, INTERVALS)
    assert len(fresh.trainings) == 1 and len(fresh.evaluations) == 2
    trained, scored = former(fresh.cells[1])
    assert trained in fresh.trainings and scored not in fresh.evaluations
    found = plan(tmp_path, INTERVALS, Held([trained, scored]))
    assert [planned.evaluation.signature == scored for planned in found.cells] == [True, True, False]
    assert found.cells[0].evaluation.sampling == fresh.cells[1].cell.sampling.without_unread()


def test_an_evaluation_is_found_whichever_of_its_networks_is_used(tmp_path: Path) -> None:
    fresh = plan(tmp_path, AXES)
    (canonical,) = fresh.trainings
    trained, scored = former(fresh.cells[0])
    found = plan(tmp_path, AXES, Held([canonical, trained, scored]))
    assert found.cells[0].evaluation.signature == scored and found.cells[0].training.signature == trained


@pytest.mark.parametrize("text", ["training: {kimg: 1, ema_halflife_kimg: 0.01}", "sampling: {steps: 5}"])
def test_without_results_the_plan_for_a_store_is_the_plan(tmp_path: Path, text: str) -> None:
    text = f"{text}\nevaluation: {{features: classifier}}"
    assert plan(tmp_path, text, Held()).evaluations == plan(tmp_path, text).evaluations


def test_the_canonical_form_decides_the_signature(tmp_path: Path) -> None:
    made = plan(tmp_path, AXES)
    (training,) = made.trainings.values()
    assert {canonical_training(p.cell.training, training.network) for p in made.cells} == {training.config}


KIMG = "training: {batch_size: 64}\nevaluation: {features: classifier}\ngrid: {training.kimg: [0.97, 1, 1.02, 1.03]}"


def test_kimg_of_as_many_steps_are_one_training_and_the_plan_says_so(tmp_path: Path) -> None:
    found = plan(tmp_path, KIMG)
    assert [training.config.kimg for training in found.trainings.values()] == [1.0, 1.08]
    (sentence,) = found.equivalences
    assert "training.kimg: 0.97, 1 and 1.02 come to the same" in sentence and "equally many steps" in sentence


@pytest.mark.parametrize("halflife", [500.0, 0.01])
def test_a_training_of_a_kimg_that_is_not_round_is_found(tmp_path: Path, halflife: float) -> None:
    text = f"training: {{kimg: 1.02, ema_halflife_kimg: {halflife}}}\nevaluation: {{features: classifier}}"
    (planned,) = plan(tmp_path, text).cells
    network, source = planned.training.network, planned.training.data
    config = canonical_but_for_kimg(planned.cell.training, network)
    former = signature("training", data=source.signature, network=network, training=config, seed=0)
    assert former != planned.training.signature
    assert list(plan(tmp_path, text, Held([former])).trainings) == [former]


def test_a_split_seed_of_a_folder_with_splits_changes_nothing(tmp_path: Path) -> None:
    text = f"data: {{name: folder, path: {tmp_path / 'images'}, resolution: 8, channels: 1}}\nmodel: {{preset: nano}}\n"
    text += "evaluation: {features: classifier, splits: [train]}\ngrid: {data.split_seed: [0, 7]}\n"
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(12):
                image = Image.fromarray(np.full((8, 8), 20 * number + len(split) + ord(name) % 5, np.uint8))
                image.save(tmp_path / "images" / split / name / f"{number}.png")
    (tmp_path / "x.yaml").write_text(text)

    def planned(store: Holdings | None = None) -> Plan:
        return plan_sweep(load_sweep(tmp_path / "x.yaml"), InputFiles(), holdings=store)

    found = planned()
    assert len(found.trainings) == len(found.sources) == 1 and "data.split_seed changes nothing" in " ".join(
        found.warnings
    )
    seven = found.sweep.cells[1].data
    former = DataSource.as_written(seven, InputFiles())
    assert former.signature not in found.sources
    assert former.signature in planned(Held([former.signature])).sources


# of other sweeps ----------------------------------------------------------------------------------

OTHER_HALFLIFE = "training: {kimg: 1, ema_halflife_kimg: 0.3}\nevaluation: {features: classifier}"


def with_interval(*intervals: str, more: str = "") -> str:
    return (
        f"evaluation: {{features: classifier{more}}}\nsampling: {{guidance: 2}}\n"
        f"grid: {{sampling.guidance_interval: [{', '.join(intervals)}]}}"
    )


def test_a_training_of_another_sweep_under_another_value_is_found(tmp_path: Path) -> None:
    (other,) = plan(tmp_path, OTHER_HALFLIFE).cells
    former, canonical = training_forms(other.cell, other.training.data)
    evaluation = evaluation_forms(other.cell, former, None, None)[0].task()
    store = Held.with_results(former, evaluation)
    found = plan(tmp_path, AXES, store)  # in which no half-life is 0.3
    assert former.signature != canonical.signature and other.training.signature == canonical.signature
    assert list(found.trainings) == [former.signature] and list(found.evaluations) == [evaluation.signature]
    assert set(plan(tmp_path, AXES, Held.with_results(evaluation)).trainings) == {canonical.signature}


def test_what_is_not_the_same_is_not_found(tmp_path: Path) -> None:
    (other,) = plan(tmp_path, OTHER_HALFLIFE.replace("0.3", "0.02")).cells  # which is reached
    store = Held.with_results(other.training, other.evaluation)
    assert set(plan(tmp_path, AXES, store).trainings).isdisjoint(store.done)
    store = Held.with_results(*(planned.training for planned in plan(tmp_path, f"{AXES}\nseeds: [3]").cells))
    assert set(plan(tmp_path, AXES, store).trainings).isdisjoint(store.done)


def test_configurations_are_read_once_and_only_where_something_is_absent(tmp_path: Path) -> None:
    fresh = plan(tmp_path, INTERVALS)
    everything = Held([*fresh.trainings, *fresh.evaluations])
    assert plan(tmp_path, INTERVALS, everything).evaluations == fresh.evaluations and everything.read == []
    without_images = Held(fresh.trainings)
    plan(tmp_path, INTERVALS, without_images)
    assert without_images.read == ["evaluations"]
    nothing = Held()
    plan(tmp_path, INTERVALS, nothing)
    assert nothing.read == ["trainings"]  # without a network there are no images of it


def test_configurations_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    texts = ["", "config:\n  kimg: [\n", "config:\n  kimg: many\n", "config:\n  lr: 1\n"]
    store = Held(texts={"trainings": texts})
    assert plan(tmp_path, AXES, store).trainings == plan(tmp_path, AXES).trainings


def test_intervals_that_guide_the_same_steps_are_one_and_the_plan_says_so(tmp_path: Path) -> None:
    found = plan(tmp_path, with_interval("[0.3, 5]", "[0.31, 5.2]", "[1, 3]"))
    first, second, third = (planned.evaluation for planned in found.cells)
    assert first == second != third and first.sampling.guidance_interval == (0.3, 5.0)
    (sentence,) = found.equivalences
    assert "[0.3, 5.0] and [0.31, 5.2] come to the same" in sentence and "the same steps are guided" in sentence
    alone = plan(tmp_path, with_interval("[0.3, 5]"))
    assert list(alone.evaluations) == [first.signature], "signatures stay"


def test_images_of_another_sweep_that_guided_the_same_steps_are_found(tmp_path: Path) -> None:
    (other,) = plan(tmp_path, with_interval("[0.3, 5]")).cells
    store = Held.with_results(other.training, other.evaluation)
    found = plan(tmp_path, with_interval("[0.31, 5.2]", "[1, 3]"), store)
    assert [planned.evaluation == other.evaluation for planned in found.cells] == [True, False]


def test_truncation_errors_of_two_intervals_are_two(tmp_path: Path) -> None:
    """The exact solution has more noise levels, some of which are in one interval alone."""
    more = ", truncation: true"
    found = plan(tmp_path, with_interval("[0.3, 5]", "[0.31, 5.2]", more=more))
    assert len(found.evaluations) == 2 and found.equivalences == []
    (other,) = plan(tmp_path, with_interval("[0.3, 5]")).cells
    store = Held.with_results(other.training, other.evaluation)
    assert other.evaluation.signature not in plan(tmp_path, with_interval("[0.31, 5.2]", more=more), store).evaluations


def test_an_interval_without_steps_needs_no_guide(tmp_path: Path) -> None:
    guided = "evaluation: {features: classifier}\ntraining: {kimg: 2}\nsampling: {guidance: 2, guide: {kimg: 1}}\n"
    cells = "grid:\n- {sampling.guidance_interval: [[0.3, 0.4]]}\n- {sampling.guidance: [1]}"
    found = plan(tmp_path, guided + cells)
    assert len(found.evaluations) == len(found.trainings) == 1
    (evaluation,) = found.evaluations.values()
    assert evaluation.sampling.guidance == 1 and evaluation.guide is None
