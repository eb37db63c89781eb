"""Output that a terminal cannot show, or that nobody takes any more, ends no command and changes no exit code."""

import os
import subprocess
from pathlib import Path

import pytest

from experiments.store.store import Store
from tests import ROOT
from tests.commandline import EDM_SWEEP, environment

DIGITS = str(ROOT / "sweeps" / "digits.yaml")


def printed(*words: object, stdout: object = subprocess.PIPE, **variables: str) -> subprocess.CompletedProcess[bytes]:
    command, env = [str(EDM_SWEEP), *map(str, words)], environment() | variables
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env, timeout=120)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("encoding", "error", "mark"), [("ascii", "+-", "~"), ("cp1252", "±", "~"), ("utf-8", "±", "≈")]
)
def test_a_table_is_written_in_the_letters_there_are(
    encoding: str, error: str, mark: str, tiny_file: Path, filled: Store
) -> None:
    done = printed("report", tiny_file, "--store", filled.root, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stderr == b""
    rows = [line for line in done.stdout.decode(encoding).splitlines() if line.startswith(("no ", "yes "))]
    assert len(rows) == 4
    assert all(f" {error} " in row for row in rows) and any(row.rstrip().endswith(mark) for row in rows)
    assert "?" not in done.stdout.decode(encoding)


@pytest.mark.parametrize("words", [["--help"], ["plan", DIGITS, "--json"]])
def test_a_reader_that_leaves_is_no_failure(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = printed(*words, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_the_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = printed("plan", DIGITS, stdout=full)
    assert done.returncode == 0
    assert done.stderr.decode() == "standard output: No space left on device; what follows is not shown\n"


@pytest.mark.parametrize(("words", "code"), [(["plan", DIGITS], 0), (["plan", "missing.yaml"], 2)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_change_no_exit_code(words: list[str], code: int, closed: str) -> None:
    command = ["sh", "-c", f'"$0" "$@" {closed}', str(EDM_SWEEP), *words]
    assert subprocess.run(command, capture_output=True, env=environment(), timeout=120).returncode == code
