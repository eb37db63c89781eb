"""One registry for each kind of thing that a configuration names: those that this package has, and those of extensions.

A field of a configuration holds a name, or an Extension where somebody's own code defines its value. A registry turns
either into what the name stands for. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from edm.extension import Extension

Kind = Literal[
    "sampler",
    "weighting",
    "noise_distribution",
    "loss",
    "optimizer",
    "lr_schedule",
    "augmentation",
    "schedule",
    "guidance_rule",
    "network",
    "norm",
    "attention",
    "metric",
    "features",
    "dataset",
]
T = TypeVar("T")


@dataclass(frozen=True)
class Registration:
    """A function, or a class, that an extension registers.

    kind, name: what it is, and the name that configurations use. options: the dataclass of its options; it is then
    called with an instance of it as its last argument. settings: what else the decorator was given.
    """

    kind: Kind
    name: str
    function: Callable[..., Any]
    options: type | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def bound(self, extension: Extension) -> Callable[..., Any]:
        """Return the function with the options of a configuration filled in."""
        if self.options is None:
            return self.function
        return partial(_with_last, self.function, self.options(**dict(extension.options)))


def _with_last(function: Callable[..., Any], last: Any, *arguments: Any) -> Any:
    return function(*arguments, last)


def as_it_is(registration: Registration, extension: Extension) -> Callable[[Any], Callable[..., Any]]:
    """Return what gives an extension's function, its options filled in, whatever the rest of the configuration."""
    function = registration.bound(extension)
    return lambda config: function


class UnknownExtension(LookupError):
    """The code of an extension was not loaded in this process."""


_registered: dict[str, Registration] = {}  # by the digest of the code, which covers the kind and the name


def register(registration: Registration, code: str) -> None:
    """Make an extension's code known to this process under its digest."""
    _registered[code] = registration


def is_registered(extension: Extension) -> bool:
    """Return whether the code of an extension is known to this process."""
    return extension.code in _registered


def registration_of(extension: Extension) -> Registration:
    """Return the code of an extension; raises UnknownExtension where it was not loaded."""
    try:
        return _registered[extension.code]
    except KeyError:
        where = f" ({extension.where})" if extension.where else ""
        raise UnknownExtension(
            f"the code of {extension.name!r}{where}, as it was for this result, is not loaded; first load the file "
            "that registers it, as experiments.load_sweep does of a sweep file that lists it"
        ) from None


class Registry(Generic[T]):
    """What every value of a field stands for.

    own: by name, what this package has. adapt: makes the same of an extension's code and its configured value.
    """

    def __init__(self, own: Mapping[str, T], adapt: Callable[[Registration, Extension], T]) -> None:
        self._own, self._adapt = own, adapt

    def __getitem__(self, value: str | Extension) -> T:
        """Return what a value stands for; raises KeyError, or UnknownExtension for code that is not loaded."""
        if isinstance(value, Extension):
            return self._adapt(registration_of(value), value)
        return self._own[value]
