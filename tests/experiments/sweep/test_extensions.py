"""Extensions of a sweep file: their values and options are validated, are axes, and are part of what a result is."""

from pathlib import Path

import pytest

from edm.cost import num_parameters
from edm.networks.build import build_network
from experiments.errors import UserError
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_from_json, plan_to_json
from tests.extending import DAMPED, SWEEP, write_sweep
from tests.planning import load_sweep, plan_sweep


def plan_of(folder: Path, sweep: str = SWEEP, ideas: str = DAMPED) -> Plan:
    return plan_sweep(load_sweep(write_sweep(folder, sweep, ideas)))


def error_of(folder: Path, sweep: str = SWEEP, ideas: str = DAMPED) -> str:
    with pytest.raises(UserError) as caught:
        plan_of(folder, sweep, ideas)
    return str(caught.value).replace(f"{folder}/", "")


def evaluations(plan: Plan) -> dict[str, str]:
    return {plan.cell_name(planned): planned.evaluation.signature for planned in plan.cells}


def with_axis(values: str, option: str = "damping") -> str:
    return SWEEP.replace("damped]\n", f"damped]\n  sampling.sampler_options.{option}: {values}\n")


def test_a_registered_name_is_a_value_and_its_options_are_axes(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, with_axis("[0.5, 1]"))
    assert list(evaluations(plan)) == ["euler", "damped/damping=0.5", "damped/damping=1"]  # euler is one cell
    assert len(plan.trainings) == 1 and len(set(evaluations(plan).values())) == 3
    values = [planned.cell.value("sampling.sampler_options.damping") for planned in plan.cells]
    assert values == [None, 0.5, 1.0]
    parameters = plan.cells[1].cell.parameters()
    assert parameters["sampling.sampler"] == "damped"
    assert parameters["sampling.sampler_options.damping"] == 0.5 and parameters["sampling.sampler_options.order"] == 1


def test_shipped_cells_have_the_signatures_that_they_always_had(tmp_path: Path) -> None:
    plain = SWEEP.replace("extensions: [ideas.py]\n", "").replace("euler, damped", "euler, heun")
    assert evaluations(plan_of(tmp_path))["euler"] == evaluations(plan_of(tmp_path, plain))["euler"]


def test_defaults_written_out_are_the_same_cell(tmp_path: Path) -> None:
    written = SWEEP.replace("steps: 3", "steps: 3, sampler_options: {damping: 0.9, order: 1}")
    assert evaluations(plan_of(tmp_path, written)) == evaluations(plan_of(tmp_path))


def test_a_baseline_may_stand_beside_extensions(tmp_path: Path) -> None:
    sweep = load_sweep(write_sweep(tmp_path, SWEEP + "report: {baseline: {sampling.sampler: damped}}\n"))
    assert sweep.report[0].baseline == {"sampling.sampler": "damped"}


def test_set_changes_an_option(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    changed = plan_sweep(load_sweep(path, ("sampling.sampler_options.damping=0.5",)))
    same = plan_sweep(load_sweep(path, ("sampling.sampler_options.damping=0.9",)))
    assert evaluations(changed)["damped"] != evaluations(plan_of(tmp_path))["damped"]
    assert evaluations(same) == evaluations(plan_of(tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# ", "# "),
        ("def unrelated():\n    return 1", "def unrelated():\n    return 2"),
        ('"""Euler\'s step, a little shorter."""', "# another comment"),
        ("step.here.x + scaled", "(step.here.x) + scaled"),
        ("def scaled(damping):\n    return damping", "def scaled(damping: float) -> float:\n    return damping"),
    ],
)
def test_what_computes_the_same_has_the_same_signature(tmp_path: Path, old: str, new: str) -> None:
    edited = plan_of(tmp_path, ideas="# a comment\n" + DAMPED.replace(old, new))
    assert evaluations(edited) == evaluations(plan_of(tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [("step.here.x + scaled", "step.here.x - scaled"), ("    return damping", "    return damping / 2")],
)
def test_another_computation_changes_only_what_uses_it(tmp_path: Path, old: str, new: str) -> None:
    before, after = plan_of(tmp_path), plan_of(tmp_path, ideas=DAMPED.replace(old, new))
    assert evaluations(before)["euler"] == evaluations(after)["euler"]
    assert evaluations(before)["damped"] != evaluations(after)["damped"]
    assert before.trainings.keys() == after.trainings.keys()


def test_a_file_of_another_name_or_place_is_the_same_extension(tmp_path: Path) -> None:
    before = evaluations(plan_of(tmp_path))
    (tmp_path / "lib").mkdir()
    (tmp_path / "ideas.py").rename(tmp_path / "lib" / "samplers.py")
    (tmp_path / "mine.yaml").write_text(SWEEP.replace("ideas.py", "lib/samplers.py"))
    assert evaluations(plan_sweep(load_sweep(tmp_path / "mine.yaml"))) == before


def test_files_import_each_other_and_installed_modules_are_named(tmp_path: Path) -> None:
    alone = evaluations(plan_of(tmp_path))
    (tmp_path / "helpers.py").write_text("def scaled(damping):\n    return damping\n")
    ideas = DAMPED.replace("def scaled(damping):\n    return damping\n", "").replace(
        "from edm", "from helpers import scaled\n\nfrom edm"
    )
    both = SWEEP.replace("[ideas.py]", "[ideas.py, helpers.py]")
    assert evaluations(plan_of(tmp_path, both, ideas)).keys() == alone.keys()
    assert "ideas.py:3: cannot be imported" in error_of(tmp_path, SWEEP, ideas)
    assert "add helpers.py to extensions" in error_of(tmp_path, SWEEP, ideas)


def test_a_module_that_is_installed_is_given_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "their_samplers.py").write_text(DAMPED)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    plan = plan_of(tmp_path, SWEEP.replace("ideas.py", "their_samplers"))
    assert [e.where for e in plan.extensions.values()] == ["their_samplers.py, damped"]


def test_network_evaluations_are_as_the_sampler_declares(tmp_path: Path) -> None:
    for declared, nfe in (("2", 6), ("lambda sigmas, options: [1.0] * 7", 7)):
        ideas = DAMPED.replace("options=DampedOptions)", f"options=DampedOptions, evaluations={declared})")
        (damped,) = [p.evaluation for p in plan_of(tmp_path, ideas=ideas).cells if p.cell.sampling.sampler != "euler"]
        assert damped.sampling.nfe == nfe


def test_a_recorded_plan_is_read_without_the_files(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, with_axis("[0.5, 1]"))
    content = plan_to_json(plan)
    (tmp_path / "ideas.py").unlink()
    recalled = plan_from_json(content, tmp_path / "record.json")
    assert evaluations(recalled) == evaluations(plan) and recalled.cells == plan.cells


BROKEN = [
    (
        SWEEP,
        DAMPED.replace("return step", "return step +"),
        "mine.yaml:2: extensions: ideas.py:15: is not valid Python",
    ),
    (SWEEP, "import nowhere\n", "ideas.py:1: cannot be imported (ModuleNotFoundError: No module named 'nowhere'); ins"),
    (
        SWEEP,
        "from . import helper\n",
        "; list the folder of both files, with a / at its end, or import helper",
    ),
    (
        SWEEP,
        "x = 1\n\n\ny = 1 / 0\n",
        "ideas.py:4: cannot be imported (ZeroDivisionError: division by zero); correct it",
    ),
    (
        SWEEP,
        DAMPED.replace('"damped"', '"heun"'),
        "ideas.py:12: 'heun' is already a sampler of edm-sweep; register",
    ),
    (SWEEP, DAMPED + DAMPED.replace("damped(", "damped2("), "'damped' is already registered in ideas.py:12; rename"),
    (SWEEP, DAMPED.replace("(frozen=True)", ""), "the options of 'damped' are not a frozen dataclass; use @dataclass"),
    (SWEEP, DAMPED.replace(" = 0.9", ""), "option 'damping' of 'damped' has no default; give it one"),
    (
        SWEEP,
        DAMPED.replace("step, options)", "step)"),
        "ideas.py:12: extend.sampler: damped(step) is called with (step,",
    ),
    (SWEEP, DAMPED.replace(", options=DampedOptions", ""), "name their dataclass in the decorator: options="),
    (
        SWEEP,
        DAMPED.replace("order: int", "order: str"),
        "the options of 'damped' by default: order: expected text, not",
    ),
    (
        SWEEP,
        DAMPED.replace("order: int = 1", "order: list = None"),
        "the options of 'damped': order is declared as list; use a number, a text,",
    ),
    (
        SWEEP,
        DAMPED.replace("order: int = 1", "order: set = frozenset()"),
        "option 'order' of 'damped' is frozenset by d",
    ),
    (
        SWEEP,
        DAMPED.replace("order: int", "order: 'Order'"),
        "the options of 'damped' have a type that a sweep file cannot give; use",
    ),
    (SWEEP, "import sys\n\nsys.exit('no')\n", "ideas.py:3: cannot be imported (SystemExit: no); correct it"),
    (SWEEP, "def damped(step):\n    return step.here.x\n", "ideas.py registers nothing; put a decorator such as @ext"),
    (SWEEP, DAMPED.replace("@extend.sampler", "@extend.sampling"), "(AttributeError: module 'edm.extend' has no attri"),
    (
        SWEEP,
        DAMPED.replace("@extend.sampler", "@extend.weight"),
        "attention, metric, features, dataset (did you mean 'w",
    ),
    (
        SWEEP,
        DAMPED.replace("options=", "option="),
        "; choose from options, loop, history, evaluations, adds_noise (did you mean 'options'?)",
    ),
    (
        SWEEP.replace("ideas.py", "absent.py"),
        DAMPED,
        "mine.yaml:2: extensions: 'absent.py': there is no file absent.py",
    ),
    (
        SWEEP.replace("[ideas.py]", "[mine.yaml/]"),
        DAMPED,
        "'mine.yaml/' is not a Python file; give a file that ends in",
    ),
    (SWEEP.replace("ideas.py", "ideas"), DAMPED, "extensions: 'ideas' is neither a file that ends in .py nor an inst"),
    (SWEEP.replace("[ideas.py]", "ideas.py"), DAMPED, "extensions: 'ideas.py' is not a list of files; write for examp"),
    (
        SWEEP.replace("[ideas.py]", "[ideas.py, ideas.py]"),
        DAMPED,
        "'ideas' is listed twice, or two files have that nam",
    ),
    (SWEEP.replace("damped]", "dumped]"), DAMPED, "mine.yaml:8: sampling.sampler: 'dumped' is not one of euler, heun"),
    (SWEEP.replace("damped]", "dumped]"), DAMPED, "did you mean 'damped'?"),
    (SWEEP.replace("damped]", "{a: 1}]"), DAMPED, "mine.yaml:8: sampling.sampler: {a: 1} is not a name; write sampl"),
    (with_axis("[1, many]"), DAMPED, "mine.yaml:9: sampling.sampler_options.damping: expected a number, not 'many'"),
    (with_axis("[0.5]", "dampin"), DAMPED, "mine.yaml:9: sampling.sampler_options.dampin: unknown option; choose from"),
    (with_axis("[0.5]", "dampin"), DAMPED, "did you mean 'damping'?"),
    (
        with_axis("[0.5]").replace("euler, damped", "euler"),
        DAMPED,
        "sampling.sampler_options.damping: no cell has a va",
    ),
    (
        SWEEP.replace("steps: 3", "steps: 3, sampler_options: {order: 1.5}"),
        DAMPED,
        "mine.yaml:5: sampling.sampler_options.order: expected a whole number, not 1.5",
    ),
    (
        SWEEP.replace("steps: 3", "steps: 3, damping: 1"),
        DAMPED,
        "it is an option of 'damped': write sampler_options: {",
    ),
    (SWEEP.replace("steps: 3", "steps: 3, sampler_options: 7"), DAMPED, "sampling.sampler_options: 7 is not a mapping"),
    (SWEEP.replace("extensions: [ideas.py]\n", ""), DAMPED, "sampling.sampler: 'damped' is not one of euler, heun"),
    (
        SWEEP,
        DAMPED.replace("options=DampedOptions)", "options=DampedOptions, evaluations=sorted)"),
        "extend.sampler: sorted(iterable, key, reverse) is called with (sigmas, options); change its arguments",
    ),
    (
        SWEEP,
        DAMPED.replace("options=DampedOptions)", "options=DampedOptions, evaluations=lambda sigmas, options: 1)"),
        "TypeError: evaluations= returns int, not a list of the noise level of each call",
    ),
]


@pytest.mark.parametrize(("sweep", "ideas", "expected"), BROKEN, ids=range(len(BROKEN)))
def test_a_mistake_gets_one_sentence(tmp_path: Path, sweep: str, ideas: str, expected: str) -> None:
    message = error_of(tmp_path, sweep, ideas)
    assert expected in message and "\n" not in message


def test_options_check_their_own_values(tmp_path: Path) -> None:
    check = "    def __post_init__(self):\n        if self.order > 2: raise ValueError('order is above 2; give less')\n"
    message = error_of(
        tmp_path, with_axis("[1, 3]", "order"), DAMPED.replace("order: int = 1\n", f"order: int = 1\n\n{check}")
    )
    assert "sampling.sampler_options: order is above 2; give less" in message


def test_loading_leaves_no_module_behind(tmp_path: Path) -> None:
    import sys

    plan_of(tmp_path)
    assert "ideas" not in sys.modules


KTH = """\
from dataclasses import dataclass

from edm import extend


@dataclass(frozen=True)
class KthOptions:
    k: int = 1


@extend.metric("kth", options=KthOptions)
def kth(drawn, real, options):
    return options.k
"""


def with_metric(options: str) -> str:
    return SWEEP.replace("features: classifier}", f"features: classifier, metrics: [kth]{options}}}").replace(
        ", damped", ""
    )


def scores(plan: Plan) -> set[str]:
    return {score for task in plan.evaluations.values() for score in task.scores if "kth" in score}


def test_options_of_a_metric_decide_its_scores_alone(tmp_path: Path) -> None:
    plain = plan_of(tmp_path, with_metric(""), KTH)
    same = plan_of(tmp_path, with_metric(", metrics_options: {kth: {k: 1}}"), KTH)
    other = plan_of(tmp_path, with_metric(", metrics_options: {kth: {k: 2}}"), KTH)
    assert scores(plain) == scores(same) and not scores(plain) & scores(other)
    assert plain.evaluations.keys() == other.evaluations.keys()
    assert other.cells[0].cell.parameters()["evaluation.metrics_options.kth.k"] == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("{kth: {j: 1}}", "mine.yaml:6: evaluation.metrics_options.kth.j: unknown option; choose from k"),
        ("{kth: {k: many}}", "evaluation.metrics_options.kth.k: expected a whole number, not 'many'"),
        ("{nth: {k: 1}}", "mine.yaml:6: evaluation.metrics_options.nth: unknown option; choose from kth"),
        ("{kth: 3}", "evaluation.metrics_options.kth: 3 is not a mapping; write for example {my_metric: {my_option:"),
        ("3", "evaluation.metrics_options: 3 is not a mapping; write for example"),
    ],
)
def test_a_wrong_option_of_a_metric_gets_a_sentence(tmp_path: Path, options: str, expected: str) -> None:
    assert expected in error_of(tmp_path, with_metric(f", metrics_options: {options}"), KTH)


def test_options_of_a_metric_are_no_axes(tmp_path: Path) -> None:
    sweep = with_metric("") + "zip: {evaluation.metrics_options.kth.k: [1, 2]}\n"
    assert "evaluation.metrics_options.kth.k: cannot be an axis; register the fun" in error_of(tmp_path, sweep, KTH)


BLOCKS = """\
from torch import nn

from edm import extend


class Norm(nn.Module):
    def __init__(self, channels, cond_channels):
        super().__init__()
        self.scale = nn.Linear(cond_channels, channels)

    def forward(self, x, cond):
        return x * (1 + self.scale(cond)[:, :, None, None])


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.mix = nn.Linear(channels, channels * heads)

    def forward(self, x, cond):
        return x * self.mix(x.mean(dim=(2, 3))).mean()


@extend.norm("scaled")
def scaled(channels, cond_channels):
    return Norm(channels, cond_channels)


@extend.attention("mixed")
def mixed(channels, heads, cond_channels):
    return Attention(channels, heads)
"""


@pytest.mark.parametrize("blocks", ["norm: scaled", "attention_block: mixed", "norm: scaled, attention_block: mixed"])
@pytest.mark.parametrize("other", ["", ", resample: residual", ", preset: micro, depths: [1, 2, 1], heads: [0, 2, 2]"])
def test_a_plan_counts_the_parameters_of_own_blocks(tmp_path: Path, blocks: str, other: str) -> None:
    model = f"model: {{attention: true, channels: 8, {blocks}{other}}}\n"
    sweep = SWEEP.replace("model:      {preset: nano, channels: 8}\n", model).replace(", damped", "")
    (training,) = plan_of(tmp_path, sweep, BLOCKS).trainings.values()
    assert num_parameters(training.network) == sum(p.numel() for p in build_network(training.network).parameters())


def test_a_guide_of_another_size_is_counted_as_well(tmp_path: Path) -> None:
    sweep = SWEEP.replace("steps: 3", "steps: 3, guidance: 2, guide: {preset: micro, channels: 4}")
    sweep = sweep.replace("channels: 8}", "channels: 8, norm: scaled}").replace(", damped", "")
    trainings = plan_of(tmp_path, sweep, BLOCKS).trainings.values()
    assert len(trainings) == 2
    for training in trainings:
        built = build_network(training.network)
        assert num_parameters(training.network) == sum(p.numel() for p in built.parameters())


PACKAGE = {
    "__init__.py": "from . import steps\n",
    "steps.py": DAMPED.replace("scaled(options", "factors.scaled(options").replace(
        "from edm import extend\n", "from edm import extend\n\nfrom . import factors\n"
    ),
    "factors.py": "from . import steps\nfrom .deep.powers import power\n\nFACTOR = 1.0\n\n\n"
    "def scaled(damping):\n    return FACTOR * power(damping)\n",
    "deep/__init__.py": "",
    "deep/powers.py": "def power(value):\n    return value\n",
    "script.py": "raise SystemExit\n",
    "not python.py": "?",
}


def plan_of_package(folder: Path, entry: str = "ideas/", **files: str) -> Plan:
    """Plan the sweep with a package of extensions; files: by their names without .py, in place of those of PACKAGE."""
    package = folder / entry
    for path, text in {**PACKAGE, **{f"{name}.py": text for name, text in files.items()}}.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    (folder / "mine.yaml").write_text(SWEEP.replace("ideas.py", entry))
    return plan_sweep(load_sweep(folder / "mine.yaml"))


def test_a_package_is_loaded_whole_and_only_what_it_imports_counts(tmp_path: Path) -> None:
    plan = plan_of_package(tmp_path / "a")
    modules = [file.module for file in plan.sweep.extensions]
    assert modules == ["ideas", "ideas.deep", "ideas.deep.powers", "ideas.factors", "ideas.steps"]
    moved = plan_of_package(tmp_path / "b", "other/name/", script="import nothing\n")
    assert evaluations(moved) == evaluations(plan)
    factors = PACKAGE["factors.py"].replace("1.0", "0.5")
    assert evaluations(plan_of_package(tmp_path / "a", factors=factors))["damped"] != evaluations(plan)["damped"]
    (extension,) = plan.extensions.values()
    assert extension.where == "ideas/steps.py, damped"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"__init__": ""}, "ideas/__init__.py registers nothing; import in it the files that do"),
        ({"__init__": "from . import nothing\n"}, "ideas/__init__.py:1: cannot be imported (ImportError"),
        ({"__init__": "from .none import x\n"}, "No module named 'ideas.none'); correct it, or create __init__.py"),
        ({"__init__": "from . import steps, broken\n", "broken": "(\n"}, "ideas/broken.py:1: is not valid Python"),
    ],
)
def test_mistakes_in_a_package(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_of_package(tmp_path, **files)
    assert expected in str(caught.value)


def test_a_folder_without_init_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "ideas").mkdir()
    sweep = SWEEP.replace("ideas.py", "ideas/")
    assert "'ideas/' has no file __init__.py; create one that imports" in error_of(tmp_path, sweep)
    (tmp_path / "more").mkdir()
    assert "did you mean more/?" in error_of(tmp_path, SWEEP.replace("ideas.py", "more"))
    assert "there is no file" in error_of(tmp_path, SWEEP.replace("ideas.py", "nothing/"))


PLAIN_NETWORK = """\
from torch import nn

from edm import extend


class Plain(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, c_noise, label, augment_labels):
        return self.layer(x)


@extend.network("plain")
def plain(image_channels, resolution, num_classes):
    return Plain(image_channels)
"""


def test_fields_of_the_u_net_mean_nothing_to_a_network_of_ones_own(tmp_path: Path) -> None:
    own = "{model.architecture: [plain], model.preset: [nano, micro], model.attention: [true]}"
    sweep = SWEEP.replace("{preset: nano, channels: 8}", "{}").replace("euler, damped", "euler").partition("grid:")[0]
    plan = plan_of(
        tmp_path, f"{sweep}grid: [{own}, {{model.preset: [nano], model.attention: [false]}}]\n", PLAIN_NETWORK
    )
    assert list(evaluations(plan)) == ["plain", "study/nano/no-attention"]
    own, unet = (planned.cell.parameters() for planned in plan.cells)
    assert (own["model.architecture"], own["model.preset"], own["model.attention"]) == ("plain", None, None)
    assert (unet["model.architecture"], unet["model.preset"], unet["model.attention"]) == ("study", "nano", False)
    assert plan_from_json(plan_to_json(plan), tmp_path).cells == plan.cells


@pytest.mark.parametrize("guide", ["preset: nano", "channels: 32"])
def test_a_guide_of_an_own_network_has_no_preset_and_no_channels(tmp_path: Path, guide: str) -> None:
    sweep = SWEEP.replace("{preset: nano, channels: 8}", "{architecture: plain}").replace("euler, damped", "euler")
    sweep = sweep.replace("steps: 3", "steps: 3, guidance: 2, guide: {GUIDE}")
    assert "a guide of plain differs in kimg or ema" in error_of(tmp_path, sweep.replace("GUIDE", guide), PLAIN_NETWORK)
    assert len(plan_of(tmp_path, sweep.replace("GUIDE", "kimg: 0.32"), PLAIN_NETWORK).trainings) == 2
