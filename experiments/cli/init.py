"""The command init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import AsJson
from experiments.cli.output import command_here, console_for, print_json, say
from experiments.errors import UserError
from experiments.names import NAME_RULE, is_name


def init(
    name: Annotated[str, typer.Argument(help="Name of the new sweep.")],
    data: Annotated[
        str, typer.Option("--data", help="Data set: digits, fashion_mnist, cifar10, celeba or folder.")
    ] = "digits",
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder to write the file to; by default sweeps/ if it exists, else the current folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a sweep file with comments, to start from. It can be run as it is."""
    path = start_sweep(name, data, folder)
    if as_json:
        print_json({"sweep": str(path)})
        return
    console = console_for(as_json)
    say(console, f"Wrote {path}. To see what it would do: {command_here('plan', str(path))}")


def start_sweep(name: str, data: str, folder: Path | None = None) -> Path:
    """Write a new sweep file and return its path; raises UserError where it exists or cannot be written.

    folder: where to write it, by default sweeps/ if that exists, else the current folder.
    """
    from experiments.store.files import replacing
    from experiments.sweep.template import sweep_template, template_data

    stem = name.removesuffix(".yaml")
    if not is_name(stem):
        raise UserError(f"{name}: cannot be the name of a sweep; {NAME_RULE}")
    place = folder or (Path("sweeps") if Path("sweeps").is_dir() else Path())
    path = place / f"{stem}.yaml"
    text = sweep_template(stem, path, template_data(data))
    if path.exists():
        raise UserError(f"{path}: already exists; choose another name, or edit that file")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another folder with --folder") from None
    return path
