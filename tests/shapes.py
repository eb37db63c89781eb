"""Shapes and types of a package's functions, checked in tests: once for each combination of kinds that one meets.

Checking takes longer than what a small network computes. jaxtyping and beartype look at nothing but the `kind` of
arguments and results, so a second look at the same kinds could find nothing else.
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import jaxtyping
import numpy as np
import torch

check_always = jaxtyping.jaxtyped


def check_shapes(package: str) -> None:
    """Check functions of a package that is yet to be imported; processes that tests start run unchecked."""
    jaxtyping.jaxtyped = check_once  # what the import hook decorates functions with
    jaxtyping.install_import_hook(package, "beartype.beartype")


def check_once(function: Any = None, *, typechecker: Callable) -> Any:
    """Check calls of a function unless an earlier one had arguments and a result of the same kinds."""
    if function is None:
        return functools.partial(check_once, typechecker=typechecker)
    if not inspect.isfunction(function):
        return check_always(function, typechecker=typechecker)
    checked = check_always(function, typechecker=typechecker)
    results: dict[Any, set] = {}  # their kinds, by those of the arguments

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        arguments = (*map(kind, args), *((name, kind(value)) for name, value in kwargs.items()))
        if arguments not in results:
            result = checked(*args, **kwargs)
            results[arguments] = {kind(result)}
            return result
        result = function(*args, **kwargs)
        if (found := kind(result)) not in results[arguments]:
            check_always(_returning(result, function), typechecker=typechecker)(*args, **kwargs)
            results[arguments].add(found)
        return result

    return called


def _returning(result: Any, function: FunctionType) -> Callable:
    """Return a function with the annotations of another, read in its module, that returns this result."""

    def returning(*args: Any, **kwargs: Any) -> Any:
        return result

    same = FunctionType(returning.__code__, function.__globals__, function.__name__, None, returning.__closure__)
    return functools.update_wrapper(same, function)


def kind(value: Any) -> Any:
    """Return all that an annotation can tell of a value, hashable."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return type(value), value.shape, value.dtype
    if isinstance(value, (int, str)):  # literals, and sizes such as "{side}"
        return type(value), value
    if isinstance(value, tuple):
        return type(value), *map(kind, value)
    if isinstance(value, list | set | frozenset):
        return type(value), frozenset(map(kind, value))
    if isinstance(value, dict):
        return type(value), frozenset((kind(key), kind(item)) for key, item in value.items())
    return type(value)
