"""The house: where things are, and which way imports point. Each failure names the offender and the rule in a line."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests import ROOT

PACKAGES = ("edm", "experiments", "reports")
SHARED = "reports.metrics"  # how a metric is shown: the one module of reports/ that every room may import
# rooms of experiments/, each of which imports only those on floors before its own
FLOORS = (
    ("store",),
    ("sweep",),
    ("trials", "tracking"),
    ("runner",),
    ("inspection",),
    ("demo",),
    ("cli",),
)  # each imports those before
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MOST_LINES, MOST_LINES_OF_A_FUNCTION, LONGEST_NAME_OF_A_TEST = 400, 40, 70
ONLY_IN = {  # libraries, and the folders or files that may import them
    "ray": ("experiments/runner/",),
    "mlflow": ("experiments/tracking/",),
    "sqlalchemy": ("experiments/tracking/",),
    "typer": ("experiments/cli/",),
    "gradio": ("experiments/demo/page.py",),
    "rich": ("experiments/cli/", "reports/grid.py", "reports/terminal.py"),
    "matplotlib": ("reports/plots.py",),
    "pandas": ("experiments/tracking/", "experiments/__init__.py", "reports/"),
    "diffusers": ("edm/networks/diffusers.py",),
    "pydantic": ("experiments/sweep/extensions.py",),
    "pydantic_core": ("experiments/sweep/",),
    "torch": (
        "edm/",
        "experiments/trials/",
        "experiments/demo/",
        "experiments/store/checksummed.py",
        "experiments/inspection/doctor.py",
    ),
}
SAYING_AGO = "experiments/cli/views/status.py"  # it compares clocks of several machines
PRINTING = ("experiments/cli/",)
READING_RESULTS = ("experiments/store/", "experiments/runner/tune.py")  # `result` is what Tune calls a trial's report


@cache
def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    """All syntax of the packages, each node with its file."""
    return ((path, node) for path in modules().values() for node in ast.walk(tree(path)))


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def imports(path: Path) -> frozenset[str]:
    """What a file imports, anywhere in it, as dotted names: of ours the modules, of others what is written there."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{place(path)}: imports relatively; write the whole name"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (submodules & modules().keys()) or {node.module}
    return frozenset(found)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "experiments" and len(parts) > 1 and parts[1] in FLOOR_OF else None


def may_import(importer: str, imported: str) -> bool:
    """Whether the order of packages and rooms lets one module import another of ours."""
    packages = importer.split(".")[0], imported.split(".")[0]
    if packages[0] != packages[1]:
        if packages[0] == "experiments" and packages[1] == "reports":
            return room_of(importer) == "cli" or imported == SHARED
        return packages == ("experiments", "edm")
    own, other = room_of(importer), room_of(imported)
    if other is None or own == other or importer == "experiments":
        return True
    return own is not None and FLOOR_OF[other] < FLOOR_OF[own]


def test_imports_point_down() -> None:
    for module, path in modules().items():
        for imported in imports(path):
            if imported.split(".")[0] in PACKAGES:
                rule = "packages and rooms import only those below them, see FLOORS"
                assert may_import(module, imported), f"{module} imports {imported}: {rule}"


def circles() -> Iterator[list[str]]:
    """Sets of modules that import each other, function-level imports included (Tarjan)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        index[module] = lowest[module] = len(index)
        path.append(module)
        for other in imports(modules()[module]) & modules().keys():
            if other not in index:
                yield from visit(other)
            if other in path:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == index[module]:
            circle = path[path.index(module) :]
            del path[path.index(module) :]
            if len(circle) > 1:
                yield circle

    for module in modules():
        if module not in index:
            yield from visit(module)


def test_no_module_takes_part_in_an_import_circle() -> None:
    for circle in circles():
        pytest.fail(f"{' -> '.join([*circle, circle[0]])}: no import circles, function-level imports included")


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_are_imported_where_they_belong(library: str) -> None:
    for path in modules().values():
        if any(name.split(".")[0] == library for name in imports(path)):
            rule = f"{library} is imported only in {', '.join(ONLY_IN[library])}"
            assert place(path).startswith(ONLY_IN[library]), f"{place(path)} imports {library}: {rule}"


def test_only_the_command_line_prints() -> None:
    for path, node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            rule = f"only {', '.join(PRINTING)} prints"
            assert place(path).startswith(PRINTING), f"{place(path)}:{node.lineno} calls print: {rule}"


def test_processes_start_with_a_copy_of_the_environment() -> None:
    rule = "starts a process without env=inherited() (experiments/environment.py says why)"
    for path, node in nodes():
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        function = ast.unparse(node.func)
        if function in ("subprocess.run", "subprocess.Popen", "subprocess.check_output", "subprocess.check_call"):
            given = any(keyword.arg == "env" for keyword in node.keywords)
            assert given, f"{place(path)}:{node.lineno} {rule}"
        assert function not in ("os.execv", "os.execvp", "os.execl", "os.system"), f"{place(path)}:{node.lineno} {rule}"


def reads_a_result_as_a_dictionary(node: ast.AST) -> bool:
    """Whether a node is `result["..."]` or `result.get("...")`, also of `results`."""
    if isinstance(node, ast.Subscript):
        value, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        value, key = node.func.value, node.args[0]
    else:
        return False
    is_text = isinstance(key, ast.Constant) and isinstance(key.value, str)
    return is_text and isinstance(value, ast.Name) and value.id in ("result", "results")


def test_results_are_read_as_values() -> None:
    rule = "a result is a class of experiments/store/results.py, whose fields are read"
    for path, node in nodes():
        if not place(path).startswith(READING_RESULTS) and reads_a_result_as_a_dictionary(node):
            pytest.fail(f"{place(path)}:{getattr(node, 'lineno', 0)} reads a key of a result: {rule}")


def test_files_and_functions_are_short() -> None:
    for path in modules().values():
        lines = len(path.read_text().splitlines())
        assert lines <= MOST_LINES, f"{place(path)} has {lines} lines: no file has more than {MOST_LINES}"
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            rule = f"no function has more than {MOST_LINES_OF_A_FUNCTION}; name a command's options above it"
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{place(path)}:{node.name} has {lines} lines: {rule}"


@pytest.mark.parametrize("room", FLOOR_OF)
def test_every_room_says_in_a_sentence_what_it_holds(room: str) -> None:
    path = ROOT / "experiments" / room / "__init__.py"
    (sentence,) = tree(path).body
    text = ast.get_docstring(tree(path)) or ""
    assert isinstance(sentence, ast.Expr) and text.endswith("."), f"{place(path)}: holds one sentence and nothing else"


def test_every_module_says_what_it_is_for() -> None:
    for path in modules().values():
        assert ast.get_docstring(tree(path)), f"{place(path)}: has no docstring"


def test_no_class_name_means_two_things() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in modules().values():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(place(path))
    for name, places in found.items():
        assert len(places) == 1, f"{name} is a class of {' and of '.join(places)}: a class name means one thing"


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_packages_and_rooms(package: str) -> None:
    folders = [path.parent for path in (ROOT / package).rglob("__init__.py")]
    tests = [path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests" / package).rglob("test_*.py")]
    assert tests, f"tests/{package}: has no tests"
    for folder in tests:
        assert ROOT / folder in folders, f"tests/{folder}: mirrors no folder of {package}/"


def test_names_of_tests_are_short() -> None:
    rule = f"names of tests have at most {LONGEST_NAME_OF_A_TEST} characters"
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE):
            assert len(name) <= LONGEST_NAME_OF_A_TEST, f"{place(path)} {name}: {rule}"


def test_commits_and_ci_run_the_same_checks() -> None:
    check = r"uv run (ruff \w+|pyright|mkdocs build --strict)"
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [re.search(check, hook["entry"]) for hook in repository["hooks"]]
    in_ci = re.findall(check, (ROOT / ".ci" / "run").read_text())
    assert sorted(hook[1] if hook else "" for hook in hooks) == sorted(in_ci), "one of them lacks a check"


def test_no_duration_is_measured_with_a_clock_that_jumps() -> None:
    for path, node in nodes():
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Sub)
            and place(path) != "experiments/cli/views/status.py"
        ):
            taken = {ast.unparse(side) for side in (node.left, node.right)}
            assert "time.time()" not in taken, f"{place(path)}:{node.lineno} subtracts a time; take time.monotonic()"
