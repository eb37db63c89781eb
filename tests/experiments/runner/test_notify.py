"""--on-finish and --on-failure: real programs, that get JSON, fail, hang or are not there."""

import json
import sys
from pathlib import Path

from experiments.cli.parsing import parse_command
from experiments.runner.notify import call

PYTHON = sys.executable


def writer(path: Path) -> list[str]:
    return [PYTHON, "-c", f"import sys; open({str(path)!r}, 'w').write(sys.stdin.read())"]


def test_a_command_gets_the_summary_on_its_standard_input(tmp_path: Path) -> None:
    assert call(writer(tmp_path / "told.json"), {"done": 3}) is None
    assert json.loads((tmp_path / "told.json").read_text()) == {"done": 3}


def test_no_shell_reads_it(tmp_path: Path) -> None:
    command = parse_command("--on-finish", f"{PYTHON} -c 'import sys; print(sys.argv)' '$HOME; touch {tmp_path}/x' > y")
    assert command[3:] == [f"$HOME; touch {tmp_path}/x", ">", "y"]
    assert call(command, {}) is None and not (tmp_path / "x").exists()


def test_a_command_that_fails_or_hangs_is_reported_and_never_raised(tmp_path: Path) -> None:
    problem = call([PYTHON, "-c", "import sys; sys.exit('no connection')"], {})
    assert problem is not None and problem.endswith("exited with code 1 (no connection)")
    binary = "import sys; sys.stderr.buffer.write(b'caf\\xe9'); sys.exit(2)"  # in another encoding than this process's
    assert (call([PYTHON, "-c", binary], {}) or "").endswith("exited with code 2 (caf\ufffd)")
    assert "did not end within" in (call([PYTHON, "-c", "import time; time.sleep(30)"], {}, patience_s=0.2) or "")
    assert "cannot be run" in (call([str(tmp_path)], {}) or "")
