"""What changes the digest of code, and what does not."""

from pathlib import Path

import pytest

from experiments.code import Sources
from experiments.code_modules import BODY
from tests import ROOT

IDEAS = '''\
"""Ideas."""

import math
from functools import partial

from edm import helpers
from edm.helpers import Base
from edm.helpers import scaled as larger

LIMIT = 3


def entry(x: float, order: int = 2) -> float:
    """Return it."""
    total = larger(x)  # a comment
    for step in range(order):
        total += helpers.shift(step) * math.sqrt(LIMIT)
    return Thing().value(total)


class Thing(Base):
    size: int = 4

    def value(self, x: float) -> float:
        return x * self.size * self.base()


def unrelated() -> int:
    return other()


def other() -> int:
    return 1


def by_name(config, which: str):
    rules = {"first": partial(first, 1), "second": second}
    return rules[which](config.levels)


def first(a, b):
    return a + b


def second(b):
    return 2 * b


def dynamic(name):
    return getattr(helpers, name)()
'''
HELPERS = """\
FACTOR = 2


def scaled(x):
    return x * FACTOR


def shift(step):
    return step + 1


class Base:
    def base(self):
        return FACTOR


class Config:
    @property
    def levels(self):
        return shift(3)

    def unused(self):
        return 0
"""


def reach(folder: Path, ideas: str = IDEAS, helpers: str = HELPERS, entry: str = "entry", **options):
    package = folder / "package"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "ideas.py").write_text(ideas)
    (package / "helpers.py").write_text(helpers)
    return Sources({"edm": package}).reach([f"edm.ideas.{entry}"], **options)


def changed(text: str, before: str, after: str) -> str:
    assert text.count(before) >= 1
    return text.replace(before, after)


def test_reach_follows_imports_aliases_modules_and_bases(tmp_path: Path) -> None:
    assert list(reach(tmp_path).definitions) == [
        "edm.ideas.entry",
        "edm.helpers.scaled",
        "edm.helpers.shift",
        "edm.ideas.LIMIT",
        "edm.ideas.Thing",
        "edm.ideas.Thing.value",
        "edm.helpers.FACTOR",
        "edm.helpers.Base",
        "edm.helpers.Base.base",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Ideas."""', '"""Other words."""'),
        ('    """Return it."""\n', ""),
        ("  # a comment", ""),
        ("(x: float, order: int = 2) -> float", "(x, order=2)"),
        ("total = larger(x)", "total: float = (\n        larger(\n            x\n        )\n    )"),
        ("total", "result"),
        ("step", "i"),
        ("return other()", "return other() + 1"),
        ("unrelated", "very_unrelated"),
        ("import math", "import math as mathematics\nimport math"),
        ("math.sqrt", "mathematics.sqrt"),
        ("import scaled as larger", "import scaled"),
        ("from edm import helpers\n", "import edm.helpers as helpers\n"),
        ("LIMIT = 3", "LIMIT: int = 3"),
        ("LIMIT", "MOST"),
        ("Thing", "Object"),
        ("    total = larger(x)", "    pass\n    ...\n    total = larger(x)"),
    ],
)
def test_how_code_is_written_changes_no_digest(before: str, after: str, tmp_path: Path) -> None:
    ideas = changed(IDEAS, before, after)
    ideas = ideas.replace("import math\n", "import math as mathematics\n") if "mathematics.sqrt" in ideas else ideas
    ideas = ideas.replace("larger(", "scaled(") if "import scaled\n" in ideas else ideas
    assert ideas != IDEAS
    assert reach(tmp_path, ideas).digest == reach(tmp_path).digest


@pytest.mark.parametrize(
    ("before", "after", "blamed"),
    [
        ("order: int = 2", "order: int = 3", {"entry"}),
        ("LIMIT = 3", "LIMIT = 4", {"LIMIT"}),
        ("size: int = 4", "size: int = 5", {"Thing"}),
        ("math.sqrt", "math.exp", {"entry"}),
        ("import math\n", "from edm import other as math\n", {"entry"}),
        ("def entry", "@partial\ndef entry", {"entry"}),
        ("x * self.size", "x + self.size", {"Thing.value"}),
        ("class Thing(Base)", "class Thing(object)", {"Thing"}),
    ],
)
def test_what_code_computes_changes_its_digest(before: str, after: str, blamed: set[str], tmp_path: Path) -> None:
    old, new = reach(tmp_path), reach(tmp_path, changed(IDEAS, before, after))
    assert new.digest != old.digest
    differing = {name for name in new.definitions if new.definitions[name] != old.definitions.get(name)}
    assert differing == {f"edm.ideas.{name}" for name in blamed}


@pytest.mark.parametrize(
    ("before", "after"), [("FACTOR = 2", "FACTOR = 2.0"), ("step + 1", "step"), ("return x * FACTOR", "return x")]
)
def test_a_changed_callee_changes_the_digest(before: str, after: str, tmp_path: Path) -> None:
    assert reach(tmp_path, helpers=changed(HELPERS, before, after)).digest != reach(tmp_path).digest


def test_a_renamed_callee_changes_no_digest(tmp_path: Path) -> None:
    renamed = reach(tmp_path, IDEAS.replace("helpers.shift", "helpers.moved"), HELPERS.replace("shift", "moved"))
    assert renamed.digest == reach(tmp_path).digest


def test_a_renamed_file_changes_no_digest(tmp_path: Path) -> None:
    file, moved = tmp_path / "ideas.py", tmp_path / "moved.py"
    for path in (file, moved):
        path.write_text(IDEAS)
    digests = {Sources({path.stem: path}).reach([f"{path.stem}.entry"]).digest for path in (file, moved)}
    assert len(digests) == 1


def test_a_registry_counts_only_with_the_chosen_entries(tmp_path: Path) -> None:
    def digests(ideas: str) -> list[str]:
        registry = "edm.ideas.by_name.rules"
        return [
            reach(tmp_path, ideas, entry="by_name", choices={registry: [key]}).digest for key in ("first", "second")
        ]

    before, after = digests(IDEAS), digests(changed(IDEAS, "2 * b", "3 * b"))
    assert before[0] == after[0] and before[1] != after[1]


def test_methods_of_unknown_objects_are_found_by_name(tmp_path: Path) -> None:
    found = reach(tmp_path, entry="by_name").definitions
    assert "edm.helpers.Config.levels" in found and "edm.helpers.shift" in found
    assert "edm.helpers.Config.unused" not in found


def test_a_computed_name_takes_in_the_whole_module(tmp_path: Path) -> None:
    found = reach(tmp_path, entry="dynamic").definitions
    assert {"edm.helpers.Config.unused", "edm.helpers.FACTOR"} <= set(found)


def test_definitions_that_are_left_out_are_not_followed(tmp_path: Path) -> None:
    found = reach(tmp_path, without=["edm.helpers.scaled", "edm.ideas.Thing", "edm.ideas.Thing.value"]).definitions
    assert set(found) == {"edm.ideas.entry", "edm.helpers.shift", "edm.ideas.LIMIT"}


def test_statements_of_a_module_count_with_its_definitions(tmp_path: Path) -> None:
    helpers = HELPERS + "\nfor number in range(3):\n    FACTORS = number\n"
    found = reach(tmp_path, helpers=helpers)
    assert f"edm.helpers.{BODY}" in found.definitions and found.digest != reach(tmp_path).digest


def test_local_names_hide_those_of_the_module(tmp_path: Path) -> None:
    hidden = IDEAS + "\n\ndef hiding(other, n):\n    first = [second for second in n]\n    return other(), first\n"
    assert set(reach(tmp_path, hidden, entry="hiding").definitions) == {"edm.ideas.hiding"}


def test_relative_and_star_imports_are_followed(tmp_path: Path) -> None:
    relative = IDEAS.replace("from edm import", "from . import").replace("from edm.helpers", "from .helpers")
    assert reach(tmp_path, relative).digest == reach(tmp_path).digest
    starred = "from edm.helpers import *\n\ndef entry(x):\n    return scaled(x)\n"
    assert "edm.helpers.FACTOR" in reach(tmp_path, starred).definitions


def test_an_entry_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="nowhere"):
        reach(tmp_path, entry="nowhere")


def test_drawing_reaches_what_it_is_known_to_use() -> None:
    found = Sources({"edm": ROOT / "edm"}).reach(["edm.generate.generate"], {"edm.samplers.METHODS": ["heun"]})
    assert {"edm.samplers.heun", "edm.precondition.Denoiser.null_label", "edm.noise.philox"} <= set(found.definitions)
    assert "edm.config.sampling.SamplingConfig.sigmas" in found.definitions
    assert not {"edm.samplers.unip", "edm.train.train", "edm.loss.loss_weight"} & set(found.definitions)
