"""What a configuration holds of a value that somebody's own code defines: plain data, without the code itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast

Scalar = bool | int | float | str | None
OptionValue = Scalar | tuple[Scalar, ...]
Options = tuple[tuple[str, OptionValue], ...]  # names and values, in the order in which they were declared


def is_option_value(value: object) -> bool:
    """Return whether a value can be an option: a number, a text, a truth value, None, or a tuple of these."""
    values = cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)
    return all(entry is None or isinstance(entry, bool | int | float | str) for entry in values)


NO_IDENTITY = {"identity": False}  # as edm.config.display_field has it


@dataclass(frozen=True)
class Extension:
    """A value that an extension registered for a field, such as a sampler of one's own.

    name: The name under which it is registered.
    code: The digest of the code that computes it, by which edm.registry finds that code.
    options: All of its options, defaults included.
    facts: What plans need to know of it without running its code; they follow from the rest.
    where: The file and the function that define it, for people.
    uses: Qualified names of what its code uses of edm, and the names of other packages that it uses.
    """

    name: str
    code: str
    options: Options = ()
    facts: Options = field(default=(), metadata=NO_IDENTITY)
    where: str = field(default="", metadata=NO_IDENTITY)
    uses: tuple[str, ...] = field(default=(), metadata=NO_IDENTITY)

    def __str__(self) -> str:
        return self.name

    def option(self, name: str) -> OptionValue:
        """Return the value of an option; None where there is none of that name."""
        return dict(self.options).get(name)

    def fact(self, name: str, default: Any = None) -> Any:
        """Return what is known of it under a name, or the default."""
        return dict(self.facts).get(name, default)


def extensions_in(config: object) -> Iterator[Extension]:
    """Yield every extension in a configuration, and in all that it holds."""
    if isinstance(config, Extension):
        yield config
    elif isinstance(config, tuple):
        for entry in cast(tuple[object, ...], config):
            yield from extensions_in(entry)
    elif is_dataclass(config):
        for each in fields(config):
            yield from extensions_in(getattr(config, each.name))
