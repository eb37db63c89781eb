"""Loads files of extensions: Python that registers samplers and other things of one's own (edm.extend).

The files are a person's own code, which runs as it is loaded. They see each other by name, and otherwise what is
installed: not other files of their folder, so that they mean the same wherever they are loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import linecache
import re
import sys
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import get_args

from edm import extend
from edm.config import Extension
from edm.registry import Kind, Registration, register, registration_of
from experiments.code import DIGITS, Reach, Sources
from experiments.code_modules import BODY
from experiments.errors import one_line
from experiments.extension_files import INIT, ExtensionError, ExtensionFile, file_in_words, is_package
from experiments.names import PACKAGES
from experiments.scopes import FUNCTIONS
from experiments.wording import did_you_mean

ONLY_PYTHON = (
    "workers load extensions from the store, which keeps their Python files alone: give other files by an absolute path"
)
PRIVATE = "edm_sweep_extensions"  # where loaded modules are kept, apart from all others of their names


@dataclass(frozen=True)
class LoadedExtension:
    """Something that a file registered, and the code that it consists of.

    code: its digest. where: the file and the function. uses: as an Extension has it.
    """

    registration: Registration
    code: str
    where: str
    uses: tuple[str, ...]

    @property
    def place(self) -> str:
        """The file and line, for people."""
        return _line_of(self.registration) or self.where

    @property
    def value(self) -> Extension:
        """The value of a configuration's field that stands for it, without options."""
        return Extension(self.registration.name, self.code, where=self.where, uses=self.uses)


def load_extensions(files: Sequence[ExtensionFile]) -> tuple[list[Registration], tuple[ExtensionFile, ...]]:
    """Run the entries among the files; return what they register, and the files that they have imported, too.

    What they print goes to stderr. Raises ExtensionError.
    """
    with _importable(files) as finder, redirect_stdout(sys.stderr), extend.collecting() as registrations:
        for file in files:
            if file.is_entry:
                _import(file, files)
    return registrations, tuple(file for file in files if file.module in finder.executed)


def identified(files: Sequence[ExtensionFile]) -> tuple[list[LoadedExtension], tuple[ExtensionFile, ...]]:
    """Load the files, and make what they register known to this process by its digest; also those that were imported.

    Raises ExtensionError.
    """
    registrations, imported = load_extensions(files)
    sources = Sources({file.module: file.location for file in imported})
    loaded = [_identified(registration, imported, sources) for registration in registrations]
    for each in loaded:
        register(each.registration, each.code)
    return loaded, imported


def _identified(registration: Registration, files: Sequence[ExtensionFile], sources: Sources) -> LoadedExtension:
    function = registration.function
    module = sys.modules.get(getattr(function, "__module__", ""))
    file = next((file for file in files if file.path == getattr(module, "path_in_messages", None)), None)
    name = getattr(function, "__qualname__", None)
    if file is None or name is None:
        what = f"{registration.kind} {registration.name!r}"
        raise ExtensionError(f"{what} is not a function or a class of a file of extensions; define it in one")
    reach = reach_of(sources, file.module, name)
    content = json.dumps([registration.kind, registration.name, reach.digest])
    code = hashlib.sha256(content.encode()).hexdigest()[:DIGITS]
    _definitions[code] = readable(sources, reach.definitions)
    where = f"{file_in_words(file.module, sources.paths)}, {name}"
    return LoadedExtension(registration, code, where, _used(reach.outside))


_definitions: dict[str, Mapping[str, str]] = {}  # of every extension that was identified, by the digest of its code


def definitions_of(code: str) -> Mapping[str, str] | None:
    """Return what an extension's code consists of, as `readable` has it; None where this process has not read it."""
    return _definitions.get(code)


def readable(sources: Sources, definitions: Mapping[str, str]) -> dict[str, str]:
    """Return the short digests of definitions by what people call them, such as "scaled() in ideas.py"."""
    return {_in_words(sources, name): digest for name, digest in definitions.items()}


def _in_words(sources: Sources, qualified: str) -> str:
    found = sources.definition(qualified)
    assert found is not None
    module, name = found
    is_function = any(isinstance(statement, FUNCTIONS) for statement in module.statements[name])
    shown = "what stands outside of functions" if name == BODY else name + ("()" if is_function else "")
    return f"{shown} in {file_in_words(module.name, sources.paths)}"


def _used(outside: Sequence[str]) -> tuple[str, ...]:
    """Return what code uses of edm, and which other packages, without Python's own."""
    own = dict.fromkeys(name for name in outside if name.startswith("edm.") and not name.startswith("edm.extend"))
    packages = {name.partition(".")[0] for name in outside} - {*PACKAGES} - sys.stdlib_module_names
    return (*own, *sorted(packages))


def reach_of(sources: Sources, module: str, name: str) -> Reach:
    """Return what a function of a file of extensions reaches within all of them."""
    try:
        return sources.reach([f"{module}.{name}"])
    except KeyError:  # such as a function within a function
        return sources.reach([module])


def _import(file: ExtensionFile, files: Sequence[ExtensionFile]) -> None:
    try:
        importlib.import_module(file.module)
    except SyntaxError as error:
        raise ExtensionError(
            f"{error.filename}:{error.lineno}: is not valid Python ({error.msg}); correct it"
        ) from None
    except extend.RegistrationError as error:
        raise ExtensionError(f"{place_of_error(error) or file.path}: {error}") from None
    except (Exception, SystemExit) as error:
        last = traceback.format_exception_only(error)[-1].strip()
        place = place_of_error(error) or file.path
        raise ExtensionError(f"{place}: cannot be imported ({last}){_remedy(error, file, files)}") from None


def place_of_error(error: BaseException) -> str:
    """Return the file and line of an extension in which an error arose; "" where no extension took part in it."""
    frame = _last_own_frame(error)
    return f"{frame.filename}:{frame.lineno}" if frame is not None else ""


def _last_own_frame(error: BaseException) -> traceback.FrameSummary | None:
    own = {module.path_in_messages for module in _own_modules()}
    return next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename in own), None)


def _own_modules() -> list[_ImportedModule]:
    """Return the modules of files of extensions in this process."""
    modules = list(sys.modules.values())  # a copy, as other threads import as well, such as the one with MLflow
    return [module for module in modules if isinstance(module, _ImportedModule)]


def what_to_do(error: BaseException) -> str:
    """Return the remedy for an error that an extension's code raised."""
    kept = {
        str(Path(file).parent) for each in _own_modules() if (file := each.__file__) and file != each.path_in_messages
    }
    return ONLY_PYTHON if any(folder in str(error) for folder in kept) else "correct it"


def place_of(extension: Extension) -> str:
    """Return the file and line of the function that an extension registered, for people."""
    return _line_of(registration_of(extension)) or extension.where


def _line_of(registration: Registration) -> str:
    """Return the file and line of a function; "" of a class, which has none."""
    code = getattr(registration.function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def why_failed(extension: Extension, error: BaseException) -> str:
    """Return what an extension's code raised, and in which file and line, for people."""
    place = place_of_error(error) or place_of(extension)
    return f"{place}: {type(error).__name__}: {one_line(error)}"


def _remedy(error: BaseException, file: ExtensionFile, files: Sequence[ExtensionFile]) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if is_package(error.name.partition(".")[0], [each.module for each in files]):
            return f"; correct it, or create {INIT} in the folder that it is in"
        if Path(file.path).with_name(f"{error.name}.py").is_file():
            return f"; add {error.name}.py to extensions"
        return f"; install {error.name}"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "; list the folder of both files, with a / at its end, or import helper, and list helper.py as well"
    wrong, known = _misspelled(error)
    if not known:
        return f"; {what_to_do(error)}"
    hint = did_you_mean(wrong, known)
    return f"; choose from {', '.join(known)}{f' ({hint})' if hint else ''}"


def _misspelled(error: BaseException) -> tuple[str, tuple[str, ...]]:
    """Return the name in edm.extend that an error says does not exist, and those that do; no names of other errors."""
    kinds: tuple[str, ...] = get_args(Kind)
    if isinstance(error, AttributeError) and error.obj is extend and error.name:
        return error.name, kinds
    frame = _last_own_frame(error)
    keyword = re.search(r"got an unexpected keyword argument '(\w+)'", str(error))
    decorator = re.match(rf"@(?:\w+\.)*({'|'.join(kinds)})\(", (frame.line or "") if frame is not None else "")
    if isinstance(error, TypeError) and keyword is not None and decorator is not None:
        return keyword[1], tuple(inspect.signature(getattr(extend, decorator[1])).parameters)[1:]
    return "", ()


@contextmanager
def _importable(files: Sequence[ExtensionFile]) -> Generator[_Finder]:
    """Let the files be imported by name inside the block, and leave no trace of the names after it."""
    finder = _Finder(files)
    hidden = {file.module: sys.modules.pop(file.module) for file in files if file.module in sys.modules}
    sys.meta_path.insert(0, finder)
    try:
        yield finder
    finally:
        sys.meta_path.remove(finder)
        for file in files:
            sys.modules.pop(file.module, None)
        sys.modules.update(hidden)


class _ImportedModule(ModuleType):
    """A module that imports find by the name of its file, whatever name it gives to the classes that it defines."""

    def __init__(self, name: str, path_in_messages: str) -> None:
        super().__init__(name)
        self.name_of_import, self.path_in_messages = name, path_in_messages

    @property
    def __name__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.name_of_import


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the files from their texts. executed: the modules that were imported."""

    def __init__(self, files: Sequence[ExtensionFile]) -> None:
        self.files = {file.module: file for file in files}
        self.executed: set[str] = set()
        together = "\0".join(f"{file.module}\0{file.text}" for file in files)
        self.version = hashlib.sha256(together.encode()).hexdigest()[:12]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find one of the files by its module's name."""
        if fullname not in self.files:
            return None
        folder = is_package(fullname, self.files)
        return importlib.util.spec_from_loader(
            fullname, self, origin=str(self.files[fullname].location), is_package=folder
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Make an empty module."""
        return _ImportedModule(spec.name, self.files[spec.name].path)

    def exec_module(self, module: ModuleType) -> None:
        """Run a file. Its classes belong to a module that stays, whatever else is imported under the file's name."""
        file = self.files[module.__name__]
        self.executed.add(file.module)
        module.__file__ = str(file.location)
        module.__dict__["__name__"] = f"{PRIVATE}.{self.version}.{file.module}"
        sys.modules[module.__dict__["__name__"]] = module
        # so that tracebacks show these lines, whatever lies at that path by then; None: they are never read again
        linecache.cache[file.path] = (len(file.text), None, file.text.splitlines(keepends=True), file.path)
        exec(compile(file.text, file.path, "exec"), module.__dict__)
