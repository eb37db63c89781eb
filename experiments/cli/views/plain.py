"""Lines on progress for a log or a terminal that cannot redraw."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from experiments.cli.output import PLAIN_PERIOD_S


class PlainLines:
    """Prints a line whenever something changes, else a summary once in a period, and never the line before again."""

    def __init__(self, console: Console, period_s: float = PLAIN_PERIOD_S) -> None:
        self._console, self._period_s = console, period_s
        self._last, self._summed_up = "", time.monotonic()

    def say(self, text: str) -> None:
        """Print a line, unless it is the one before."""
        if text == self._last:
            return
        self._last = text
        self._console.print(Text(text), soft_wrap=True)

    def sum_up(self, text: Callable[[], str]) -> None:
        """Print the line that `text` returns if the last summary is a period ago."""
        now = time.monotonic()
        if now - self._summed_up < self._period_s:
            return
        self._summed_up = now
        self.say(text())
