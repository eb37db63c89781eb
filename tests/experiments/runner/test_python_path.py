"""Workers start wherever Python is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.commandline import environment, run

PROGRAM = """
import sys
from pathlib import Path
from experiments.runner.cluster import connected
from experiments.store.store import Store

with connected(Store(Path("store")).create()):
    import ray

    own = {"env_vars": {"ANY": "1"}}  # as Tune's trials have: such workers are started through a shell
    print(ray.get(ray.remote(lambda: sys.executable).options(runtime_env=own).remote(), timeout=60))
"""


@pytest.mark.slow
def test_a_virtual_environment_may_be_in_a_folder_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "Größe 'groß'"
    folder.mkdir()
    (folder / "env").symlink_to(sys.prefix)
    python = folder / "env" / "bin" / "python"
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [python, "-c", PROGRAM], cwd=folder, env=variables, capture_output=True, text=True, timeout=200
    )
    assert answer.stdout.strip() == str(python), answer.stderr[-2000:]


@pytest.mark.slow
def test_workers_that_end_as_they_start_end_the_run_with_what_they_said(tmp_path: Path, tiny_file: Path) -> None:
    """As where a library that Python loads at once is broken: ray.init itself would wait for them, for minutes."""
    (tmp_path / "sitecustomize.py").write_text(
        'with open("/proc/self/cmdline") as file:\n'
        '    if "default_worker.py" in file.read():\n'
        '        raise SystemExit("ImportError: libcrypt.so.2: cannot open shared object file")\n'
    )
    ended = run("run", tiny_file, "--store", tmp_path / "store", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stdout + ended.stderr
    assert "end as soon as they start: " in ended.stderr and "ImportError: libcrypt.so.2: cannot open" in ended.stderr
