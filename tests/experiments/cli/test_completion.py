"""What a shell offers: commands, sweep files, cells; in a real bash as well, which cuts words at = and :."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.commandline import EDM_SWEEP, environment
from tests.conftest import TINY

SCALES = TINY.replace("sampling.sampler: [euler, heun]", "sampling.guidance: [1, 2]")


def offers(store: Store, line: str, cwd: Path) -> list[str]:
    """What zsh is told: it hands words over whole."""
    variables = environment() | {
        "_EDM_SWEEP_COMPLETE": "complete_zsh",
        "_TYPER_COMPLETE_ARGS": line,
        "EDM_SWEEP_STORE": str(store.root),
    }
    done = subprocess.run([str(EDM_SWEEP)], env=variables, capture_output=True, text=True, cwd=cwd, timeout=60)
    assert done.returncode == 0, done.stderr
    return [found[1] for line in done.stdout.splitlines() if (found := re.search(r'"([^"]+)"', line))]


def test_commands_sweeps_and_cells_are_offered(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = finished
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").touch()
    (tmp_path / "yours.yaml").touch()
    assert {"status", "cancel", "why", "doctor", "run"} <= set(offers(store, "edm-sweep ", tmp_path))
    assert offers(store, "edm-sweep run ", tmp_path) == ["tiny_digits", "sweeps/", "yours.yaml"]
    assert offers(store, "edm-sweep status sweeps/m", tmp_path) == ["sweeps/mine.yaml"]
    found = offers(store, "edm-sweep logs att", tmp_path)
    assert sorted(found) == ["attention", "attention/euler", "attention/heun"]
    assert set(offers(store, "edm-sweep diff attention/heun no", tmp_path)) == {
        "no-attention",
        "no-attention/euler",
        "no-attention/heun",
    }
    assert "--only" in offers(store, "edm-sweep run tiny_digits --", tmp_path)


def test_a_store_that_is_not_there_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    assert offers(Store(tmp_path / "none"), "edm-sweep why x", tmp_path) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_a_real_bash_completes_names_with_equals_signs(tmp_path: Path) -> None:
    from experiments.tracking.records import record_plan
    from tests.planning import load_sweep, plan_sweep

    (tmp_path / "tiny_digits.yaml").write_text(SCALES)
    record_plan(plan_sweep(load_sweep(tmp_path / "tiny_digits.yaml")), Store(tmp_path / "runs").create())
    variables = environment() | {"PATH": f"{EDM_SWEEP.parent}:{os.environ['PATH']}", "_TYPER_COMPLETE_TEST": "1"}
    shown = subprocess.run(
        [str(EDM_SWEEP), "--show-completion", "bash"],
        env=variables | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    script = tmp_path / "completion.sh"
    script.write_text(shown.stdout)

    def complete(*words: str) -> list[str]:
        """Let bash call the function that the script has registered, with the words as readline cuts them."""
        quoted = " ".join(f"'{word}'" for word in words)
        code = (
            f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
            "_edm_sweep_completion edm-sweep; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", code], env=variables, capture_output=True, text=True, cwd=tmp_path, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if line]

    assert complete("edm-sweep", "why", "attention/gui") == ["attention/guidance=1", "attention/guidance=2"]
    assert complete("edm-sweep", "why", "attention/guidance", "=") == ["1", "2"]
    assert complete("edm-sweep", "why", "attention/guidance", "=", "2") == ["2"]
    assert complete("edm-sweep", "why", "tiny_digits", ":", "no-attention/g") == [
        "no-attention/guidance=1",
        "no-attention/guidance=2",
    ]
    assert complete("edm-sweep", "sta") == ["status"]
