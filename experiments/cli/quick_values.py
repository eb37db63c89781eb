"""Values of the command line: typer's own checks import pydantic and build a validator for each parameter."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from experiments.cli.command_help import PlainHelp
from experiments.wording import did_you_mean

# fields of a path's option that ask typer for more than to make it a Path; with what they are by default
PLAIN_PATH = {"exists": False, "writable": False, "resolve_path": False, "path_type": None}


class QuickValue:
    """Takes the place of typer's check of a parameter: passes plain values on, and any other to that check."""

    def __init__(self, parameter: Any) -> None:
        described = parameter.type_descriptor
        self.annotation, self.info = described.annotation, described.parameter_info
        self.is_plain = self.info.parser is None
        self.is_list = parameter.multiple or parameter.nargs == -1
        self.choices = get_args(self.annotation) if get_origin(self.annotation) is Literal else ()

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as the command takes it; raises what typer raises where it is wrong."""
        if value is None:
            return () if self.is_list else None
        if self.choices and isinstance(value, str):
            return self._chosen(value, param, ctx)
        if self.is_plain and self.annotation is Path:
            if isinstance(value, Path) or self._is_plain_path(value):
                return Path(value)
        elif self.is_plain and (self._is_of_its_type(value) or self._is_list_of_text(value)):
            return list(value) if self.is_list else value
        param._runtime_param = None  # so that typer makes its own
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)

    def _chosen(self, value: str, param: Any, ctx: Any) -> str:
        if value in self.choices:
            return value
        known = f"{value!r} is not one of {', '.join(self.choices)}"
        sentence = "; ".join(filter(None, (known, did_you_mean(value, self.choices))))
        raise typer.BadParameter(sentence, ctx=ctx, param=param)

    def _is_plain_path(self, value: Any) -> bool:
        unchecked = all(getattr(self.info, name) == plain for name, plain in PLAIN_PATH.items())
        readable = isinstance(value, str) and (os.access(value, os.R_OK) or not os.access(value, os.F_OK))
        return unchecked and readable

    def _is_of_its_type(self, value: Any) -> bool:
        least, most = self.info.min, self.info.max
        is_own = type(value) is self.annotation
        return is_own and (least is None or value >= least) and (most is None or value <= most)

    def _is_list_of_text(self, value: Any) -> bool:
        is_list = self.annotation == list[str] and isinstance(value, list | tuple)
        return is_list and all(isinstance(entry, str) for entry in value)


def without_checks(parameters: list[Any]) -> list[Any]:
    """Let plain values of parameters skip typer's checks; those of a version without such checks stay as they are."""
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", "absent") is None:
            parameter._runtime_param = QuickValue(parameter)
    return parameters


class QuickCommand(PlainHelp):
    """A command whose plain values typer does not check."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return its parameters, --help included."""
        return without_checks([*super().get_params(ctx)])
