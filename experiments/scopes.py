"""The scopes of Python source: which names a function, class or comprehension binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Target:
    """What a name refers to: a definition or a module of the sources, or anything outside of them.

    A mention is a definition that is named and not used, such as a class that `isinstance` asks for.
    """

    kind: Literal["definition", "module", "external", "mention"]
    name: str


@dataclass
class Scope:
    """Names that a function or class binds. numbers: of local variables; imports: what imported names refer to."""

    is_class: bool = False
    parameters: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)


def own_nodes(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield what belongs to the scope of some statements: not the inside of functions, classes and comprehensions."""
    for node in statements:
        yield node
        if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, COMPREHENSIONS):  # an assignment in one binds a name outside of it
            yield from (child for child in ast.walk(node) if isinstance(child, ast.NamedExpr))
            yield from (child.target for child in ast.walk(node) if isinstance(child, ast.NamedExpr))
            continue
        yield from own_nodes(children)


def bound_in(body: Sequence[ast.AST]) -> set[str]:
    """Return the names that the statements of a function or class bind in its scope."""
    names: set[str] = set()
    elsewhere: set[str] = set()
    for node in own_nodes(body):
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere |= set(node.names)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
    return names - elsewhere


def stored_in(target: ast.expr) -> set[str]:
    """Return the names that an assignment to `target` binds."""
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
