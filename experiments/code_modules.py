"""Modules of Python source: which statements define each name of a module, and what it imports."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from experiments.scopes import FUNCTIONS
from experiments.syntax import imported, is_for_type_checkers, is_idle

BODY = "<module>"  # name of what a module does beside its definitions


@dataclass
class Module:
    """A module of the sources. statements: those that define each name; imports: module and name that it is of."""

    name: str
    is_package: bool
    statements: dict[str, list[ast.stmt]] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)  # of each class
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    star_imports: list[str] = field(default_factory=list)
    imported_modules: set[str] = field(default_factory=set)  # anywhere in it, and what may be modules

    @classmethod
    def parse(cls, name: str, source: str, is_package: bool) -> Module:
        """Parse source; raises SyntaxError."""
        module = cls(name, is_package)
        tree = ast.parse(source)
        for statement in tree.body:
            module._add(statement)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for _, base, attribute in imported(node, name, is_package):
                    module.imported_modules |= {base, f"{base}.{attribute}"}
                module.imported_modules |= {alias.name for alias in node.names}
        return module

    def _add(self, statement: ast.stmt) -> None:
        if is_idle(statement):
            return
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(statement)
        elif is_for_type_checkers(statement):
            for child in ast.walk(statement):
                if isinstance(child, ast.Import | ast.ImportFrom):
                    self._import(child)
        elif isinstance(statement, FUNCTIONS):
            self._define(statement.name, statement)
        elif isinstance(statement, ast.ClassDef):
            self._define(statement.name, statement)
            methods = [child for child in statement.body if isinstance(child, FUNCTIONS)]
            self.methods[statement.name] = list(dict.fromkeys(method.name for method in methods))
            for method in methods:
                self._define(f"{statement.name}.{method.name}", method)
        elif names := _assigned(statement):
            for name in names:
                self._define(name, statement)
        else:
            self._define(BODY, statement)
            self._bind_within(statement)

    def _define(self, name: str, statement: ast.stmt) -> None:
        self.statements.setdefault(name, []).append(statement)

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for name, module, attribute in imported(statement, self.name, self.is_package):
            if name == "*":
                self.star_imports.append(module)
            else:
                self.imports[name] = module, attribute

    def _bind_within(self, statement: ast.stmt) -> None:
        """Let the names that a compound statement binds, as `try` and `if` do, stand for all such statements."""
        for child in ast.walk(statement):
            if isinstance(child, ast.Import | ast.ImportFrom):
                self._import(child)
            elif isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                self.statements.setdefault(child.name, self.statements[BODY])
            elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                self.statements.setdefault(child.id, self.statements[BODY])


def _assigned(statement: ast.stmt) -> list[str]:
    """Return the names that an assignment at the top of a module gives a value; none for other statements."""
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = statement.targets
    else:
        return []
    nodes = [node for target in targets for node in ast.walk(target)]
    plain = all(isinstance(node, ast.Name | ast.Tuple | ast.List | ast.Starred | ast.expr_context) for node in nodes)
    return [node.id for node in nodes if isinstance(node, ast.Name)] if plain else []
