"""The whole command line: its commands in groups, whose help is plain text, and how Ctrl-C ends them."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from experiments.cli.output import INTERRUPTED
from experiments.cli.quick_values import without_checks

OTHERS = "Commands"  # the title of those that are in no group


class GroupedCommands(TyperGroup):
    """Lists commands under the titles of their groups without rich, whose import takes longer than all else of help."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return its own parameters, --help included, whose plain values typer does not check."""
        return without_checks([*super().get_params(ctx)])

    def invoke(self, ctx: typer.Context) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the command that was given, and say so where it is interrupted: typer ends then without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            from experiments.cli.interruption import tell_of  # of which commands that nobody interrupts have no need

            tell_of(interrupt)
            raise typer.Exit(INTERRUPTED) from None

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write the name and the first paragraph of the help of each command."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                title = getattr(command, "rich_help_panel", None)
                text = (command.help or "").split("\n\n")[0]
                groups.setdefault(title if isinstance(title, str) else OTHERS, []).append((name, text))
        width = max((len(name) for rows in groups.values() for name, _ in rows), default=0)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])
