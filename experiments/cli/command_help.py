"""The help of one command: its arguments by their names alone, as most tools do: CELL, [SWEEP], SWEEP..."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class PlainHelp(TyperCommand):
    """Writes arguments without the braces and types that typer adds, and types of options without "range"."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the words of the usage line after the command's name."""
        arguments = [usage_of(parameter) for parameter in self.get_params(ctx) if _is_argument(parameter)]
        return [*filter(None, [self.options_metavar]), *arguments]

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write the name and the help of each argument and each option."""
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and _is_argument(parameter):
                rows["Arguments"].append((name_of(parameter), record[1]))
            elif record is not None:
                rows["Options"].append((record[0].replace(" range>", ">"), record[1]))
        for title, own in rows.items():
            if own:
                with formatter.section(title):
                    formatter.write_dl(own)


def name_of(argument: Any) -> str:
    """Return the name of an argument as it is shown: SWEEP, or SWEEP... where there may be several."""
    return f"{argument.display_name_raw}{'' if argument.nargs == 1 else '...'}"


def usage_of(argument: Any) -> str:
    """Return an argument as the usage line has it: in brackets if it may be left out."""
    return name_of(argument) if argument.required else f"[{name_of(argument)}]"


def _is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"
