"""Aliases: other signatures under which a store may hold the result of a computation.

A signature is taken of a canonical form. Earlier releases had other forms: they told configurations apart that come to
the same computation. A plan for a store takes the form of a task under whose signature the result is there, so that
nothing is computed again for being called something else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from experiments.store.layout import StoreKind
from experiments.sweep.tasks import SweepTask

TaskT = TypeVar("TaskT", bound=SweepTask)


class Holdings(Protocol):
    """Knows which results there are, as experiments.store.store.Store does."""

    def has_result(self, kind: StoreKind, signature: str) -> bool:
        """Return whether a task is done."""
        ...

    def signatures(self, kind: StoreKind) -> Collection[str]:
        """Return the signatures of a kind's tasks of which there is anything."""
        ...

    def has_begun(self, kind: StoreKind, signature: str) -> bool:
        """Return whether anything of a task is there."""
        ...

    def configs(self, kind: StoreKind) -> Iterator[str]:
        """Yield the configurations of all tasks of a kind, as YAML."""
        ...


class Aliases(Generic[TaskT]):
    """The forms of each computation of which a store holds something, by what is equal for all of them.

    For trainings that is the signature of the canonical form; for evaluations see `computation_of` in forms.py.

    rank: how much of a task there is; 0 is nothing.
    """

    def __init__(self, rank: Callable[[TaskT], int]) -> None:
        self._rank_of = rank
        self._ranks: dict[str, int] = {}
        self._held: dict[str, dict[str, TaskT]] = {}

    def add(self, computation: str, forms: Iterable[TaskT]) -> None:
        """Remember those forms of a computation of which there is something."""
        for form in forms:
            if self._rank(form):
                self._held.setdefault(computation, {}).setdefault(form.signature, form)

    def add_if_none(self, computation: str, forms: Iterable[TaskT]) -> None:
        """Remember like `add`, unless there is something of a computation already: then `forms` is not looked at."""
        if computation not in self._held:
            self.add(computation, forms)

    def _rank(self, task: TaskT) -> int:
        """Look each task up once: a plan then sees the store at one moment."""
        if task.signature not in self._ranks:
            self._ranks[task.signature] = self._rank_of(task)
        return self._ranks[task.signature]

    def held(self, computation: str) -> tuple[TaskT, ...]:
        """Return all forms of a computation of which there is something, whichever cell they were written in."""
        return tuple(self._held.get(computation, {}).values())

    def chosen(self, computation: str, forms: Iterable[TaskT], otherwise: TaskT) -> TaskT:
        """Return the form of which there is most, the first of a cell's own `forms` where they are equal.

        otherwise: what to return where there is nothing of any.
        """
        best = max((*forms, *self.held(computation)), key=self._rank, default=otherwise)
        return best if self._rank(best) else otherwise
