"""Paths that this process cannot read as letters are refused before Ray starts."""

import os
import sys
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.runner.encodings import require_encodable
from experiments.store.store import Store
from tests.commandline import run

UTF8 = os.fsdecode("stör".encode())


def test_paths_of_any_letters_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["edm-sweep", "run", "größe.yaml"])
    require_encodable(Store(tmp_path / UTF8))


def test_a_path_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"st.r: is no valid UTF-8, which Ray needs; rename it"):
        require_encodable(Store(tmp_path / os.fsdecode("stör".encode("latin-1"))))


def test_an_argument_beyond_the_encoding_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = "größe.yaml".encode().decode("ascii", "surrogateescape")
    monkeypatch.setattr(sys, "argv", ["edm-sweep", "run", ascii_only])
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(UserError, match=r"größe.yaml: Python reads paths as ascii here, .* set PYTHONUTF8=1"):
        require_encodable(store)


def test_a_run_in_a_locale_without_its_letters_says_so_at_once(tiny_file: Path, tmp_path: Path) -> None:
    store = tmp_path / UTF8
    ended = run("run", tiny_file, "--store", store, PYTHONUTF8="0", LC_ALL="C")
    assert ended.returncode == 2 and "set PYTHONUTF8=1" in ended.stderr
    assert "Ray did not start" not in ended.stderr and not list(store.glob("data/*"))
