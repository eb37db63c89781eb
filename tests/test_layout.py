"""The house: which way dependencies point, and what may be imported where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("edm", "experiments", "reports")
MAY_IMPORT = {"edm": {"edm"}, "reports": {"reports"}, "experiments": {"experiments", "edm"}}
COMPOSITION_ROOT = ("experiments/cli.py", "experiments/commands/")
ONLY_IN = {
    "ray": {"experiments/cluster.py", "experiments/tuning.py"},
    "mlflow": {"experiments/tracking.py"},
}
HEAVY = ("torch", "ray", "mlflow", "pandas", "numpy", "plotly")


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_point_one_way(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    allowed = MAY_IMPORT[name.split("/")[0]] | ({"reports"} if name.startswith(COMPOSITION_ROOT) else set())
    assert imported(path) & set(PACKAGES) <= allowed


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_and_mlflow_are_imported_in_few_files(path: Path) -> None:
    for library, files in ONLY_IN.items():
        assert library not in imported(path) or str(path.relative_to(ROOT)) in files


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_edm_imports_with_torch_numpy_safetensors_and_jaxtyping_alone() -> None:
    names = [str(p.relative_to(ROOT).with_suffix("")).replace("/", ".") for p in modules()]
    names = [name.removesuffix(".__init__") for name in names if name.startswith("edm")]
    blocked = ("ray", "mlflow", "pydantic", "pandas", "sklearn", "PIL", "pytorch_fid", "torchvision", "typer", "rich")
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\nimport {', '.join(names)}"
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["plan", "missing.yaml"],
        ["plan", "sweeps/digits.yaml"],
        ["run", "pyproject.toml"],
        ["run", "sweeps/digits.yaml", "--dry-run"],
        ["data", "list"],
        ["status"],
        ["status", "sweeps/digits.yaml"],
        ["why", "nothing"],
        ["logs", "nothing"],
        ["gc"],
    ],
)
def test_help_plan_and_a_wrong_file_import_nothing_heavy(command: list[str], tmp_path: Path) -> None:
    arguments = [*command, "--store", str(tmp_path)] if command != ["--help"] else command
    code = (
        f"import sys\nsys.argv = ['edm-sweep', *{arguments}]\nfrom experiments.cli import main\n"
        f"try: main()\nexcept SystemExit: pass\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    assert run_python(code).stdout.endswith("HEAVY []\n")


def test_a_runs_driver_loads_no_torch() -> None:
    done = run_python("import sys\nimport experiments.tuning, experiments.preparing\nprint('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
