"""The normal form of a definition in Python source: what it computes, without how it is written down.

Left out are docstrings, comments, annotations, layout, line numbers, texts of errors, and statements that do nothing.
Local variables are numbered, and names from elsewhere are replaced by what they refer to, so that an import may be
written in any way.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from experiments.scopes import COMPREHENSIONS, FUNCTIONS, Scope, Target, bound_in, own_nodes, stored_in

IGNORED = frozenset({"ctx", "kind", "type_comment", "type_params", "returns", "annotation", "simple"})
MEANINGFUL_ANNOTATIONS = frozenset({"ClassVar", "InitVar", "KW_ONLY"})  # those that a dataclass reads
DYNAMIC = frozenset({"eval", "exec", "globals", "vars", "__import__"})  # what they lead to, no analysis tells
TYPE_TESTS = frozenset({"isinstance", "issubclass"})
IMPORT_MODULE = "importlib.import_module"
OWN_MODULE = "."  # in NormalForm.modules
IMPORTS = (ast.Import, ast.ImportFrom)
NO_CHOICES: Mapping[str, Collection[str]] = {}

ImportNode = ast.Import | ast.ImportFrom
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class NormalForm:
    """Parts of text, between references to other definitions, and what else the definition may use.

    attributes: names of methods that may be called on objects of any class. own: the same, on its own class. modules:
    those of which it may use anything.
    """

    parts: list[str | Target] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)


Resolve = Callable[[Target | None, str], Target | None]  # of an attribute of a target, or of a name in the module


def is_idle(statement: ast.stmt) -> bool:
    """Return whether a statement does nothing: a docstring, `...`, `pass`, or what only type checkers read."""
    if isinstance(statement, ast.Pass) or type(statement).__name__ == "TypeAlias":
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def is_for_type_checkers(statement: ast.stmt) -> bool:
    """Return whether a statement is `if TYPE_CHECKING:`."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")


def imported(statement: ImportNode, module: str, is_package: bool) -> Iterator[tuple[str, str, str]]:
    """Yield the name that each import binds, and the module and name that it is: ("F", "torch.nn", "functional").

    The last is "" where it is the module itself. module: where the statement stands.
    """
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            whole = alias.asname is not None
            outermost = alias.name.partition(".")[0]
            yield alias.asname or outermost, alias.name if whole else outermost, ""
        return
    base = statement.module or ""
    if statement.level:
        parents = module.split(".")
        kept = parents[: len(parents) - statement.level + is_package]
        base = ".".join([*kept, *filter(None, [base])])
    for alias in statement.names:
        yield alias.asname or alias.name, base, alias.name


class Normaliser:
    """Writes the normal form of one definition.

    name: of the definition in its module, which does not enter. resolve: what names of the module refer to. import_of:
    what a name that an import binds refers to. choices: entries to keep of registries, which are dictionaries with
    literal keys, by the qualified names of their variables. is_method: whether it belongs to a class.
    """

    def __init__(
        self,
        name: str,
        resolve: Resolve,
        imports_of: Callable[[ImportNode], Mapping[str, Target]],
        choices: Mapping[str, Collection[str]] = NO_CHOICES,
        is_method: bool = False,
    ) -> None:
        self.form = NormalForm()
        self._own_name, self._resolve, self._imports_of, self._choices = name, resolve, imports_of, choices
        self._scopes: list[Scope] = []
        self._self: str | None = None
        self._is_method, self._mentions = is_method, False
        self._handlers: dict[type, Callable[[Any], None]] = {
            ast.Constant: self._constant,
            ast.FunctionDef: self._inner_function,
            ast.AsyncFunctionDef: self._inner_function,
            ast.Lambda: self._function,
            ast.ClassDef: self._inner_class,
            ast.If: self._if,
            ast.AnnAssign: self._annotated_assignment,
            ast.Assign: self._assignment,
            ast.Call: self._call,
            ast.Raise: self._raise,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.ExceptHandler: self._except_handler,
            ast.MatchAs: self._match_as,
            **dict.fromkeys(IMPORTS, _ignore),  # names are resolved where they are used
            **dict.fromkeys(COMPREHENSIONS, self._comprehension),
        }

    def write(self, statement: ast.stmt) -> None:
        """Add a statement at the top of a module, or a method."""
        if isinstance(statement, FUNCTIONS):
            if self._is_method:
                self._emit(f"method {statement.name}")
                arguments = [*statement.args.posonlyargs, *statement.args.args]
                self._self = arguments[0].arg if arguments else None
            self._function(statement)
        elif isinstance(statement, ast.ClassDef):
            self._class(statement)
        else:
            self._visit(statement)

    def _emit(self, *parts: str | Target) -> None:
        self.form.parts += parts

    # statements and expressions -------------------------------------------------------------------

    def _visit(self, node: object) -> None:
        if isinstance(node, list):
            self._emit("[")
            for entry in node:
                self._visit(entry)
            self._emit("]")
        elif not isinstance(node, ast.AST):
            self._emit(f"{node!r},")
        elif not (isinstance(node, ast.stmt) and (is_idle(node) or is_for_type_checkers(node))):
            self._handlers.get(type(node), self._generic)(node)

    def _generic(self, node: ast.AST) -> None:
        self._emit(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            if name not in IGNORED and value is not None and value != []:
                self._emit(f"{name}=")
                self._visit(value)
        self._emit(")")

    def _constant(self, node: ast.Constant) -> None:
        self._emit(f"{type(node.value).__name__} {node.value!r},")

    def _inner_function(self, node: FunctionNode) -> None:
        self._emit(f"define {self._binding(node.name)}")
        self._function(node)

    def _inner_class(self, node: ast.ClassDef) -> None:
        self._emit(f"define {self._binding(node.name)}")
        self._class(node)

    def _if(self, node: ast.If) -> None:
        if is_for_type_checkers(node):
            self._visit(node.orelse)
        else:
            self._generic(node)

    def _annotated_assignment(self, node: ast.AnnAssign) -> None:
        if self._scopes and self._scopes[-1].is_class and isinstance(node.target, ast.Name):
            # of a dataclass, a field whether it has a default or not; of these annotations it reads the outermost
            words = {child.id for child in ast.walk(node.annotation) if isinstance(child, ast.Name)}
            self._emit(f"field {node.target.id} {sorted(words & MEANINGFUL_ANNOTATIONS)}")
            self._visit(node.value)
        elif node.value is not None:
            self._assign([node.target], node.value)

    def _assignment(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)

    def _assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        self._emit("Assign(")
        self._visit(list(targets))
        self._visit(self._chosen(targets, value))
        self._emit(")")

    def _chosen(self, targets: Sequence[ast.expr], value: ast.expr) -> ast.expr:
        """Return a registry with the chosen entries alone; anything else as it is."""
        target = targets[0]
        if not isinstance(value, ast.Dict) or not isinstance(target, ast.Name):
            return value
        name = f"{self._own_name}.{target.id}" if self._scopes else self._own_name
        if name not in self._choices:
            return value
        chosen = self._choices[name]
        pairs = [
            (key, entry)
            for key, entry in zip(value.keys, value.values, strict=True)
            if not isinstance(key, ast.Constant) or key.value in chosen
        ]
        return ast.Dict([key for key, _ in pairs], [entry for _, entry in pairs])

    def _call(self, node: ast.Call) -> None:
        target = self._target_of(node.func)
        if target is not None and target.name == IMPORT_MODULE:
            name = node.args[0] if node.args else None
            self.form.modules.append(str(name.value) if isinstance(name, ast.Constant) else OWN_MODULE)
        elif target is None and isinstance(node.func, ast.Name):
            if node.func.id in TYPE_TESTS and len(node.args) == 2:
                self._type_test(node)
                return
            self._note_dynamic(node.func.id, node.args)
        self._generic(node)

    def _type_test(self, node: ast.Call) -> None:
        """Write `isinstance(x, Class)`, which calls nothing of the class."""
        self._visit(node.func)
        self._visit(node.args[0])
        self._mentions = True
        self._visit(node.args[1])
        self._mentions = False

    def _raise(self, node: ast.Raise) -> None:
        """Write what is raised without its text, which no result depends on."""
        self._emit("raise")
        self._visit(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)

    def _note_dynamic(self, function: str, arguments: list[ast.expr]) -> None:
        """Take in all that a call may lead to whose target is worked out while the program runs."""
        if function in ("getattr", "hasattr", "setattr") and len(arguments) > 1:
            name = arguments[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self.form.attributes.append(name.value)
            elif function == "getattr":
                self.form.modules.append(OWN_MODULE)
        elif function in DYNAMIC:
            self.form.modules.append(OWN_MODULE)

    # functions and classes ------------------------------------------------------------------------

    def _function(self, node: FunctionNode | ast.Lambda) -> None:
        for decorator in getattr(node, "decorator_list", []):
            self._emit("@")
            self._visit(decorator)
        arguments = node.args
        self._visit([*arguments.defaults, *(value for value in arguments.kw_defaults if value is not None)])
        required = [value is None for value in arguments.kw_defaults]
        names = {kind: [argument.arg for argument in group] for kind, group in _kinds(arguments).items() if group}
        self._emit(f"{type(node).__name__}{names}{required}")
        body = node.body if isinstance(node.body, list) else [node.body]
        parameters = {name for group in names.values() for name in group}
        with self._scope(Scope(parameters=parameters, names=parameters | bound_in(body)), body):
            self._visit(body)

    def _class(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self._emit("@")
            self._visit(decorator)
        self._emit("class")
        self._visit([*node.bases, *node.keywords])
        is_outermost = not self._scopes
        with self._scope(Scope(is_class=True, names=bound_in(node.body)), node.body):
            for statement in node.body:
                if isinstance(statement, FUNCTIONS) and is_outermost:
                    self._emit(f"method {statement.name}")  # a definition of its own
                else:
                    self._visit(statement)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first = node.generators[0]
        self._emit(type(node).__name__)
        self._visit(first.iter)  # evaluated outside
        targets = {name for generator in node.generators for name in stored_in(generator.target)}
        with self._scope(Scope(names=targets)):
            for generator in node.generators:
                self._visit(generator.target)
                if generator is not first:
                    self._visit(generator.iter)
                self._visit([*generator.ifs])
                self._emit(f"async {generator.is_async}")
            self._visit([node.key, node.value] if isinstance(node, ast.DictComp) else node.elt)

    # names ----------------------------------------------------------------------------------------

    @contextmanager
    def _scope(self, scope: Scope, body: Sequence[ast.AST] = ()) -> Generator[None, None, None]:
        """Open a scope; what the imports in `body` bind refers to something in it."""
        for statement in own_nodes(body):
            if isinstance(statement, IMPORTS):
                scope.imports |= self._imports_of(statement)
        self._scopes.append(scope)
        yield
        self._scopes.pop()

    def _scope_of(self, name: str) -> Scope | None:
        """Return the scope that binds a name; None for names of the module and of Python."""
        for scope in reversed(self._scopes):
            if name in scope.names and (not scope.is_class or scope is self._scopes[-1]):
                return scope
        return None

    def _binding(self, name: str) -> str:
        """Return how a name is written that a scope binds: its number if it is a local variable."""
        scope = self._scope_of(name)
        if scope is None or scope.is_class or name in scope.parameters:
            return name
        return f"local {scope.numbers.setdefault(name, len(scope.numbers))} of {self._scopes.index(scope)}"

    def _lookup(self, name: str) -> Target | None:
        scope = self._scope_of(name)
        return self._resolve(None, name) if scope is None else scope.imports.get(name)

    def _name(self, node: ast.Name) -> None:
        target = self._lookup(node.id)
        if target is not None:
            self._refer(target)
        elif self._scope_of(node.id) is None and not self._scopes and isinstance(node.ctx, ast.Store):
            self._emit(f"bind {'it' if node.id == self._own_name else node.id},")
        else:
            self._emit(f"{self._binding(node.id)},")

    def _refer(self, target: Target) -> None:
        if self._mentions and target.kind == "definition":
            target = Target("mention", target.name)
        self._emit(target, ",")
        if target.kind == "module":  # used as a value: anything of it may be used
            self.form.modules.append(target.name)

    def _target_of(self, node: ast.expr) -> Target | None:
        """Return what a name, or attributes of a name, refer to."""
        if isinstance(node, ast.Name):
            return self._lookup(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        owner = self._target_of(node.value)
        return None if owner is None else self._resolve(owner, node.attr)

    def _attribute(self, node: ast.Attribute) -> None:
        target = self._target_of(node)
        if target is not None:
            self._refer(target)
            return
        if isinstance(node.value, ast.Name) and node.value.id == self._self:
            self.form.own.append(node.attr)
        elif not (isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super"):
            self.form.attributes.append(node.attr)
        self._visit(node.value)
        self._emit(f".{node.attr},")

    def _except_handler(self, node: ast.ExceptHandler) -> None:
        self._emit("except", self._binding(node.name) if node.name else "")
        self._visit(node.type)
        self._visit(node.body)

    def _match_as(self, node: ast.MatchAs) -> None:
        self._emit("MatchAs", self._binding(node.name) if node.name else "")
        self._visit(node.pattern)


def _ignore(_node: ast.AST) -> None:
    pass


def _kinds(arguments: ast.arguments) -> dict[str, list[ast.arg]]:
    return {
        "positional": arguments.posonlyargs,
        "any": arguments.args,
        "rest": [arguments.vararg] if arguments.vararg else [],
        "keyword": arguments.kwonlyargs,
        "keywords": [arguments.kwarg] if arguments.kwarg else [],
    }
