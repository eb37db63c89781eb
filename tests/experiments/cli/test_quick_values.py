"""Plain values of the command line come out as typer's own checks make them; others still meet these checks."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from experiments.cli.command_help import PlainHelp
from experiments.cli.quick_values import QuickCommand
from tests.commandline import invoke


def answers(arguments: list[str], **settings: Any) -> tuple[dict[str, Any] | None, int, str]:
    """What a command is called with, its exit code and its output; settings: of the command."""
    found: dict[str, Any] = {}
    app = typer.Typer(rich_markup_mode=None)

    @app.command(**settings)
    def command(  # pyright: ignore[reportUnusedFunction]
        cell: Annotated[list[str] | None, typer.Argument()] = None,
        name: str = "me",
        only: Annotated[list[str] | None, typer.Option()] = None,
        folder: Path = Path("here"),
        file: Annotated[Path | None, typer.Option(exists=True)] = None,
        count: int = 3,
        few: Annotated[int, typer.Option(max=4)] = 2,
        device: Literal["cpu", "cuda"] | None = None,
        both: tuple[float, float] = (0, 1),
        dry: bool = False,
    ) -> None:
        found.update(locals())
        found.pop("found", None)

    done = CliRunner().invoke(app, arguments)
    return found or None, done.exit_code, done.output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "b", "--name", "you", "--only", "x", "--only", "y", "--folder", "there", "--dry"],
        ["--count", "7", "--few", "1", "--device", "cpu", "--both", "1", "2.5", "--file", __file__],
        ["--count", "many"],
        ["--few", "5"],
        ["--file", "missing"],
        ["--both", "1"],
        ["--help"],
    ],
)
def test_values_and_errors_are_those_of_typer(arguments: list[str]) -> None:
    assert answers(arguments, cls=QuickCommand) == answers(arguments, cls=PlainHelp)


def test_a_wrong_choice_is_answered_by_the_choices_and_the_nearest() -> None:
    answer = invoke("sample", "x", "--sampler", "hun")
    assert answer.returncode == 2
    assert "'--sampler': 'hun' is not one of euler, heun, " in answer.stderr
    assert "; did you mean 'heun'?" in answer.stderr


def test_the_version_is_that_of_the_package() -> None:
    answer = invoke("--version")
    assert (answer.returncode, answer.stdout) == (0, f"edm-sweep {version('edm-sweep')}\n")
