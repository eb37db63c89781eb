"""What a cell depends on, and what is left to do."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from experiments.cli.views.status import STYLES
from experiments.cli.views.tables import TextTable, sentences, values
from experiments.inspection.explain import Explanation


def explanation_view(found: Explanation) -> Group:
    """Return a row for each thing that a cell depends on, and a sentence on what is left."""
    sweep = f", a {'cell' if found.work.evaluation else 'training'} of {found.work.sweep}" if found.work.sweep else ""
    table = TextTable(*values("needs", "signature", "state"), *sentences(""))
    for step in found.steps:
        place = f"on {step.status.where}" if step.status.where else ""
        note = "; ".join(filter(None, [step.status.note, place, step.remark]))
        state = Text(step.status.state, STYLES.get(step.status.state, ""))
        table.add(step.what, step.signature, state, note)
    undone = ", ".join(step.what for step in found.undone)
    last = f"Left to do: {undone}." if undone else "Nothing is left to do."
    return Group(Text(f"{found.work.name}{sweep}"), Text(), table, Text(), Text(last))
