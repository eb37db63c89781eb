"""Sweep files: what is read, and one sentence for whatever is wrong."""

from pathlib import Path

import pytest

from edm.config import GuideConfig
from experiments.errors import UserError
from tests.datafiles import image_tree
from tests.planning import load_sweep

BASE = """\
name: trial
model: {preset: nano}
training: {kimg: 50, label_dropout: 0.1}
evaluation: {images: 1000, features: classifier}
grid:
  model.attention: [false, true]
  sampling.guidance: [1, 2]
"""


def load(tmp_path: Path, text: str, *overrides: str):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return load_sweep(path, overrides)


def error_of(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text, *overrides)
    message = str(caught.value).replace(f"{tmp_path}/", "")
    assert "\n" not in message
    return message


def test_a_mapping_is_a_product_in_the_order_of_the_file(tmp_path: Path) -> None:
    sweep = load(tmp_path, BASE)
    assert sweep.axes == ("model.attention", "sampling.guidance")
    assert [(c.model.attention, c.sampling.guidance) for c in sweep.cells] == [
        (False, 1),
        (False, 2),
        (True, 1),
        (True, 2),
    ]
    assert all(c.model.preset == "nano" and c.training.kimg == 50 for c in sweep.cells)


def test_a_list_of_mappings_is_their_union(tmp_path: Path) -> None:
    grid = "grid:\n  - {model.preset: [nano], model.attention: [false, true]}\n  - {model.preset: [micro, mini]}\n"
    sweep = load(tmp_path, grid)
    assert [(c.model.preset, c.model.attention) for c in sweep.cells] == [
        ("nano", False),
        ("nano", True),
        ("micro", True),
        ("mini", True),
    ]


def test_zip_moves_axes_together_and_multiplies_the_grid(tmp_path: Path) -> None:
    text = BASE + "zip: {training.lr: [1e-3, 2e-3], training.batch_size: [32, 64]}\n"
    pairs = [(c.training.lr, c.training.batch_size) for c in load(tmp_path, text).cells]
    assert pairs == [(1e-3, 32), (2e-3, 64)] * 4


def test_an_axis_of_a_zip_may_have_a_value_twice_beside_others(tmp_path: Path) -> None:
    text = BASE + "zip: {training.lr: [1e-3, 1e-3, 2e-3], training.batch_size: [32, 64, 32]}\n"
    pairs = {(cell.training.lr, cell.training.batch_size) for cell in load(tmp_path, text).cells}
    assert pairs == {(1e-3, 32), (1e-3, 64), (2e-3, 32)}


def test_exclude_leaves_combinations_out(tmp_path: Path) -> None:
    text = BASE + "exclude: [{model.attention: true, sampling.guidance: [2]}]\n"
    cells = [(c.model.attention, c.sampling.guidance) for c in load(tmp_path, text).cells]
    assert cells == [(False, 1), (False, 2), (True, 1)]


SHARED = "evaluation: {images: 100, features: classifier}\ntraining: {kimg: 1}\nmodel: {multipliers: [1, 2]}\n"


def test_a_section_may_be_right_only_with_the_values_of_an_axis(tmp_path: Path) -> None:
    sweep = load(tmp_path, SHARED + "grid: {model.architecture: [ddpmpp, ncsnpp]}")
    assert [cell.model.multipliers for cell in sweep.cells] == [(1, 2)] * 2


@pytest.mark.parametrize(
    "grid", ["{model.architecture: [ddpmpp, study]}", "[{model.architecture: [ddpmpp]}, {sampling.steps: [3]}]"]
)
def test_a_section_that_some_cell_cannot_have_is_refused_where_it_is(tmp_path: Path, grid: str) -> None:
    assert error_of(tmp_path, f"{SHARED}grid: {grid}").startswith("x.yaml:3: model.multipliers: is not for study")


def test_what_an_axis_does_not_put_right_is_told_at_its_own_line(tmp_path: Path) -> None:
    text = "evaluation: {images: 100, features: classifier}\ntraining: {kimg: -1}\ngrid: {training.batch_size: [8, 16]}"
    assert error_of(tmp_path, text).startswith("x.yaml:2: training.kimg: -1.0 is not above 0")


def test_a_baseline_that_no_cell_has_is_refused(tmp_path: Path) -> None:
    union = "{model.preset: [nano], model.attention: [true]}, {model.preset: [micro], model.attention: [false]}"
    text = BASE.partition("grid:")[0] + f"grid: [{union}]\nreport: {{baseline: VALUES}}\n"
    load(tmp_path, text.replace("VALUES", "{model.preset: micro, model.attention: false}"))
    message = error_of(tmp_path, text.replace("VALUES", "{model.preset: micro, model.attention: true}"))
    assert "report.baseline: no cell has model.preset='micro', model.attention=true" in message


def test_seeds_multiply_everything(tmp_path: Path) -> None:
    assert [c.seed for c in load(tmp_path, BASE + "seeds: [0, 7]\n").cells] == [0, 7] * 4


def test_the_name_is_the_files_by_default(tmp_path: Path) -> None:
    assert load(tmp_path, BASE.removeprefix("name: trial\n")).name == "x"


def test_without_a_grid_there_is_one_cell(tmp_path: Path) -> None:
    sweep = load(tmp_path, "model: {preset: nano}\n")
    assert len(sweep.cells) == 1 and sweep.axes == ()


def test_numbers_with_an_exponent_and_infinity_are_numbers(tmp_path: Path) -> None:
    cell = load(tmp_path, "training: {lr: 1e-4}\nsampling: {s_churn: .inf, sampler: stochastic_heun}\n").cells[0]
    assert cell.training.lr == 1e-4 and cell.sampling.s_churn == float("inf")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("model: {norm: layer}", "model.norm: 'layer' is not one of batch, group"),
        (
            "model: {attention: brigde}",
            "model.attention: 'brigde' is not one of true, false, none, bridge, levels; did",
        ),
        ("model: {dropout: 1}", "model.dropout: 1.0 is not a share below 1"),
        ("training: {keep: some}", "training.keep: 'some' is neither a list nor last, best or all; write one of them"),
        ("training: {keep: [20], kimg: 10}", "training.keep: 20 is outside of the 10 kimg; remove it"),
        ("training: {power_ema: [0.1]}", "training.power_ema: takes two different widths"),
        ("training: {power_ema: [0.1, 0.5]}", "training.power_ema: 0.5 is not a relative width"),
        ("training: {micro_batch: 7}", "training.micro_batch: 7 does not divide batch_size 64"),
        ("training: {augment: 1.5}", "training.augment: 1.5 is not a share"),
        ("training: {precision: tf32}", "training.precision: 'tf32' is not one of auto, fp32, bf16, fp16"),
        ("sampling: {sampler: dpm2m}", "sampling.sampler: 'dpm2m' is not one of euler, heun, dpm2, "),
        ("sampling: {guidance_interval: [3, 1]}", "sampling.guidance_interval: 3 to 1 is not a range of noise levels"),
        ("sampling: {guidance_interval: 3}", "sampling.guidance_interval: 3 is not a range; write [low, high]"),
        (
            "sampling: {guidance_interval: [1, 2, 3]}",
            "sampling.guidance_interval: [1, 2, 3] is not a range; write [low,",
        ),
        ("sampling: {guide: nano}", "sampling.guide: 'nano' is not a mapping; write for example {preset: ...}"),
        ("sampling: {guide: {channels: eight}}", "sampling.guide: channels: expected a whole number, not 'eight'"),
        (
            "sampling: {guide: {preset: nano}, guidance: 2}",
            "{nano} is the same network as the one it guides; make it smaller",
        ),
        (
            "sampling: {guide: {kimg: 1e9}, guidance: 2}",
            "is trained for longer than the 10000 kimg of the network it guides; give it no more",
        ),
        ("sampling: {schedule: iddpm, steps: 2000}", "sampling.schedule: iddpm has 991 levels"),
        (
            "sampling: {guide: {presett: nano}}",
            "sampling.guide.presett: unknown field; choose from preset, channels, kimg, ema, from (did you mean 'preset'?)",
        ),
        ("sampling: {guide: {preset: nanno}}", "sampling.guide: preset: 'nanno' is not one of nano, micro"),
        ("sampling: {guide: {}}", "sampling.guide: preset: is missing: a guide differs from its network in"),
        ("sampling: {guide: {kimg: -1}, guidance: 2}", "sampling.guide: kimg: -1.0 is not above 0"),
        (
            "sampling: {guide: {preset: big}, guidance: 2}",
            "sampling.guide: {big} halves images 4 times, which the 8x8 images of digits do not allow; use nano,",
        ),
        ("sampling: {ema: 0.07}", "sampling.ema: 0.07 needs weight averages from which any width can be computed; set"),
        ("sampling: {guide: {ema: 0.1}, guidance: 2}", "sampling.guide: {ema=0.1} needs weight averages from which"),
        (
            "sampling: {resolution: 10}",
            "10 is not a multiple of 4, as a network that halves images 2 times needs; use for example 12",
        ),
        ("data: {resolution: 16}", "data.resolution: digits has a fixed resolution; remove it"),
        ("data: {name: folder}", "data.path: is missing; say where the folder of images is"),
        (
            "data: {name: celeba}\nmodel: {preset: tiny}",
            "evaluation.features: 'classifier' needs class labels, which celeba does not have; use",
        ),
        ("training: {label_dropout: 1}", "sampling.guidance: 1.0 needs the conditional branch"),
    ],
)
def test_what_the_newer_fields_refuse(tmp_path: Path, section: str, expected: str) -> None:
    rest = "evaluation: {features: classifier}\n"
    if "model:" not in section:
        rest += "model: {preset: nano}\n"
    assert expected in error_of(tmp_path, f"{section}\n{rest}")


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ("features: dinov3", "evaluation.features: 'dinov3' is not one of inception, dinov2, classifier; did you mean"),
        ("features: inception, resize: bicubic", "evaluation.resize: 'bicubic' is not one of pytorch-fid, clean"),
        ("features: classifier, resize: clean", "evaluation.resize: classifier features have a fixed rule"),
        ("reference: half", "evaluation.reference: 'half' is not one of equal, all"),
        ("metrics: [fid, kit]", "evaluation.metrics: 'kit' is not one of fid, fid_infinity, kid, prdc"),
        ("metrics: []", "evaluation.metrics: is empty; give one or more of fid, fid_infinity, kid, prdc, accuracy"),
        ("metrics: [kid, kid]", "evaluation.metrics: has a metric twice; remove one"),
        ("metrics: [fid]", "would mean nothing: 300 real images are not above the 2,048 dimensions of inception"),
        ("metrics: [fid]", "add kid or use features: classifier; for an FID, use features with fewer dimensions, as"),
        ("features: classifier, images: 64, metrics: [fid, fid_infinity]", "64 images drawn are not above the 64"),
        ("features: classifier, images: 64, metrics: [fid]", "add kid; for an FID, set evaluation.images above 64"),
        ("stop_when: 95", "evaluation.stop_when: 95.0 is not a confidence; give for example 0.999"),
        ("stop_when: 0.99, metrics: [kid]", "evaluation.stop_when: needs the FID; add fid to metrics"),
        (
            "statistics: nowhere.npz",
            "evaluation.statistics: 'nowhere.npz' does not exist; give the path of an .npz file that holds mu and sigma",
        ),
        (
            "features: classifier, statistics: x.npz",
            "evaluation.statistics: 'x.npz' cannot be compared with classifier features",
        ),
    ],
)
def test_what_scoring_refuses(tmp_path: Path, evaluation: str, expected: str) -> None:
    assert expected in error_of(tmp_path, f"model: {{preset: nano}}\nevaluation: {{{evaluation}}}\n")


@pytest.mark.parametrize(("name", "refused"), [("cifar10-32x32.npz", True), ("own.npz", False)])
def test_statistics_that_nvlabs_published_ask_for_tensorflows_resize(tmp_path: Path, name: str, refused: bool) -> None:
    (tmp_path / name).write_bytes(b"statistics")
    text = f"data: {{name: cifar10}}\nevaluation: {{statistics: {tmp_path / name}, resize: %s}}\n"
    assert load(tmp_path, text % "tensorflow").cells
    if refused:
        assert f"made {name}" in error_of(tmp_path, text % "clean")
        expected = "evaluation.resize: 'pytorch-fid' is not the rule by which NVlabs made cifar10-32x32.npz"
        assert expected in error_of(tmp_path, text % "pytorch-fid")
    else:
        assert load(tmp_path, text % "clean").cells


def test_memorisation_wants_images_as_large_as_the_training_ones(tmp_path: Path) -> None:
    text = "model: {preset: nano}\nsampling: {resolution: 16}\nevaluation: {metrics: [kid, memorisation]}\n"
    assert (
        "memorisation compares pixels, for which images must be 8x8 as in training; remove memorisation or"
        in error_of(tmp_path, text)
    )


def test_accuracy_wants_classes(tmp_path: Path) -> None:
    text = "data: {name: celeba}\nmodel: {preset: tiny}\nevaluation: {metrics: [kid, accuracy]}\n"
    assert "evaluation.metrics: accuracy needs class labels, which celeba does not have; remove it" in error_of(
        tmp_path, text
    )


def test_what_wants_classes_says_where_they_may_be(tmp_path: Path) -> None:
    images = image_tree(tmp_path / "birds", *(f"{i:02d}.png" for i in range(20)), "labels.csv")
    (images / "labels.csv").write_text("file_name,label\n")
    text = f"data: {{name: folder, path: {images}, resolution: 8}}\nmodel: {{preset: nano}}\nevaluation: %s\n"
    for evaluation, remedy in (
        ("{features: classifier}", "use inception"),
        ("{metrics: [kid, accuracy]}", "remove it"),
    ):
        told = error_of(tmp_path, text % evaluation)
        assert f"{remedy}. birds: labels.csv is not read; if it has the labels, name their column" in told


def test_a_guide_can_be_an_axis_and_needs_no_unconditional_branch(tmp_path: Path) -> None:
    text = (
        "model: {preset: micro}\ntraining: {label_dropout: 0}\nsampling: {guidance: 2}\n"
        "grid: {sampling.guide: [{preset: nano}, {channels: 8, kimg: 5}]}\n"
    )
    guides = [cell.sampling.guide for cell in load(tmp_path, text).cells]
    assert guides == [GuideConfig(preset="nano"), GuideConfig(channels=8, kimg=5.0)]
    assert [str(guide) for guide in guides] == ["nano", "channels=8,kimg=5"]


def test_merge_keys_work(tmp_path: Path) -> None:
    text = "training: &base {kimg: 5}\nsampling: {steps: 4}\n"
    assert load(tmp_path, text.replace("&base ", "")).cells[0].training.kimg == 5
    merged = "grid:\n  - &a {model.preset: [nano]}\n  - {<<: *a, model.preset: [micro]}\n"
    assert [c.model.preset for c in load(tmp_path, merged).cells] == ["nano", "micro"]


def test_overrides_replace_a_field_and_seeds(tmp_path: Path) -> None:
    sweep = load(tmp_path, BASE, "training.kimg=10", "sampling.sampler=euler", "seeds=[1, 2]", "resources.cpus=2")
    assert {c.training.kimg for c in sweep.cells} == {10}
    assert {c.sampling.sampler for c in sweep.cells} == {"euler"}
    assert {c.seed for c in sweep.cells} == {1, 2}
    assert sweep.resources.cpus == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "preset: nano",
            "preset: nanno",
            "x.yaml:2: model.preset: 'nanno' is not one of nano, micro, mini, tiny, small, big; did you mean 'nano'?",
        ),
        (
            "preset:",
            "presset:",
            "x.yaml:2: model.presset: unknown field; choose from preset, attention, channels, depths, ",
        ),
        (
            "grid:",
            "gird:",
            "x.yaml:5: gird: unknown field; choose from name, extensions, data, model, training, sampling, evaluation, grid, ",
        ),
        ("kimg: 50", "kimgs: 50", "x.yaml:3: training.kimgs: unknown field; did you mean 'kimg'?"),
        ("model.attention:", "model.atention:", "x.yaml:6: model.atention: unknown field; choose from preset, "),
        (
            "model.attention:",
            "modle.attention:",
            "x.yaml:6: modle.attention: is not an axis; did you mean 'model.attention'?",
        ),
        (
            "model.attention: [false, true]",
            "seed: [0, 1]",
            "x.yaml:6: seed: is not written as an axis; write 'seeds: [0, 1]' at the top level of the file",
        ),
        (
            "model.attention: [false, true]",
            "resources.gpus: [1, 2]",
            "x.yaml:6: resources.gpus: cannot be an axis; only fields of data, model, training, sampling, evaluation can",
        ),
        ("kimg: 50", "kimg: fifty", "x.yaml:3: training.kimg: expected a number, not 'fifty'"),
        ("kimg: 50", "kimg: true", "x.yaml:3: training.kimg: expected a number, not true"),
        ("kimg: 50", "kimg: -1", "x.yaml:3: training.kimg: -1.0 is not above 0; give a positive number"),
        ("kimg: 50", "kimg: 50, kimg: 60", "x.yaml:3: training.kimg: appears twice, first on line 3; remove one"),
        ("images: 1000", "images: 1000.5", "x.yaml:4: evaluation.images: expected a whole number, not 1000.5"),
        ("[false, true]", "[]", "x.yaml:6: model.attention: has no values; add at least one, or remove the axis"),
        ("[false, true]", "true", "x.yaml:6: model.attention: true is not a list of values; write [true]"),
        (
            "[false, true]",
            "[false, 'no']",
            "x.yaml:6: model.attention: 'no' is not one of true, false, none, bridge, levels; did you mean",
        ),
        (
            "[1, 2]",
            "[1, 2, 1.0]",
            "x.yaml:7: sampling.guidance: 1.0 appears twice, which would make duplicate cells; remove one",
        ),
        (
            "[false, true]",
            "['maybe not']",
            "x.yaml:6: model.attention: 'maybe not' is not one of true, false, none, bridge, levels; write one of these",
        ),
        ("model.attention:", "attention:", "x.yaml:6: attention: is not an axis; did you mean 'model.attention'?"),
        (
            "grid:",
            "resources: {gpus: two}\ngrid:",
            "x.yaml:5: resources.gpus: 'two' is neither a number nor auto; write",
        ),
        ("grid:", "resources: {gpus: -1}\ngrid:", "x.yaml:5: resources.gpus: -1.0 is not possible; use auto, 0 to 1"),
        ("grid:", "exclude: {model.attention: true}\ngrid:", "is not a list; write [{model.attention: true}]"),
        ("name: trial", "name: 'trial", "; close the quote that is opened on line 1"),
        ("name: trial", "name: trial\n x: 1", "; begin the keys of a mapping in the same column, and put text that"),
        ("[1, 2]", "[1, .nan]", "x.yaml:7: sampling.guidance: nan is not a finite number; give one"),
        ("[1, 2]", "[1, 2", "x.yaml:8: invalid YAML (expected ',' or ']', but got '<stream end>'); correct the syntax"),
        ("model: {preset: nano}", "model: nano", "x.yaml:2: model: 'nano' is not a mapping"),
        (
            "model: {preset: nano}",
            "report: {baseline: model.attention}",
            "report.baseline: 'model.attention' is not a mapping; write for example {model.attention: true}",
        ),
        (
            "name: trial",
            "name: ../trial",
            "x.yaml:1: name: '../trial' cannot be the name of a sweep; use at most 100 letters, digits",
        ),
        (
            "label_dropout: 0.1",
            "label_dropout: 0",
            "2.0 needs the unconditional branch, which is never trained with training.label_dropout 0; set",
        ),
        (
            "label_dropout: 0.1",
            "label_dropout: 1",
            "1.0 needs the conditional branch, which is never trained with training.label_dropout 1; set",
        ),
        (
            "label_dropout: 0.1",
            "label_dropout: 1.5",
            "x.yaml:3: training.label_dropout: 1.5 is not a share; give 0 to 1",
        ),
        (
            "preset: nano",
            "preset: small",
            "'small' halves images 4 times, which the 8x8 images of digits do not allow; use nano, micro, mini or tiny",
        ),
        ("grid:", "seeds: [0, a]\ngrid:", "x.yaml:5: seeds: 'a' is not a whole number"),
        ("grid:", "seeds: [0, 0]\ngrid:", "x.yaml:5: seeds: 0 appears twice; remove one"),
        ("grid:", "seeds: []\ngrid:", "x.yaml:5: seeds: [] is not a list of seeds"),
        (
            "grid:",
            "report: {rows: [model.attention]}\ngrid:",
            "x.yaml:5: report: sampling.guidance is neither in rows nor in columns, so different cells",
        ),
        (
            "grid:",
            "report: {rows: [model.attentoin]}\ngrid:",
            "choose from model.attention, sampling.guidance (did you mean 'model.attention'?)",
        ),
        (
            "grid:",
            "report: {equal: nfe}\ngrid:",
            "x.yaml:5: report.equal: nfe compares numbers of steps; make sampling.steps an axis",
        ),
        (
            "grid:",
            "report: {metrics: [fid]}\ngrid:",
            "x.yaml:5: report.metrics: 'fid' is not a metric; did you mean 'fid_train', 'fid_val' or 'fid_test'?",
        ),
        (
            "grid:",
            "resources: {gpus: 1.5}\ngrid:",
            "x.yaml:5: resources.gpus: 1.5 is not possible; use auto, 0 to 1, or a whole number of GPUs per training",
        ),
        ("grid:", "exclude: [{model.attention: 3}]\ngrid:", "x.yaml:5: exclude: matches no cell"),
        (
            "grid:",
            "exclude: [{model.preset: nano}]\ngrid:",
            "exclude: model.preset is not an axis of this sweep; choose from model.attention, sampling.",
        ),
        ("grid:", "exclude: [{model.attention: [true, false]}]\ngrid:", "exclude: excludes every cell; remove a rule"),
        (
            "grid:",
            "zip: {training.lr: [1.0, 2.0], training.batch_size: [1]}\ngrid:",
            "zip: axes that move together need equally many values, but training.lr has 2, training.batch_size has 1; add",
        ),
        (
            "grid:",
            "zip: {training.lr: [1.0, 2.0, 1], training.batch_size: [1, 1, 1]}\ngrid:",
            "zip: values 1 and 3 of its axes are the same, which would make duplicate cells; remove one of each axis",
        ),
        ("grid:", "zip: {model.attention: [true]}\ngrid:", "model.attention: is in both grid and zip; remove one"),
        ("kimg: 50", "kimg: !!python/object:os.system 1", "training.kimg: '1' cannot be read"),
    ],
)
def test_one_sentence_with_file_line_key_value_and_remedy(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert BASE.count(old) == 1
    message = error_of(tmp_path, BASE.replace(old, new))
    assert expected in message
    assert message.startswith("x.yaml:")


def test_duplicate_cells_across_a_union_are_refused(tmp_path: Path) -> None:
    grid = "grid:\n  - {model.preset: [nano, micro]}\n  - {model.preset: [micro]}\n"
    assert error_of(tmp_path, grid).startswith("x.yaml:3: grid: duplicate cell model.preset='micro'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty; 'edm-sweep init NAME' writes a sweep file to start from"),
        ("- 1\n- 2\n", "is not a sweep file, which consists of 'key: value' lines; 'edm-sweep init NAME'"),
        ("just words", "is not a sweep file, which consists of 'key: value' lines; 'edm-sweep init NAME'"),
        ("a: *b\n", "invalid YAML (found undefined alias 'b')"),
    ],
)
def test_files_that_are_no_sweep_files(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in error_of(tmp_path, text)


def test_a_file_that_is_not_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x01")
    for path, expected in (
        (tmp_path / "x.yaml", "cannot be read as text"),
        (tmp_path, "is a folder"),
        (tmp_path / "no.yaml", "no such file"),
    ):
        with pytest.raises(UserError, match=expected):
            load_sweep(path)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.kimg", "or seeds=[0, 1]; add the field and the value"),
        ("report=null", "or seeds=[0, 1]; add the field and the value"),
        ("kimg=10", "expected section.field=value"),
        ("traning.kimg=10", "did you mean 'training'?"),
        ("training.kimgs=10", "--set training.kimgs=10: training.kimgs: unknown field; did you mean 'kimg'?"),
        ("training.kimg=ten", "--set training.kimg=ten: training.kimg: expected a number, not 'ten'"),
        ("model.attention=true", "model.attention is an axis of the sweep"),
        ("training.kimg=[", "--set training.kimg=[:1: invalid YAML"),
        ("seeds=3", "--set seeds=3: seeds: 3 is not a list of seeds"),
    ],
)
def test_wrong_overrides_name_the_option(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in error_of(tmp_path, BASE, override)


def test_a_report_of_axes_where_there_is_no_grid_says_so(tmp_path: Path) -> None:
    message = error_of(tmp_path, "model: {preset: nano}\nreport: {rows: [sampling.steps]}\n")
    assert message.endswith(
        "'sampling.steps' is not an axis of this sweep; the sweep has no axes; add them under 'grid:'"
    )


def test_a_cost_that_is_given_as_an_axis_is_shown_otherwise(tmp_path: Path) -> None:
    sweep = "model: {preset: nano}\ngrid: {sampling.steps: [2, 3]}\nreport: {rows: [nfe]}\n"
    assert error_of(tmp_path, sweep).endswith(
        "report.rows: 'nfe' is not an axis of this sweep; write report.costs: [nfe] for a column of it, "
        "and report.equal: nfe to compare where it is equal"
    )


@pytest.mark.parametrize(("cost", "axis"), [("nfe", "sampling.steps"), ("kimg", "training.kimg")])
def test_the_axis_of_equal_compute_need_not_be_named(tmp_path: Path, cost: str, axis: str) -> None:
    text = f"grid: {{model.preset: [nano, micro], sampling.sampler: [euler, heun], {axis}: [8, 16]}}\nreport: "
    asked = "{rows: [model.preset], columns: [sampling.sampler]"
    (table,) = load(tmp_path, f"{text}{asked}, equal: {cost}}}\n").report
    assert table.rows == ("model.preset", axis)
    assert f"{axis} is neither in rows nor in columns" in error_of(tmp_path, f"{text}{asked}}}\n")


def test_a_files_name_that_can_be_no_sweeps_name_asks_for_one(tmp_path: Path) -> None:
    file = tmp_path / "my sweep.yaml"
    file.write_text("model: {preset: nano}\n")
    with pytest.raises(
        UserError, match=r"name: is missing, and the file's name 'my sweep' cannot .*; add one, and use"
    ):
        load_sweep(file)
    file.write_text("name: mine\nmodel: {preset: nano}\n")
    assert load_sweep(file).name == "mine"


def test_an_anchor_that_contains_itself_is_refused(tmp_path: Path) -> None:
    assert "contains itself (a YAML alias)" in error_of(tmp_path, "model: &a {preset: *a}\n")


def test_a_folder_of_images_that_cannot_be_used_is_told_where_it_is_named(tmp_path: Path) -> None:
    text = "name: x\nmodel: {preset: nano}\ndata:\n  name: folder\n  resolution: 8\n  path: PLACE\n"
    (tmp_path / "empty").mkdir()
    for place, expected in (("absent", "no such folder"), ("empty", "holds no images")):
        message = error_of(tmp_path, text.replace("PLACE", str(tmp_path / place)))
        assert message.startswith(f"x.yaml:6: data.path: {place}: {expected}")
    for i in range(20):
        (tmp_path / "empty" / f"{i}.png").symlink_to("nowhere")
    message = error_of(tmp_path, text.replace("PLACE", str(tmp_path / "empty")))
    assert message.startswith("x.yaml:6: data.path: empty")


@pytest.mark.parametrize(
    "section",
    [
        "data: {name: folder, resolution: 8, path: my scans}",
        "model: {from: my scans}",
        "sampling: {guidance: 2, guide: {from: my scans}}",
        "evaluation: {statistics: my scans}",
    ],
)
def test_a_path_that_exists_beside_the_sweep_file_alone_is_pointed_out(tmp_path: Path, section: str) -> None:
    text = f"name: x\n{section}\n"
    assert "sweep file" not in error_of(tmp_path, text)
    (tmp_path / "my scans").mkdir()
    assert error_of(tmp_path, text).endswith(
        "; or, as paths begin in the current folder, not in that of the sweep file, write my scans"
    )


def test_a_folder_as_an_axis_is_told_by_its_value(tmp_path: Path) -> None:
    text = f"data: {{name: folder, resolution: 8, path: x}}\ngrid:\n  data.path:\n    - {tmp_path}/absent\n"
    assert error_of(tmp_path, text).startswith("x.yaml:4: data.path: absent: no such folder")
