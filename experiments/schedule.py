"""What to start next. Pure bookkeeping over a plan, whoever does the work."""

from __future__ import annotations

from typing import Literal

from experiments.plan import Evaluation, Piece, Plan, Training

State = Literal["waiting", "running", "done", "failed", "stopped", "blocked"]


class Schedule:
    """Trainings first, longest first; an evaluation as soon as the training it stands on is done.

    `present` are the signatures of work that the store already holds.
    """

    def __init__(self, plan: Plan, present: frozenset[str]) -> None:
        self.plan = plan
        self.present = present
        self.pieces: dict[str, Piece] = {**plan.trainings, **plan.evaluations}
        self.states: dict[str, State] = {name: "done" if name in present else "waiting" for name in self.pieces}
        self.messages: dict[str, str] = {}
        self.drawn_together: dict[str, list[Evaluation]] = {}
        for evaluation in plan.evaluations.values():
            self.drawn_together.setdefault(evaluation.drawing, []).append(evaluation)
        self.stopping = False
        self._drop_needless_trainings()

    def _drop_needless_trainings(self) -> None:
        """A training that nothing unfinished stands on need not be done, even if its files were deleted."""
        unfinished = (e for e in self.plan.evaluations.values() if self.states[e.signature] != "done")
        needed = {training.signature for evaluation in unfinished for training in evaluation.stands_on}
        for name in self.plan.trainings:
            if name not in needed:
                self.states[name] = "done"

    def of(self, *states: State) -> list[Piece]:
        """The pieces in any of these states, in the plan's order."""
        return [piece for name, piece in self.pieces.items() if self.states[name] in states]

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could still be started."""
        return self.stopping or not self.of("waiting")

    def take(self) -> Piece | None:
        """The piece to start now, marked as running; None while there is none."""
        if self.stopping:
            return None
        ready = [piece for piece in self.of("waiting") if self._is_ready(piece)]
        if not ready:
            return None
        piece = max(ready, key=lambda p: (p.kind == "training", p.flops))
        self.states[piece.signature] = "running"
        return piece

    def _is_ready(self, piece: Piece) -> bool:
        if isinstance(piece, Training):
            return True
        if any(self.states[e.signature] == "running" for e in self.drawn_together[piece.drawing]):
            return False  # it draws the very images; once they are there they are only to be scored
        return all(self.states[t.signature] == "done" for t in piece.stands_on)

    def ended(self, signature: str, state: Literal["done", "failed", "stopped"], message: str = "") -> None:
        """Take note of how a piece ended; what stands on a failed training is blocked."""
        self.states[signature] = state
        if state == "failed":
            self.messages[signature] = message
            for name, piece in self.plan.evaluations.items():
                stands_on = [training.signature for training in piece.stands_on]
                if signature in stands_on and self.states[name] == "waiting":
                    self.states[name] = "blocked"

    def stop(self) -> None:
        """Start nothing more."""
        self.stopping = True
