"""What is imported when: answers that a person waits for load nothing heavy, and edm needs torch alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

HEAVY = ("torch", "ray", "mlflow", "pandas", "numpy", "matplotlib", "pyarrow", "pydantic")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_edm_imports_with_torch_numpy_safetensors_and_jaxtyping_alone() -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "edm").rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
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
        f"import sys\nsys.argv = ['edm-sweep', *{arguments}]\nfrom experiments.cli.main import main\n"
        f"try: main()\nexcept SystemExit: pass\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    assert run_python(code).stdout.endswith("HEAVY []\n")


def test_a_runs_driver_loads_no_torch() -> None:
    done = run_python(
        "import sys\nimport experiments.runner.tune, experiments.trials.datasets, experiments.trials.perform\n"
        "print('torch' in sys.modules)"
    )
    assert done.stdout.strip() == "False", done.stderr
