"""Published numbers beside a sweep's own."""

from dataclasses import replace

import pandas as pd
import pytest
import yaml

from edm.config import PRESETS
from edm.cost import num_parameters
from experiments.sweep.spec import SECTIONS, field_names
from reports.layout import Layout
from reports.references import FOLDER, Footnotes, published_study
from reports.tables import result_tables
from tests import ROOT
from tests.planning import load_sweep, plan_sweep
from tests.reports.frames import frame
from tests.test_sweeps import planned as planned_of_files

STUDIES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CIFAR = Layout("c", rows=("model.attention",), metrics=("fid_train", "fid_test"), reference="zenchiyu_2023")


def cifar(**changes: object) -> pd.DataFrame:
    """The conditional networks of the study on CIFAR-10, as it had them."""
    made = frame()[:2].assign(fid_train=[21.0, 23.0], fid_test=[22.0, 24.5])
    values = {
        "data.name": "cifar10", "training.label_dropout": 0.2, "sampling.guidance": 2.5, "sampling.sampler": "euler",
        "sampling.steps": 50, "training.kimg": 8000.0, "training.batch_size": 32, "training.lr": 1e-4,
        "evaluation.images": 50000, "evaluation.features": "inception", "evaluation.resize": "clean",
        "evaluation.reference": "all", "parameters": [5033387, 4153259],
    }  # fmt: skip
    return made.assign(**{**values, "model.attention": [True, False], **changes})


def test_thirty_numbers_of_ten_configurations_are_those_of_the_study() -> None:
    study = published_study("zenchiyu_2023")
    large = [entry for entry in study.entries if entry.config["evaluation.images"] == 50_000]
    assert len(large) == 10 and sum(len(entry.scores) for entry in large) == 30
    assert {entry.config["parameters"] for entry in study.entries} >= {5031081, 4150953, 81317715}
    assert large[6].scores == {"fid_train": 22.0655, "fid_val": 23.1863, "fid_test": 21.8915}


def test_six_numbers_are_of_ten_thousand_images_and_stand_beside_as_many() -> None:
    study = published_study("zenchiyu_2023")
    small = [entry for entry in study.entries if entry.config["evaluation.images"] == 10_000]
    assert sum(len(entry.scores) for entry in small) == 6
    uncond = {"training.label_dropout": 1.0, "model.attention": True, "training.kimg": 8000.0, "sampling.guidance": 0.0}
    for images, value in ((10_000, "30.76"), (50_000, "28.55"), (1000, "28.55")):
        made = cifar(**{**uncond, "evaluation.images": images, "parameters": 5033387})[:1]
        (table,) = result_tables(made, CIFAR)
        published = table.rows[0][1][1]
        assert published.value == value and published.footnotes == (("a", "b") if images == 1000 else ("a",))
    assert "evaluation.images 50,000 (here 1,000)" in table.footnotes[1]


def test_edms_number_on_imagenet_says_what_it_is_of() -> None:
    made = cifar(**{"data.name": "folder", "parameters": 295899267, "evaluation.resize": "tensorflow"})[:1]
    (table,) = result_tables(made, replace(CIFAR, reference="edm_2022"))
    assert table.rows[0][1][1].text == "1.36 [a]"
    assert "data.name imagenet (here folder)" in table.footnotes[0]
    assert "sampling.steps 256 (here 50)" in table.footnotes[0]


def test_a_network_trained_elsewhere_is_known_by_its_size_not_by_defaults() -> None:
    made = cifar(**{"model.from": "edm-cifar10-32x32-cond-vp.pkl", "parameters": 55735299, "sampling.guidance": 1.0})
    made = made.assign(
        **{"sampling.sampler": ["heun", "euler"], "sampling.steps": [18, 35], "evaluation.images": 50000}
    )
    layout = replace(CIFAR, rows=("sampling.sampler",), reference="edm_2022")
    (table,) = result_tables(made, layout)
    assert [entries[1].value for _, entries in table.rows] == ["1.79", ""]
    assert table.footnotes[0] == "[a] edm_2022: evaluation.resize tensorflow (here clean)"
    (study,) = result_tables(made, replace(layout, reference="zenchiyu_2023"))
    assert study.footnotes == ("zenchiyu_2023 has no numbers for the cells of this table.",)


@pytest.mark.parametrize("name", STUDIES)
def test_published_configurations_name_fields_and_presets_that_exist(name: str) -> None:
    fields = {f"{section}.{field}" for section, kind in SECTIONS.items() for field in field_names(kind)}
    for entry in published_study(name).entries:
        for cells in entry.cells:
            assert set(cells) | set(entry.config) <= fields | {"parameters"}
            assert cells.get("model.preset", "mini") in PRESETS


@pytest.mark.parametrize(
    ("file", "count"), [("cifar10", 3), ("fashion_mnist", 3), ("celeba_sizes", 4), ("edm_cifar10", 2)]
)
def test_every_cell_of_the_shipped_sweeps_has_its_published_number(file: str, count: int) -> None:
    sweep = load_sweep(ROOT / "sweeps" / f"{file}.yaml")
    (table,) = sweep.report
    assert table.reference is not None
    study, found = published_study(table.reference), []
    for planned in plan_sweep(sweep).cells:
        entry = study.entry_for(planned.cell.parameters())
        assert entry is not None
        found.append(entry)
    assert len(found) == count and len({id(entry) for entry in found}) == count


def test_numbers_stand_beside_ours_with_a_star_on_splits_that_differ() -> None:
    (table,) = result_tables(cifar(), CIFAR)
    assert table.number_heads == ("FID train", "FID train, published", "FID test", "FID test, published")
    rows = [[entry.text for entry in entries] for _, entries in table.rows]
    assert rows[0] == ["21.00", "20.41 [a]", "22.00", "22.55"] and rows[1][1::2] == ["22.79 [a]", "24.32"]
    assert "random split" in table.footnotes[0] and "Zenchiyu/diffusion" in table.footnotes[-1]
    assert table.complete


def test_footnotes_say_what_differs_between_the_two_configurations() -> None:
    made = cifar(**{"evaluation.reference": "equal", "training.kimg": 100.0, "evaluation.resize": "pytorch-fid"})
    (table,) = result_tables(made, CIFAR)
    assert [entries[3].text for _, entries in table.rows] == ["22.55 [b]", "24.32 [b]"]
    assert table.footnotes[1] == (
        "[b] zenchiyu_2023: evaluation.resize clean (here pytorch-fid), evaluation.reference all (here equal), "
        "training.kimg 8,000 (here 100)"
    )


def test_edms_numbers_say_that_they_are_the_smallest_of_three() -> None:
    made = cifar(**{"training.label_dropout": [0.0, 1.0], "sampling.guidance": [1.0, 0.0], "training.kimg": 200000.0})
    (table,) = result_tables(made, replace(CIFAR, rows=("training.label_dropout",), reference="edm_2022"))
    assert [entries[1].value for _, entries in table.rows] == ["1.79", "1.97"]
    assert "smallest of three" in table.footnotes[-1]
    assert "sampling.sampler heun (here euler)" in table.footnotes[0]


def test_the_studys_own_networks_have_its_thirty_numbers_beside_them() -> None:
    study, found = published_study("zenchiyu_2023"), {}
    for planned in planned_of_files("study_checkpoints").cells:
        entry = study.entry_for(planned.cell.parameters())
        assert entry is not None
        assert entry.cells[0]["data.name"] == planned.cell.parameters()["data.name"]
        assert entry.config["parameters"] == num_parameters(planned.evaluation.training.network)
        assert entry.differences(planned.cell.parameters()) == "evaluation.reference all (here equal)"
        found[id(entry)] = entry
    assert sum(len(entry.scores) for entry in found.values()) == 30


def test_numbers_of_edms_samplers_stand_beside_17_of_54_cells() -> None:
    study, found = published_study("edm_samplers"), {}
    for planned in planned_of_files("edm_samplers").cells:
        entry = study.entry_for(planned.cell.parameters())
        if entry is not None:
            found[planned.evaluation.sampling.nfe, planned.evaluation.sampling.sampler] = entry
            differing = entry.differences(planned.cell.parameters())
            assert differing == "evaluation.reference all (here equal)"
    assert len(found) == len(study.entries) == 17
    assert found[35, "heun"].scores == {"fid_train": 1.97}
    assert found[11, "dpm2"].scores == {"fid_train": 5.01}


def test_a_table_without_published_numbers_says_so() -> None:
    (table,) = result_tables(frame(), replace(CIFAR, rows=("model.preset", "model.attention"), metrics=("fid_test",)))
    assert table.footnotes == ("zenchiyu_2023 has no numbers for the cells of this table.",)
    assert table.number_heads == ("FID test",)


def test_footnotes_have_letters_in_order_and_each_text_once() -> None:
    notes = Footnotes()
    assert [notes.mark(text) for text in ("x", "y", "x")] == ["a", "b", "a"]
    assert [notes.mark(str(i)) for i in range(26)][-3:] == ["z", "aa", "ab"]


@pytest.mark.parametrize("name", STUDIES)
def test_a_choice_in_a_published_configuration_is_a_list_of_values(name: str) -> None:
    entries = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["entries"]
    assert all(not isinstance(value, list) for entry in entries for value in entry.get("config", {}).values())
