"""Which tasks a plan has, in which order, and which depends on which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from experiments.sweep.jobs import Task, data_of
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ExactSolution, Preparation, preparations_of
from experiments.sweep.tasks import DataSource, Evaluation

Probes = Mapping[str, tuple[Task, tuple[str, ...]]]  # by signature: a probe, and the trainings that wait for it


class TaskGraph:
    """The tasks of a plan by signature.

    They are data sets, probes, other preparations, trainings, what is prepared from these, and evaluations, in this
    order. preparations, data: those to include, by signature. shorter: by signature, the training that another one
    waits for without depending on it: it begins at the end of this.
    """

    def __init__(
        self,
        plan: Plan,
        probes: Probes,
        preparations: Mapping[str, Preparation],
        data: Mapping[str, DataSource] = MappingProxyType({}),
        shorter: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        of_trainings = {name: task for name, task in preparations.items() if isinstance(task, ExactSolution)}
        self.tasks: dict[str, Task] = {
            **data,
            **{signature: probe for signature, (probe, _) in probes.items()},
            **{name: task for name, task in preparations.items() if name not in of_trainings},
            **plan.trainings,
            **of_trainings,
            **plan.evaluations,
        }
        self.order = {signature: place for place, signature in enumerate(self.tasks)}
        self._dependencies: dict[str, tuple[str, ...]] = {
            signature: (  # what depends on others comes first
                *(each.signature for each in preparations_of(evaluation) if each.signature in preparations),
                *(training.signature for training in evaluation.depends_on),
            )
            for signature, evaluation in plan.evaluations.items()
        }
        for signature, task in (*preparations.items(), *plan.trainings.items()):
            self._dependencies[signature] = tuple(each.signature for each in task.depends_on)
        for signature, (_, waiting) in probes.items():
            self._dependencies |= {each: (signature, *self.dependencies(each)) for each in waiting}
        if data:
            self._add_data(data)
        self.dependents = _reversed(self._dependencies)
        self.shorter = shorter
        self.longer = _reversed({signature: (other,) for signature, other in shorter.items()})

    def _add_data(self, data: Mapping[str, DataSource]) -> None:
        """Let tasks depend on the data sets that they read."""
        for signature, task in self.tasks.items():
            source = data_of(task)
            if source is not None and source.signature in data:
                self._dependencies[signature] = (*self.dependencies(signature), source.signature)

    @property
    def with_dependents(self) -> list[str]:
        """The signatures of all tasks but evaluations, on which others may depend."""
        return [signature for signature, task in self.tasks.items() if not isinstance(task, Evaluation)]

    def dependencies(self, signature: str) -> tuple[str, ...]:
        """Return the signatures of the tasks that a task depends on directly."""
        return self._dependencies.get(signature, ())

    def all_dependents(self, signature: str) -> Iterator[str]:
        """Yield the signatures of the tasks that depend on a task, directly or not."""
        direct = list(self.dependents[signature])
        yield from direct
        for other in direct:
            yield from self.all_dependents(other)


def _reversed(needed: Mapping[str, tuple[str, ...]]) -> defaultdict[str, list[str]]:
    """Return by what tasks need which tasks need it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for signature, others in needed.items():
        for other in others:
            found[other].append(signature)
    return found
