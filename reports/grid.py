"""Lays out columns of text side by side in a given width, without cutting any of them. Knows nothing of results."""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rich.cells import cell_len, chop_cells
from rich.text import Text

GAP = 2  # blanks between columns
MAX_SENTENCE_WIDTH = 24  # to which a column of numbers grows for a sentence in it, if there is room
WORD_ENDS = re.compile(r"(?<=\s)(?=\S)")
PIECE_ENDS = re.compile(r"(?<=\s)(?=\S)|(?<=[/,_=:])(?![\s/,_=:]|s$)|(?<=-)(?=[A-Za-z])")  # not in "images/s"


class BreakLevel(enum.IntEnum):
    """How texts may be broken to make a column narrower; numbers are never broken."""

    PIECES = 0  # heads and row names after punctuation
    WORDS = 1  # heads between words, row names not at all
    WHOLE = 2  # nothing but long sentences


@dataclass(frozen=True)
class GridCell:
    """Lines of text that stay whole unless `wraps`. The mark stands to the right of the first one."""

    lines: tuple[str, ...]
    style: str = ""
    mark: str = ""
    wraps: bool = False


@dataclass(frozen=True)
class GridColumn:
    """A column of names, aligned left, or of numbers, aligned right, below a head of one or more paragraphs.

    mark_width: blanks to the right of its numbers, for marks.
    """

    head: tuple[str, ...]
    cells: tuple[GridCell, ...]
    is_number: bool = False
    mark_width: int = 0

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """The width that the column needs at each level."""
        return tuple(self._needed(level) for level in BreakLevel)

    def _needed(self, level: BreakLevel) -> int:
        fixed = [cell_len(line) for cell in self.cells if not cell.wraps for line in cell.lines]
        texts = [line for cell in self.cells if cell.wraps for line in cell.lines]
        measure = self._measure_sentence if self.is_number else _measure_name
        flexible = [_measure_head(text, level) for text in self.head] + [measure(text, level) for text in texts]
        return max((*fixed, *flexible), default=0) + self.mark_width

    @staticmethod
    def _measure_sentence(text: str, level: BreakLevel) -> int:
        longest = longest_piece(text, WORD_ENDS)
        return max(longest, min(cell_len(text), MAX_SENTENCE_WIDTH)) if level is BreakLevel.WHOLE else longest

    def align(self, lines: Sequence[str], width: int, mark: str = "") -> list[str]:
        """Align the lines of a cell in a column of this width, with a mark after the first one."""
        if not self.is_number:
            return list(lines)
        marks = itertools.chain((f" {mark}" if mark else "",), itertools.repeat(""))
        blanks = [width - self.mark_width - cell_len(line) for line in lines]
        return [" " * blank + line + end for blank, line, end in zip(blanks, lines, marks, strict=False)]

    def head_lines(self, width: int) -> list[str]:
        """Return the head's lines in a column of this width."""
        lines = [line for text in self.head for line in wrap(text, width - self.mark_width)]
        return self.align(lines, width)

    def width_for_head(self, height: int, least: int) -> int:
        """Return the smallest width, from `least` on, in which the head has so few lines; else that of all of it."""
        whole = max(map(cell_len, self.head)) + self.mark_width
        return next(
            (width for width in range(least, whole) if len(self.head_lines(width)) <= height), max(least, whole)
        )

    def cell_lines(self, row: int, width: int) -> list[str]:
        """Return a cell's lines in a column of this width."""
        cell, room = self.cells[row], width - self.mark_width
        lines = [part for line in cell.lines for part in wrap(line, room)] if cell.wraps else list(cell.lines)
        return self.align(lines, width, cell.mark)


@dataclass(frozen=True)
class Grid:
    """Columns of names, columns of numbers, and last rows whose titles span the columns of names."""

    names: tuple[GridColumn, ...]
    numbers: tuple[GridColumn, ...]
    last_titles: tuple[str, ...] = ()

    def fits(self, numbers: Sequence[GridColumn], width: int, level: BreakLevel) -> bool:
        """Return whether the grid would fit with these columns of numbers instead of its own."""
        return replace(self, numbers=tuple(numbers)).spare(width, level) >= 0

    def spare(self, width: int, level: BreakLevel) -> int:
        """Return how much of `width` is left over at this level; negative where it is not enough."""
        widths = [need[level] for need in self._needs()]
        return width - sum(widths) - GAP * (len(widths) - 1)

    def fit(self, width: int, level: BreakLevel) -> list[int] | None:
        """Return the width of every column if `width` is enough at this level, with spare room given to texts.

        It goes first to the columns whose heads have the most lines.
        """
        spare, needs = self.spare(width, level), self._needs()
        if spare < 0:
            return None
        widths = self._with_low_heads([need[level] for need in needs], spare)
        spare -= sum(widths) - sum(need[level] for need in needs)
        for next_level in range(level + 1, len(BreakLevel)):
            missing = {i: need[next_level] - widths[i] for i, need in enumerate(needs)}
            for i in sorted(missing, key=missing.__getitem__):
                if 0 < missing[i] <= spare:
                    widths[i] += missing[i]
                    spare -= missing[i]
        if level is BreakLevel.PIECES:  # names are still broken: whatever is left makes the longest ones shorter
            longest = max(range(len(self.names)), key=lambda i: needs[i][BreakLevel.WORDS] - widths[i])
            widths[longest] += max(0, min(spare, needs[longest][BreakLevel.WORDS] - widths[longest]))
        return widths

    def _with_low_heads(self, widths: list[int], spare: int) -> list[int]:
        """The columns, wider by at most `spare` together, so that the tallest head has the fewest lines."""
        columns = (*self.names, *self.numbers)
        tallest = max(len(column.head_lines(width)) for column, width in zip(columns, widths, strict=True))
        for height in range(1, tallest):
            wider = [column.width_for_head(height, least) for column, least in zip(columns, widths, strict=True)]
            if sum(wider) - sum(widths) <= spare:
                return wider
        return widths

    def _needs(self) -> list[tuple[int, ...]]:
        """What every column needs at each level; the last one of names makes room for titles that span all names."""
        *others, last = [column.widths for column in self.names]
        titles = [
            max((_measure_head(text, max(level, BreakLevel.WORDS)) for text in self.last_titles), default=0)
            for level in BreakLevel
        ]
        room = [title - sum(need[level] + GAP for need in others) for level, title in enumerate(titles)]
        return [*others, tuple(map(max, last, room)), *(column.widths for column in self.numbers)]

    def render(self, width: int, level: BreakLevel) -> Text | None:
        """Return the grid as lines of text, or None if it does not fit."""
        widths = self.fit(width, level)
        if widths is None:
            return None
        columns = (*self.names, *self.numbers)
        starts = [sum(widths[:i]) + GAP * i for i in range(len(columns))]
        lines = [_lay_out([c.head_lines(w) for c, w in zip(columns, widths, strict=True)], starts, "bold", bottom=True)]
        lines += [self._row(row, widths, starts) for row in range(len(self.names[0].cells))]
        shown = [i for i in range(len(self.last_titles)) if self._has_last_row(i)]
        lines += [self._last_row(i, widths, starts) for i in shown]
        return Text("\n", no_wrap=True, overflow="ignore").join(line for block in lines for line in block)

    def _row(self, row: int, widths: Sequence[int], starts: Sequence[int]) -> list[Text]:
        columns = (*self.names, *self.numbers)
        lines = [column.cell_lines(row, width) for column, width in zip(columns, widths, strict=True)]
        return _lay_out(lines, starts, [column.cells[row].style for column in columns])

    def _has_last_row(self, index: int) -> bool:
        return any(column.cells[len(self.names[0].cells) + index].lines for column in self.numbers)

    def _last_row(self, index: int, widths: Sequence[int], starts: Sequence[int]) -> list[Text]:
        """One of the rows that only have cells in columns of numbers."""
        count = len(self.names)
        row = len(self.names[0].cells) + index
        title = wrap(self.last_titles[index], starts[count] - GAP if self.numbers else sum(widths))
        numbers = [column.cell_lines(row, width) for column, width in zip(self.numbers, widths[count:], strict=True)]
        return _lay_out([title, *numbers], [0, *starts[count:]], "dim")


def _lay_out(
    cells: Sequence[Sequence[str]], starts: Sequence[int], styles: str | Sequence[str], bottom: bool = False
) -> list[Text]:
    """Write cells of several lines side by side, each from its start."""
    height = max(map(len, cells))
    styles = [styles] * len(cells) if isinstance(styles, str) else styles
    lines: list[Text] = []
    for number in range(height):
        line = Text(no_wrap=True, overflow="ignore")
        for cell, start, style in zip(cells, starts, styles, strict=True):
            i = number - (height - len(cell) if bottom else 0)
            if 0 <= i < len(cell) and cell[i].strip():
                line.append(" " * (start - line.cell_len))
                line.append(cell[i].rstrip(), style=style)
        lines.append(line)
    return lines


def wrap(text: str, width: int) -> list[str]:
    """Break a text into lines between words, or else after punctuation, or inside words if nothing else is possible."""
    pieces: list[str] = []
    for word in WORD_ENDS.split(text):
        pieces += [word] if cell_len(word.rstrip()) <= width else PIECE_ENDS.split(word)
    return list(_join([part for piece in pieces for part in _chop(piece, width)], width))


def _chop(piece: str, width: int) -> list[str]:
    return [piece] if cell_len(piece.rstrip()) <= width else chop_cells(piece.rstrip(), width)


def _join(pieces: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for piece in pieces:
        if line and cell_len((line + piece).rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += piece
    yield line.rstrip()


def longest_piece(text: str, ends: re.Pattern[str]) -> int:
    """Return the width of the longest of the pieces between which a text may be broken."""
    return max(cell_len(piece.rstrip()) for piece in ends.split(text))


def _measure_head(text: str, level: int) -> int:
    if level == BreakLevel.WHOLE:
        return cell_len(text)
    return longest_piece(text, WORD_ENDS if level == BreakLevel.WORDS else PIECE_ENDS)


def _measure_name(text: str, level: BreakLevel) -> int:
    return longest_piece(text, PIECE_ENDS) if level is BreakLevel.PIECES else cell_len(text)
