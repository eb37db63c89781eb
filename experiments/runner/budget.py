"""Decides whether a budget allows more work."""

from __future__ import annotations

import re
from dataclasses import dataclass

from experiments.errors import UserError
from experiments.runner.forecast import HOUR_S, Forecast

UNIT_S = {"m": 60.0, "h": HOUR_S, "d": 24 * HOUR_S}


def parse_hours(text: str) -> float:
    """Return a budget such as 40h, 90m, 2d or 1.5h in seconds. Raises UserError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([mhd]?)\s*", text.lower())
    if match is None or float(match[1]) == 0:
        raise UserError(f"--budget {text}: is not a length of time above 0; give for example 40h, 90m or 2d")
    if not match[2]:
        raise UserError(f"--budget {text}: has no unit; give {text.strip()}h for hours, or use m or d")
    return float(match[1]) * UNIT_S[match[2]]


@dataclass(frozen=True)
class Budget:
    """How many seconds of devices (of trials, where they have none) a run may take."""

    limit_s: float

    def refusal(self, spent_s: float) -> str | None:
        """Return why nothing more is started if this much would be spent, None where the budget allows it."""
        if spent_s <= self.limit_s:
            return None
        return (
            f"--budget {hours(self.limit_s)}: the next task would bring it to about {hours(spent_s)}; "
            "running tasks finish and nothing more starts; raise --budget to do the rest"
        )

    def require(self, estimate: Forecast) -> None:
        """Raise UserError where what is left takes more than that, as far as it has been measured."""
        if estimate.measured and estimate.gpu_hours * HOUR_S > self.limit_s:
            what = "GPU-hours" if estimate.on_gpus else "trial-hours"
            low, high = estimate.gpu_hours_span
            raise UserError(
                f"--budget {hours(self.limit_s)}: what is left takes about {estimate.gpu_hours:,.3g} {what} "
                f"({low:,.3g} to {high:,.3g}); raise --budget, or ask for less with --set"
            )


def hours(seconds: float) -> str:
    """Return seconds as a budget is given: 40h, 90m."""
    return f"{seconds / HOUR_S:,.3g}h" if seconds >= HOUR_S else f"{seconds / 60:,.2g}m"
