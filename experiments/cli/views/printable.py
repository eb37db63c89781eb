"""Shows text from stores and bundles without letting it control the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from experiments.wording import printable


class PrintableText(RenderHook):
    """Writes out the control characters in whatever a console prints; colours are rich's own and stay."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what a console is to print, each wrapped so that its text is printable."""
        return [_Printable(each) for each in renderables]


class _Printable:
    def __init__(self, content: ConsoleRenderable) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self.content, options):
            yield Segment(text if control else printable(text, keep="\n\t"), style, control)
