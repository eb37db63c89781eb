"""Extensions in a store: their files are kept with the results that use them, and loaded from there by every worker."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from edm.config import Extension, extensions_in
from edm.registry import is_registered, register, registration_of
from experiments.code import Sources
from experiments.errors import UserError
from experiments.extension_files import ExtensionError, ExtensionFile, file_in_words, is_package
from experiments.extensions import definitions_of, identified, reach_of, readable
from experiments.store.provenance import provenance
from experiments.store.results import ExtensionRecord
from experiments.store.store import Store
from experiments.sweep.plan import Plan

NO_PATHS: Mapping[str, str] = {}


def keep_extensions(plan: Plan, store: Store) -> None:
    """Keep the files of all extensions that a plan uses in the store.

    Raises UserError where the store lacks them and the sweep was not read from its file.
    """
    for extension in plan.extensions.values():
        if plan.sweep.extensions:
            _keep(extension, plan.sweep.extensions, store)
        elif store.verified(ExtensionRecord, extension.code) is None:
            raise _lost(extension, store)


def _keep(extension: Extension, files: tuple[ExtensionFile, ...], store: Store) -> None:
    def build(folder: Path) -> ExtensionRecord:
        for file in files:
            (folder / f"{file.module}.py").write_text(file.text, encoding="utf-8")
        kind, modules = registration_of(extension).kind, tuple(file.module for file in files)
        return ExtensionRecord(
            what=kind, name=extension.name, where=extension.where, modules=modules, provenance=provenance()
        )

    store.ensure(ExtensionRecord, extension.code, build, [f"{file.module}.py" for file in files])


def load_as_workers(plan: Plan, store: Store) -> None:
    """Keep the extensions of a plan in the store, and load them from there, in place of a person's files.

    So what they do not find there is noticed before any task starts. Raises UserError.
    """
    keep_extensions(plan, store)
    paths, left = {file.module: file.path for file in plan.sweep.extensions}, dict(plan.extensions)
    while left:
        extension = next(iter(left.values()))
        for code in (extension.code, *_load(extension, store, paths)):
            left.pop(code, None)


def require_loaded(task: object, store: Store) -> None:
    """Load the extensions that a task uses from the store, where this process has not loaded them.

    Raises UserError where one cannot be loaded.
    """
    for extension in extensions_in(task):
        if not is_registered(extension):
            _load(extension, store)


def _load(extension: Extension, store: Store, paths: Mapping[str, str] = NO_PATHS) -> list[str]:
    """Load the files of an extension from the store; return the digests of all that they register.

    These share the variables of their files, as in the process that read the sweep file. paths: of a person's files,
    by module, for messages.
    """
    record = store.result(ExtensionRecord, extension.code)
    if record is None:
        raise _lost(extension, store)
    try:
        loaded, _ = identified(list(_files(extension.code, record, store, paths)))
    except ExtensionError as error:
        raise UserError(str(error) if paths else f"{extension.where}: {error}") from None
    for each in loaded:
        if (each.registration.kind, each.registration.name) == (record.what, record.name):
            register(each.registration, extension.code)  # which another version of this program may compute otherwise
    return [each.code for each in loaded]


def definitions_in(store: Store, code: str) -> Mapping[str, str] | None:
    """Return what the code of an extension consists of, as `readable` has it, without running it.

    None where neither this process nor the store has the code.
    """
    known, record = definitions_of(code), store.peek(ExtensionRecord, code)
    if known is not None or record is None:
        return known
    file, _, name = record.where.partition(", ")
    sources = Sources({module: store.folder("extensions", code) / f"{module}.py" for module in record.modules})
    shown = {file_in_words(each, record.modules): each for each in record.modules}
    module = shown.get(file) or next((shown[path] for path in shown if path.endswith(f"/{file}")), None)
    try:
        return readable(sources, reach_of(sources, module, name).definitions) if module is not None else None
    except (OSError, SyntaxError):  # damaged
        return None


def listing(extensions: Iterable[Extension], store: Store) -> list[str]:
    """Return what a sweep file lists under `extensions` so that it has these, such as ["ideas.py", "networks/"]."""
    found: dict[str, None] = {}
    for extension in extensions:
        record = store.peek(ExtensionRecord, extension.code)
        entries = [_entry(module, record.modules) for module in record.modules] if record is not None else []
        found |= dict.fromkeys(entries or [extension.where.rpartition(", ")[0]])
    return list(found)


def _entry(module: str, modules: Collection[str]) -> str:
    """Return what lists one of some modules that are kept together: its file, or the outermost package that has it."""
    parts = module.split(".")
    outer = next(name for i in range(len(parts)) if (name := ".".join(parts[: i + 1])) in modules)
    if "." in outer:  # of an installed package
        return outer
    return f"{outer}/" if is_package(outer, modules) else f"{outer}.py"


def _files(code: str, record: ExtensionRecord, store: Store, paths: Mapping[str, str]) -> Iterator[ExtensionFile]:
    for module in record.modules:
        kept = store.checked("extensions", code, f"{module}.py")
        path = paths.get(module) or file_in_words(module, record.modules)
        yield ExtensionFile(module, path, kept.read_text(encoding="utf-8"), kept=str(kept))


def _lost(extension: Extension, store: Store) -> UserError:
    folder = store.folder("extensions", extension.code)
    return UserError(
        f"{extension.name}: its code ({extension.where}) is not in the store ({folder}); run the sweep from its file"
    )
