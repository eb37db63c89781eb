"""Lines and tables below one another, in full or as much of them as a screen has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from experiments.cli.views.tables import Block, Section, TextTable
from reports.grid import wrap

ALWAYS = -1  # rank of lines outside tables, which come before any row


class Page:
    """Lines and tables below one another; a blank line comes before each table but one at the top.

    fits_screen: leave out what the terminal is too short for, rows of the highest rank first, and say how much that
    is. Otherwise everything is shown.
    """

    def __init__(self, *parts: TextTable | Text, fits_screen: bool = False) -> None:
        self.parts, self.fits_screen = parts, fits_screen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        sections = self._sections(options.max_width)
        for section in _fitted(sections, *options.size) if self.fits_screen else sections:
            yield from section.lines

    def _sections(self, width: int) -> list[Section]:
        sections: list[Section] = []
        for part in self.parts:
            if isinstance(part, Text):
                sections.append(_section(part, width))
                continue
            section = part.section(width)
            sections.append(replace(section, head=[Text(), *section.head]) if sections else section)
        return sections


def _section(text: Text, width: int) -> Section:
    return Section([], [Block([Text(line, text.style) for line in wrap(text.plain, width)], ALWAYS)])


def _fitted(sections: Sequence[Section], width: int, height: int) -> Sequence[Section]:
    """Return the rows that a screen has room for, in their order, and a line on the rest."""
    total = sum(len(list(section.lines)) for section in sections)
    if total <= height:
        return sections
    room = height - len(_remark(total, width))
    kept = [set[int]() for _ in sections]
    order = [(block.rank, i, j) for i, section in enumerate(sections) for j, block in enumerate(section.blocks)]
    for _, i, j in sorted(order):
        room -= len(sections[i].blocks[j].lines) + (0 if kept[i] else len(sections[i].head))
        if room < 0:
            break
        kept[i].add(j)
    shown = [
        Section(section.head, [block for j, block in enumerate(section.blocks) if j in own])
        for section, own in zip(sections, kept, strict=True)
        if own
    ]
    left_out = total - sum(len(list(section.lines)) for section in shown)
    return [*shown, Section(_remark(left_out, width), [])]


def _remark(left_out: int, width: int) -> list[Text]:
    text = f"... and {left_out:,} more lines; enlarge the terminal to see them"
    return [Text(line, "dim") for line in wrap(text, width)]
