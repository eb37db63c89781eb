"""Which tasks a plan has, in which order, and which depends on which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from experiments.sweep.jobs import Task
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ExactSolution, Preparation, preparations_of
from experiments.sweep.tasks import Evaluation

Probes = Mapping[str, tuple[Task, tuple[str, ...]]]  # by signature: a probe, and the trainings that wait for it


class TaskGraph:
    """The tasks of a plan by signature: probes, preparations, trainings, what is prepared from these, then evaluations.

    preparations: those to include, by signature.
    """

    def __init__(self, plan: Plan, probes: Probes, preparations: Mapping[str, Preparation]) -> None:
        of_trainings = {name: task for name, task in preparations.items() if isinstance(task, ExactSolution)}
        self.tasks: dict[str, Task] = {
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
        for signature, task in preparations.items():
            self._dependencies[signature] = tuple(each.signature for each in task.depends_on)
        for signature, (_, waiting) in probes.items():
            self._dependencies |= dict.fromkeys(waiting, (signature,))
        self.dependents: defaultdict[str, list[str]] = defaultdict(list)
        for signature, needed in self._dependencies.items():
            for other in needed:
                self.dependents[other].append(signature)

    @property
    def with_dependents(self) -> list[str]:
        """The signatures of probes, preparations and trainings, on which others may depend."""
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
