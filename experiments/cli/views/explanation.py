"""What a cell depends on, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.inspection.explain import Explanation


def explanation_lines(found: Explanation) -> Iterator[str]:
    """An explanation in sentences."""
    yield f"{found.work.name}{f' of {found.work.sweep}' if found.work.sweep else ''}"
    width = max(len(step.what) for step in found.steps)
    for step in found.steps:
        told = " ".join(filter(None, [step.standing.why, f"on {step.standing.where}" if step.standing.where else ""]))
        yield f"  {step.what:<{width}}  {step.signature}  {step.standing.state}{f': {told}' if told else ''}"
        if step.remark:
            yield f"  {'':<{width}}  {step.remark}"
    undone = [step.what for step in found.undone]
    yield f"To do: {', '.join(undone)}." if undone else "Nothing is left to do for it."
