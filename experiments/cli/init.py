"""The command init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import AsJson
from experiments.cli.output import command_here, console_for, print_json, say
from experiments.errors import UserError
from experiments.names import NAME_RULE, is_name

IDEAS = "ideas.py"  # the file of extensions that --extension writes


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new sweep.")],
    data: Annotated[
        str, typer.Option("--data", help="Data set: digits, fashion_mnist, cifar10, celeba or folder.")
    ] = "digits",
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder to write the file to; by default sweeps/ if it exists, else the current folder."),
    ] = None,
    extension: Annotated[
        bool,
        typer.Option("--extension", help=f"Also write {IDEAS}, with a sampler of your own that the sweep compares."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a sweep file with comments, to start from. It can be run as it is."""
    path = start_sweep(name, data, folder, extension)
    ideas = path.with_name(IDEAS) if extension else None
    if as_json:
        print_json({"sweep": str(path), **({"extension": str(ideas)} if ideas else {})})
        return
    console = console_for(as_json)
    say(
        console,
        f"Wrote {path}{f' and {ideas}' if ideas else ''}. To see what it would do: {command_here('plan', str(path))}",
    )


def start_sweep(name: str, data: str, folder: Path | None = None, extension: bool = False) -> Path:
    """Write a new sweep file and return its path; raises UserError where it exists or cannot be written.

    folder: where to write it, by default sweeps/ if that exists, else the current folder. extension: whether to write a
    file of extensions beside it.
    """
    from experiments.sweep.template import extension_template, sweep_template, template_data

    stem = name.removesuffix(".yaml")
    if not is_name(stem):
        raise UserError(f"{name}: cannot be the name of a sweep; {NAME_RULE}")
    place = folder or (Path("sweeps") if Path("sweeps").is_dir() else Path())
    path = place / f"{stem}.yaml"
    texts = {path: sweep_template(stem, path, template_data(data), IDEAS if extension else None)}
    if extension:
        texts[place / IDEAS] = extension_template(path)
    for each in texts:
        if each.exists():
            raise UserError(f"{each}: already exists; choose another name or --folder, or edit that file")
    for each, text in texts.items():
        _write(each, text)
    return path


def _write(path: Path, text: str) -> None:
    from experiments.store.files import replacing

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another folder with --folder") from None
