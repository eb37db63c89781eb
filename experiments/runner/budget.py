"""Decides whether a budget allows more work."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.errors import UserError
from experiments.runner.forecast import Forecast
from experiments.wording import HOUR_S


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
