"""The command line: help, exit codes, one sentence for a mistake, JSON for scripts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from experiments.cli.main import app
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from tests import ROOT
from tests.commandline import invoke, run

DIGITS = ROOT / "sweeps" / "digits.yaml"


def test_help_lists_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("plan", "run", "report", "ui", "data"))


OLD_WORDS = (
    "stands on",
    "stands for",
    "told",
    "piece of work",
    "is at it",
    "What is not given",
    "The same",
)


def commands() -> Iterator[tuple[str, Any]]:
    whole: Any = typer.main.get_command(app)
    for name, command in whole.commands.items():
        yield name, command
        yield from getattr(command, "commands", {}).items()


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda part: part if isinstance(part, str) else "")
def test_every_command_and_option_is_explained_in_plain_words(name: str, command: Any) -> None:
    texts = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
    assert all(texts), f"{name}: has a parameter without help"
    assert all(text.endswith(".") for text in texts), f"{name}: help is in whole sentences"
    assert [(word, text) for word in OLD_WORDS for text in texts if word in text] == []


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda part: part if isinstance(part, str) else "")
def test_help_names_arguments_in_the_usual_form(name: str, command: Any) -> None:
    if getattr(command, "commands", None):
        return  # a group, which has none
    lines = command.get_help(command.make_context(name, [], resilient_parsing=True)).splitlines()
    assert re.fullmatch(rf"Usage: {name} \[OPTIONS\]( \[?[A-Z|]+(\.\.\.)?\]?)*", lines[0])
    shown = [line.split("  ")[1] for line in lines if re.match(r"  [A-Z-]\S+  ", line)]
    named = re.findall(r"[A-Z|]+(?:\.\.\.)?", lines[0].partition("[OPTIONS]")[2])
    assert named == [each for each in shown if not each.startswith("-")]
    assert "range>" not in "".join(lines) and "list[" not in "".join(lines)


def test_plan_says_what_would_run_and_starts_nothing(tmp_path: Path) -> None:
    done = run("plan", DIGITS, "--store", tmp_path / "store")
    assert done.returncode == 0
    assert "24 cells from 4 trainings (0 in the store) and 24 evaluations (0 in the store)" in done.stdout
    assert not (tmp_path / "store").exists()


def test_plan_for_scripts(tmp_path: Path) -> None:
    done = run("plan", DIGITS, "--store", tmp_path, "--set", "training.kimg=1", "--json")
    made = json.loads(done.stdout)
    assert done.returncode == 0 and made["left"] == 2 + 4 + 24 and {t["kimg"] for t in made["trainings"]} == {1}


@pytest.mark.parametrize(
    "words",
    [
        *(
            [command, "tiny_digts"]
            for command in ("plan", "run", "report", "status", "sync", "doctor", "cancel", "accept")
        ),
        ["export", "tiny_digts", "x.zip"],
        ["logs", "tiny_digts:heun"],
        ["why", "tiny_digts:heun"],
        ["cancel", "tiny_digts:*"],
        ["sample", "tiny_digts:heun"],
        ["publish", "tiny_digts:heun", "--to", "x"],
        ["demo", "tiny_digts:heun"],
        ["diff", "tiny_digts:heun", "tiny_digts:euler"],
        ["gc", "--forget", "tiny_digts"],
        ["gc", "tiny_digts"],
    ],
    ids=" ".join,
)
def test_a_misspelt_sweep_is_answered_by_what_is_meant(words: list[str], tiny_plan: Plan, tmp_path: Path) -> None:
    record_plan(tiny_plan, Store(tmp_path))
    done = invoke(*words, "--store", tmp_path)
    assert done.returncode == 2 and "did you mean 'tiny_digits'?" in done.stderr


@pytest.mark.parametrize("command", ["plan", "run", "report"])
def test_a_wrong_file_is_one_sentence_and_exit_code_2(command: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("model: {preset: tny}\n")
    done = run(command, path, "--store", tmp_path / "store")
    assert done.returncode == 2 and done.stdout == ""
    expected = "model.preset: 'tny' is not one of nano, micro, mini, tiny, small, big; did you mean 'tiny'?"
    assert done.stderr == f"{path}:1: {expected}\n"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "no.yaml"), "no such file"),
        (("run", DIGITS, "--gpus", "1.5"), "resources.gpus: 1.5 is not possible"),
        (("run", DIGITS, "--gpus", "3"), "resources.gpus: 3 GPUs cannot share training.batch_size 64 evenly"),
        (("run", DIGITS, "--budget", "40"), "--budget 40: has no unit; give 40h for hours"),
        (("run", DIGITS, "--budget", "soon"), "--budget soon: is not a length of time"),
        (("run", DIGITS, "--cpus-per-trial", "0"), "resources.cpus: 0 is not possible"),
        (
            ("run", DIGITS, "--set", "training.kimg=x"),
            "--set training.kimg=x: training.kimg: expected a number, not 'x'",
        ),
        (("run", DIGITS, "--store", "/proc/store"), "the store cannot be written"),
        (("ui", "--store", "/proc/store"), "nothing is recorded there yet; run a sweep first"),
        (("ui", "--port", "99999"), "65535"),
        (("run", DIGITS, "--set", "foo.bar=1"), "as the section, choose from data, model, training, sampling"),
        (("run",), "Missing argument"),
        (
            ("data", "prepare", "cifar"),
            "cifar: no such data set; choose from digits, fashion_mnist, cifar10, celeba, folder",
        ),
        (("data", "prepare", "celeba", "--from", ROOT), "img_align_celeba.zip (1,443,490,838 bytes, md5 00d2"),
        (("rnu", DIGITS), "No such command 'rnu'"),
    ],
)
def test_wrong_options_are_exit_code_2(arguments: tuple, expected: str) -> None:
    done = invoke(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr


def test_more_than_there_is_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = run("run", DIGITS, "--store", tmp_path, "--gpus", "1", "--set", "evaluation.images=10")
    assert done.returncode == 2
    assert "resources.gpus: 1 per trial, but this machine has none; give --gpus 0 to use the CPU" in done.stderr
    assert "starting Ray" not in done.stdout and not (tmp_path / "trainings").exists()


def test_inception_without_weights_is_one_sentence(tmp_path: Path) -> None:
    offline = {"TORCH_HOME": str(tmp_path / "torch"), "https_proxy": "http://127.0.0.1:9", "EDM_SWEEP_WEIGHTS": ""}
    done = run("run", DIGITS, "--store", tmp_path, "--set", "evaluation.features=inception", folder=None, **offline)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pt_inception-2015-12-05-6726825d.pth" in done.stderr and "sha256 6726825d0af5f729" in done.stderr
    assert f"put it at {tmp_path / 'torch' / 'hub' / 'checkpoints'}" in done.stderr
    assert not (tmp_path / "trainings").exists()


def test_a_report_of_nothing_says_that_all_is_missing(tmp_path: Path) -> None:
    done = run("report", DIGITS, "--store", tmp_path, "--json")
    assert done.returncode == 0
    made = json.loads(done.stdout)
    assert {cell["status"] for cell in made["cells"]} == {"missing"} and Path(made["report"]).exists()
    assert f"24 cells, 24 of them missing in {tmp_path}." in done.stderr
