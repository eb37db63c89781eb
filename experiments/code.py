"""Digests of the code that a computation reaches, worked out from its source without importing or running it.

From entry points on, functions, classes and constants of the sources are followed by the names they use: through
imports, aliases, re-exports, decorators, base classes and defaults. Each is digested in its normal form
(experiments/syntax.py), so that nothing is changed by comments, docstrings, annotations, layout, texts of errors,
names of files, functions and local variables, and code that is not reached.

What cannot be resolved takes in more rather than less:
- A class is taken in with all its methods once its name is used.
- An attribute of an object of unknown class takes in the methods of that name of all classes that the module may know:
  those of the modules that it imports, and of those that these import.
- `getattr` with a computed name, `eval`, `exec`, `globals` and `vars` take in the whole module that they are used in. A
  module that is used as a value, as in `getattr(module, name)`, is taken in whole as well.
- With anything of a module, its statements that are neither definitions nor imports are taken in.
Outside of the sources, such as in torch, only the names that are used count.
"""

from __future__ import annotations

import ast
import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from experiments.code_modules import BODY, Module
from experiments.scopes import Target
from experiments.syntax import NO_CHOICES, OWN_MODULE, NormalForm, Normaliser, imported

DIGITS = 20  # of the digest of a whole
SHORT_DIGITS = 12  # of the digest of a definition
OWN_KINDS = ("definition", "mention")  # of targets: definitions of the sources


@dataclass(frozen=True)
class Reach:
    """What entry points reach.

    definitions: a short digest of each, by qualified name, in order of discovery. outside: what they name that is not
    in the sources, such as "torch.nn.Linear".
    """

    digest: str
    definitions: Mapping[str, str]
    outside: tuple[str, ...] = ()


class Sources:
    """Modules by dotted name, read from files when they are first needed.

    roots: a folder for each package, or a file for each module, by dotted name. Methods raise SyntaxError and OSError
    where a file cannot be read.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.paths = dict(_modules_of(roots))
        self._forms: dict[tuple[str, str], NormalForm] = {}
        self._closures: dict[str, set[str]] = {}

    @cached_property
    def modules(self) -> Mapping[str, Module]:
        """All modules."""
        return {
            name: Module.parse(name, path.read_text(encoding="utf-8"), self._is_package(name))
            for name, path in self.paths.items()
        }

    def _is_package(self, name: str) -> bool:
        """Return whether a module is a package, whose file may have any name in a store."""
        inside = any(other.startswith(f"{name}.") for other in self.paths)
        return inside or self.paths[name].name == "__init__.py"

    def reach(
        self,
        entries: Iterable[str],
        choices: Mapping[str, Collection[str]] = NO_CHOICES,
        without: Collection[str] = (),
    ) -> Reach:
        """Return what `entries` reach: qualified names of definitions, or of modules, which are taken in whole.

        choices: of registries (dictionaries with literal keys), by the qualified names of their variables, the keys
        that are used. without: qualified names of definitions, or classes, that are never called and not followed.
        Raises KeyError for an entry that is not there.
        """
        return _Walk(self, choices, frozenset(without)).reach(entries)

    def definition(self, name: str) -> tuple[Module, str] | None:
        """Return the module of a qualified name and the name in it; None where there is no such definition."""
        owner = name
        while "." in owner:
            owner, _, _ = owner.rpartition(".")
            if owner in self.modules:
                module, own = self.modules[owner], name[len(owner) + 1 :]
                return (module, own) if own in module.statements else None
        return None

    def entry(self, name: str) -> str | None:
        """Return the definition or module that a qualified name leads to, whichever module it is imported from.

        For an attribute of a definition that is no method, the definition; None where there is nothing.
        """
        owner, own = self._split(name)
        if owner is None:
            return None
        target: Target | None = Target("module", owner)
        for attribute in own:
            found = self.resolve(self.modules[owner], target, attribute)
            if found is None or found.kind == "external":
                break
            target = found
        return target.name

    def _split(self, name: str) -> tuple[str | None, list[str]]:
        """Return the innermost module of a qualified name, and the attributes that follow it."""
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            if (owner := ".".join(parts[:count])) in self.modules:
                return owner, parts[count:]
        return None, parts

    def keys_of(self, registry: str) -> list[str]:
        """Return the literal keys of a dictionary, given the qualified name of its variable; none where it is gone."""
        owner, _, variable = registry.rpartition(".")
        found = self.definition(registry) or self.definition(owner)
        statements = found[0].statements[found[1]] if found is not None else []
        for node in (node for statement in statements for node in ast.walk(statement)):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            named = any(isinstance(target, ast.Name) and target.id == variable for target in targets)
            if named and isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                return [str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)]
        return []

    def resolve(self, module: Module, owner: Target | None, name: str) -> Target | None:
        """Return what a name in `module` refers to, or an attribute of `owner`; None where nothing is known of it."""
        if owner is None:
            return self._member(module, name)
        if owner.kind == "external":
            return Target("external", f"{owner.name}.{name}")
        if owner.kind == "module":
            return self.member(owner.name, name)
        found = self.definition(f"{owner.name}.{name}")
        return None if found is None else Target("definition", f"{owner.name}.{name}")

    def member(self, module: str, name: str) -> Target | None:
        """Return what `name` is in a module; the module itself for "" and for what it does not define."""
        if module not in self.modules:
            inside = any(known.startswith(f"{module}.") for known in self.modules)  # a package without __init__.py
            if inside:
                return Target("module", f"{module}.{name}" if name else module)
            return Target("external", f"{module}.{name}" if name else module)
        if not name:
            return Target("module", module)
        return self._member(self.modules[module], name) or Target("module", module)

    def _member(self, module: Module, name: str) -> Target | None:
        if name in module.statements:
            return Target("definition", f"{module.name}.{name}")
        if module.imports.get(name, (module.name, name)) != (
            module.name,
            name,
        ):  # not `from . import name` in a package
            return self.member(*module.imports[name])
        if f"{module.name}.{name}" in self.modules:
            return Target("module", f"{module.name}.{name}")
        for other in module.star_imports:
            if other in self.modules and (found := self._member(self.modules[other], name)) is not None:
                return found
        return None

    def methods(self, name: str, module: Module) -> Iterator[str]:
        """Yield the qualified names of all methods called `name` of classes that a module may know."""
        for owner, method in self._methods.get(name, ()):
            if owner in self._known_to(module.name):
                yield method

    @cached_property
    def _methods(self) -> dict[str, list[tuple[str, str]]]:
        """The modules and qualified names of all methods of a name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for module in self.modules.values():
            for owner, methods in module.methods.items():
                for method in methods:
                    found.setdefault(method, []).append((module.name, f"{module.name}.{owner}.{method}"))
        return found

    def _known_to(self, module: str) -> set[str]:
        """Return the names of the modules that one imports, directly or not, itself included."""
        if module not in self._closures:
            found, left = {module}, [module]
            while left:
                new = self.modules[left.pop()].imported_modules & self.modules.keys() - found
                found |= new
                left += new
            self._closures[module] = found
        return self._closures[module]

    def bases(self, module: Module, name: str) -> list[str]:
        """Return the qualified names of the classes of the sources that a class is derived from, itself first."""
        found = [f"{module.name}.{name}"]
        for statement in module.statements[name]:
            for base in statement.bases if isinstance(statement, ast.ClassDef) else []:
                target = self._target(module, base)
                known = self.definition(target.name) if target and target.kind == "definition" else None
                if known is not None and known[1] in known[0].methods:
                    found += self.bases(*known)
        return found

    def _target(self, module: Module, node: ast.expr) -> Target | None:
        if isinstance(node, ast.Name):
            return self.resolve(module, None, node.id)
        if isinstance(node, ast.Attribute):
            owner = self._target(module, node.value)
            return None if owner is None else self.resolve(module, owner, node.attr)
        return self._target(module, node.value) if isinstance(node, ast.Subscript) else None

    def form(self, module: Module, name: str, choices: Mapping[str, Collection[str]]) -> NormalForm:
        """Return the normal form of a definition; with `choices` of registries by their names in the module."""
        key = f"{module.name}.{name}", repr({registry: sorted(kept) for registry, kept in sorted(choices.items())})
        if key not in self._forms:

            def resolve(owner: Target | None, attribute: str) -> Target | None:
                return self.resolve(module, owner, attribute)

            def imports_of(statement: ast.Import | ast.ImportFrom) -> dict[str, Target]:
                found = imported(statement, module.name, module.is_package)
                targets = {bound: self.member(source, attribute) for bound, source, attribute in found}
                return {bound: target for bound, target in targets.items() if target is not None}

            writer = Normaliser(name, resolve, imports_of, choices, is_method="." in name)
            for statement in module.statements[name]:
                writer.write(statement)
            self._forms[key] = writer.form
        return self._forms[key]


def _modules_of(roots: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    for root, path in roots.items():
        if path.is_dir():
            for file in sorted(path.rglob("*.py")):
                parts = file.relative_to(path).with_suffix("").parts
                yield ".".join([root, *(part for part in parts if part != "__init__")]), file
        else:
            yield root, path


class _Walk:
    """Follows definitions from entry points on, each once, breadth first."""

    def __init__(self, sources: Sources, choices: Mapping[str, Collection[str]], without: frozenset[str]) -> None:
        self.sources, self.choices, self.without = sources, choices, without
        self.numbers: dict[str, int] = {}
        self.queue: deque[str] = deque()

    def reach(self, entries: Iterable[str]) -> Reach:
        for entry in entries:
            if entry in self.sources.modules:
                self._take_module(entry)
            elif self.sources.definition(entry) is None:
                raise KeyError(entry)
            self._take(entry)
        forms: dict[str, NormalForm] = {}
        while self.queue:
            name = self.queue.popleft()
            forms[name] = self._visit(name)
        whole = hashlib.sha256("\n".join(self._text(form) for form in forms.values()).encode()).hexdigest()
        short = {name: _short(form) for name, form in forms.items()}
        parts = (part for form in forms.values() for part in form.parts if isinstance(part, Target))
        outside = dict.fromkeys(part.name for part in parts if part.kind == "external")
        return Reach(whole[:DIGITS], short, tuple(outside))

    def _take(self, name: str) -> None:
        if name in self.numbers or self._is_left_out(name) or self.sources.definition(name) is None:
            return
        self.numbers[name] = len(self.numbers)
        self.queue.append(name)

    def _is_left_out(self, name: str) -> bool:
        return name in self.without or name.rpartition(".")[0] in self.without

    def _take_module(self, name: str) -> None:
        for definition in self.sources.modules[name].statements if name in self.sources.modules else ():
            self._take(f"{name}.{definition}")

    def _visit(self, qualified: str) -> NormalForm:
        found = self.sources.definition(qualified)
        assert found is not None
        module, name = found
        form = self.sources.form(module, name, self._choices_in(module, name))
        self._take(f"{module.name}.{BODY}")
        for method in module.methods.get(name, ()):
            self._take(f"{qualified}.{method}")
        for part in form.parts:
            if isinstance(part, Target) and part.kind == "definition":
                self._take(part.name)
        for other in form.modules:
            self._take_module(module.name if other == OWN_MODULE else other)
        for attribute in form.attributes:
            for method in self.sources.methods(attribute, module):
                self._take(method)
        if form.own:
            for owner in self.sources.bases(module, name.rpartition(".")[0]):
                for attribute in form.own:
                    self._take(f"{owner}.{attribute}")
        return form

    def _choices_in(self, module: Module, name: str) -> dict[str, Collection[str]]:
        prefix = f"{module.name}."
        own = {key.removeprefix(prefix): kept for key, kept in self.choices.items() if key.startswith(prefix)}
        return {key: kept for key, kept in own.items() if key == name or key.startswith(f"{name}.")}

    def _text(self, form: NormalForm) -> str:
        """Return a normal form with the numbers of definitions in place of their names, which may change."""
        parts = (part if isinstance(part, str) else self._reference(part) for part in form.parts)
        return "".join(parts)

    def _reference(self, target: Target) -> str:
        if target.kind in OWN_KINDS and target.name in self.numbers:
            return f"definition {self.numbers[target.name]}"
        return f"module {target.name}" if target.kind == "module" else _own_name(target)


def _short(form: NormalForm) -> str:
    """Return the digest of one definition, which has the names of others without their modules."""
    parts = (part if isinstance(part, str) else _own_name(part) for part in form.parts)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:SHORT_DIGITS]


def _own_name(target: Target) -> str:
    return target.name.rpartition(".")[2] if target.kind in OWN_KINDS else target.name
