"""Reads files of extensions: single files, installed modules, and packages, which are folders of files."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.names import PACKAGES

NOT_TO_HIDE = {*PACKAGES, "torch", "numpy", *sys.stdlib_module_names}
INIT = "__init__.py"  # what makes a folder a package


class ExtensionError(Exception):
    """A file of extensions cannot be used: a sentence that says where, why, and what to do."""


@dataclass(frozen=True)
class ExtensionFile:
    """A file of extensions as it was read.

    module: the name that it is imported by. path: what messages call it. is_entry: whether a sweep file lists it, so
    that it is loaded; others are loaded if one that is loaded imports them. kept: where it lies, if that is not `path`.
    """

    module: str
    path: str
    text: str
    is_entry: bool = True
    kept: str = ""

    @property
    def location(self) -> Path:
        """Where it lies."""
        return Path(self.kept or self.path)


def read_extensions(entry: str, folder: Path) -> Iterator[ExtensionFile]:
    """Read a file or a package, by its path relative to `folder`, or an installed module, by its dotted name.

    A path of a package ends in '/'. Raises ExtensionError.
    """
    by_path = entry.endswith(".py") or "/" in entry
    path = folder / entry if by_path else _installed(entry, folder)
    if path.name == INIT or (entry.endswith("/") and not path.is_file()):
        package = path.parent if path.name == INIT else path
        yield from _read_package(entry, package, package.resolve().name if by_path else entry)
    elif path.suffix != ".py":
        raise ExtensionError(f"{entry!r} is not a Python file; give a file that ends in .py")
    else:
        yield _read(entry, path, path.stem if by_path else entry)


def _read_package(entry: str, folder: Path, name: str) -> Iterator[ExtensionFile]:
    """Read all files of a package, whose folder is not its own if it lies beneath another package's."""
    if folder.is_dir() and not (folder / INIT).is_file():
        remedy = f"create one that imports the files that register something, or list such a file: {entry}NAME.py"
        raise ExtensionError(f"{entry!r} has no file {INIT}; {remedy}")
    yield _read(entry, folder / INIT, name)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / INIT).is_file():
            for file in _read_package(entry, path, f"{name}.{path.name}"):
                yield ExtensionFile(file.module, file.path, file.text, is_entry=False)
        elif path.suffix == ".py" and path.name != INIT and path.stem.isidentifier():
            file = _read(entry, path, f"{name}.{path.stem}")
            yield ExtensionFile(file.module, file.path, file.text, is_entry=False)


def _read(entry: str, path: Path, module: str) -> ExtensionFile:
    if not module.replace(".", "_").isidentifier() or module in NOT_TO_HIDE:
        name = path.parent.name if path.name == INIT else path.name
        raise ExtensionError(f"{name!r} cannot be imported under that name, or would hide a module; rename it")
    try:
        return ExtensionFile(module, str(path), path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExtensionError(
            f"{entry!r}: there is no file {path}; correct the path, or, of a sweep that was run, give its name instead"
        ) from None
    except UnicodeDecodeError:
        raise ExtensionError(f"{entry!r}: {path} is not a text file; give a file of Python code") from None
    except OSError as error:
        raise ExtensionError(f"{entry!r} cannot be read ({error.strerror}); give a file of Python code") from None


def _installed(name: str, folder: Path) -> Path:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        beside = f"{name}.py" if (folder / f"{name}.py").is_file() else f"{name.replace('.', '/')}/"
        remedy = f"did you mean {beside}?" if (folder / beside).exists() else "correct it, or install it"
        raise ExtensionError(f"{name!r} is neither a file that ends in .py nor an installed module; {remedy}")
    return Path(spec.origin)


def is_package(module: str, modules: Collection[str]) -> bool:
    """Return whether others of the modules are a module's own."""
    return any(other.startswith(f"{module}.") for other in modules)


def file_in_words(module: str, modules: Collection[str]) -> str:
    """Return what people call the file of one of some modules, such as nets/parts.py, wherever it lies."""
    path = module.replace(".", "/")
    return f"{path}/{INIT}" if is_package(module, modules) else f"{path}.py"
