"""Which evaluation an idle worker may help with, by drawing a part of its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from experiments.runner.costs import Costs
from experiments.sweep.tasks import Evaluation

HELP_S = 5.0  # each worker's part of an evaluation ought to be longer than this: less is not worth a trial's start


class Helpers:
    """Chooses the evaluation that would last longest.

    parts_left: how many parts of an evaluation nobody has begun; to be set by who can see the store.
    """

    def __init__(self) -> None:
        self.parts_left: Callable[[Evaluation], int] = lambda _: 0
        self._counts: Counter[str] = Counter()  # of helpers, by evaluation
        self._active: dict[str, Evaluation] = {}  # evaluations that run, here or elsewhere, in the order they began
        self._refused: set[str] = set()

    def began(self, evaluation: Evaluation) -> None:
        """Note that an evaluation is being worked on."""
        self._active.pop(evaluation.signature, None)
        self._active[evaluation.signature] = evaluation

    def ended(self, evaluation: Evaluation) -> None:
        """Note that nobody works on an evaluation any more."""
        self._active.pop(evaluation.signature, None)

    def refuse(self, signature: str) -> bool:
        """Let nobody help with an evaluation any more; return whether that is new."""
        is_new = signature not in self._refused
        self._refused.add(signature)
        return is_new

    def left(self, signature: str) -> None:
        """Note that a helper of an evaluation has ended."""
        self._counts[signature] -= 1

    def next(self, costs: Costs) -> Evaluation | None:
        """Return the evaluation to help with, None where none is worth it."""
        best, longest_s = None, HELP_S
        for evaluation in self._active.values():
            if evaluation.rivals or evaluation.signature in self._refused:
                continue  # one that may stop early is not drawn ahead
            most_s = costs.seconds(evaluation) / (2 + self._counts[evaluation.signature])
            if most_s <= longest_s:
                continue  # without a look at the store
            part_s = self.parts_left(evaluation) * most_s / evaluation.num_segments
            if part_s > longest_s:
                best, longest_s = evaluation, part_s
        if best is not None:
            self._counts[best.signature] += 1
        return best
