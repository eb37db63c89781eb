"""Tables for a terminal of any width: nothing in them is ever cut or left out.

A table that is too wide is shown in the first of these forms that fits: each row in one line; the same, with the parts
that all names share above the table; each name in a line of its own; each value in a line of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from reports.grid import PIECE_ENDS, longest_piece, wrap

Row = Sequence[Text]
Lines = list[Text]
LaidOut = tuple[Lines, list[Lines]]  # a table's head, and each row

GAP = "  "
MIN_SENTENCE_WIDTH = 30  # where a sentence would get less room, the table takes another form


@dataclass(frozen=True)
class TableColumn:
    """A column of a table. Numbers are aligned to the right, and only sentences are broken into lines.

    A decoration says nothing that other columns do not say, and is left out where it does not fit.
    """

    head: str
    kind: Literal["name", "value", "number", "sentence", "decoration"] = "value"

    def widths(self, cells: Sequence[Text]) -> tuple[int, int]:
        """Return the least and the most width that the column makes use of."""
        content = max((cell.cell_len for cell in cells), default=0)
        least = min(content, MIN_SENTENCE_WIDTH) if self.kind == "sentence" else content
        return max(least, longest_piece(self.head, PIECE_ENDS)), max(content, cell_len(self.head))

    def block(self, cell: Text, width: int) -> list[Text]:
        """Return the lines of a cell."""
        lines = _wrapped(cell, width) if self.kind == "sentence" else [cell]
        return [self.aligned(line, width) for line in lines]

    def aligned(self, line: Text, width: int) -> Text:
        """Move a line of a number to the right."""
        return Text(" " * (width - line.cell_len)) + line if self.kind == "number" else line


def name(head: str) -> TableColumn:
    """Return a column of names, of which the parts that all share may be shown once, above the table."""
    return TableColumn(head, "name")


def values(*heads: str) -> list[TableColumn]:
    """Return columns of values that are never broken."""
    return [TableColumn(head) for head in heads]


def numbers(*heads: str) -> list[TableColumn]:
    """Return columns of numbers, which are aligned to the right."""
    return [TableColumn(head, "number") for head in heads]


def sentences(*heads: str) -> list[TableColumn]:
    """Return columns of sentences, which are broken into lines if they are long."""
    return [TableColumn(head, "sentence") for head in heads]


def decorations(*heads: str) -> list[TableColumn]:
    """Return columns that repeat what others say, such as bars."""
    return [TableColumn(head, "decoration") for head in heads]


@dataclass(frozen=True)
class Block:
    """Lines that are shown together. rank: on a screen that is too small, blocks of the highest rank give way first."""

    lines: Lines
    rank: int = 0


@dataclass(frozen=True)
class Section:
    """A table as lines: those of its head, and a block for each row. Text outside tables has no head."""

    head: Lines
    blocks: list[Block]

    @property
    def lines(self) -> Iterator[Text]:
        """All lines, which rich must neither break nor cut."""
        for line in itertools.chain(self.head, *(block.lines for block in self.blocks)):
            line.no_wrap, line.overflow = True, "ignore"
            yield line


class TextTable:
    """Rows below heads; the first column has the rows' names. Columns that are empty are not shown.

    remark: a line below the table, such as how to see what it leaves out.
    """

    def __init__(self, *columns: TableColumn, remark: str = "") -> None:
        self.columns, self.remark = columns, remark
        self.rows: list[Row] = []
        self.ranks: list[int] = []

    def add(self, *cells: str | Text, rank: int = 0) -> None:
        """Add a row. rank: on a screen that is too small, rows of the highest rank give way first."""
        assert len(cells) == len(self.columns), f"{len(cells)} cells in {len(self.columns)} columns"
        self.rows.append([cell if isinstance(cell, Text) else Text(cell) for cell in cells])
        self.ranks.append(rank)

    def section(self, width: int) -> Section:
        """Return the table as lines of at most `width` columns."""
        head, rows = self._laid_out(width)
        blocks = [Block(lines, rank) for lines, rank in zip(rows, self.ranks, strict=True)]
        remark = [Text(line, "dim") for line in wrap(self.remark, width) if line]
        return Section(head, [*blocks, Block(remark, min(self.ranks, default=0))] if remark else blocks)

    def _laid_out(self, width: int) -> LaidOut:
        filled = [i for i in range(len(self.columns)) if i == 0 or any(row[i].plain for row in self.rows)]
        plain = [i for i in filled if self.columns[i].kind != "decoration"]
        for forms in ((_grid, _grid_of_short_names), (_stacked,)):
            for form, kept in itertools.product(forms, (filled, plain)):
                if (table := form(*self._only(kept), width)) is not None:
                    return table
        return _one_value_a_line(*self._only(plain), width)

    def _only(self, kept: Sequence[int]) -> tuple[list[TableColumn], list[Row]]:
        return [self.columns[i] for i in kept], [[row[i] for i in kept] for row in self.rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        yield from self.section(options.max_width).lines


class Paragraph:
    """A text beside its label, in as many lines of a terminal as it needs, and in one line of a file."""

    def __init__(self, label: Text, text: str, indent: int) -> None:
        self.label, self.text, self.indent = label, text, indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        start = self.label + Text(" " * (self.indent - self.label.cell_len))
        lines = wrap(self.text, options.max_width - self.indent) if console.is_terminal else [self.text]
        for line in lines:
            whole = start + line
            whole.no_wrap, whole.overflow = True, "ignore"
            yield whole
            start = Text(" " * self.indent)


# forms: None where the width is too little for one ------------------------------------------------


def _grid(columns: Sequence[TableColumn], rows: Sequence[Row], width: int) -> LaidOut | None:
    widths = _widths(columns, rows, width)
    if widths is None:
        return None
    return _head_lines(columns, widths), [_row_lines(columns, row, widths) for row in rows]


def _grid_of_short_names(columns: Sequence[TableColumn], rows: Sequence[Row], width: int) -> LaidOut | None:
    shared, names = split_names([row[0].plain for row in rows])
    if columns[0].kind != "name" or not shared:
        return None
    grid = _grid(columns, [[Text(name), *row[1:]] for name, row in zip(names, rows, strict=True)], width)
    return None if grid is None else ([*map(Text, wrap(f"all: {shared}", width)), *grid[0]], grid[1])


def _stacked(columns: Sequence[TableColumn], rows: Sequence[Row], width: int) -> LaidOut | None:
    grid = _grid(columns[1:], [row[1:] for row in rows], width - len(GAP))
    if grid is None:
        return None
    head, lines = grid
    below = [[*_wrapped(row[0], width), *_indented(own)] for row, own in zip(rows, lines, strict=True)]
    return [*_head_of_names(columns, width), *_indented(head)], below


def _one_value_a_line(columns: Sequence[TableColumn], rows: Sequence[Row], width: int) -> LaidOut:
    heads = max((cell_len(column.head) for column in columns[1:]), default=0)
    heads = heads if heads <= width // 3 else 0  # 0: each value below its head
    below: list[Lines] = []
    for row in rows:
        lines = _wrapped(row[0], width)
        for column, cell in zip(columns[1:], row[1:], strict=True):
            lines += _labelled(column.head, heads, cell, width) if cell.plain else []
        below.append(lines)
    return _head_of_names(columns, width), below


def _head_of_names(columns: Sequence[TableColumn], width: int) -> Lines:
    return [Text(line, "bold") for line in wrap(columns[0].head, width)]


def _indented(lines: Iterable[Text]) -> Lines:
    return [Text(GAP) + line for line in lines]


def _labelled(head: str, heads: int, cell: Text, width: int) -> Iterator[Text]:
    """A value after its head, which has `heads` columns, or below it if that is 0."""
    label = head + " " * (heads - cell_len(head))
    start = Text(GAP + (label + GAP if heads else GAP if head else ""))
    if head and not heads:
        yield from (Text(GAP + line) for line in wrap(head, width - len(GAP)))
    for line in _wrapped(cell, width - start.cell_len):
        yield start + line
        start = Text(" " * start.cell_len)


# lines --------------------------------------------------------------------------------------------


def _widths(columns: Sequence[TableColumn], rows: Sequence[Row], width: int) -> list[int] | None:
    """The width of every column, with spare room for those that can use it; None if there is too little."""
    ranges = [column.widths([row[i] for row in rows]) for i, column in enumerate(columns)]
    widths = [least for least, _ in ranges]
    spare = width - sum(widths) - len(GAP) * (len(columns) - 1)
    if spare < 0:
        return None
    for i, (least, most) in enumerate(ranges):
        more = min(spare, most - least)
        widths[i] += more
        spare -= more
    return widths


def _head_lines(columns: Sequence[TableColumn], widths: Sequence[int]) -> list[Text]:
    heads = [
        [column.aligned(Text(line, "bold"), width) for line in wrap(column.head, width)]
        for column, width in zip(columns, widths, strict=True)
    ]
    height = max(map(len, heads), default=0)
    return _side_by_side([[Text()] * (height - len(head)) + head for head in heads], widths)


def _row_lines(columns: Sequence[TableColumn], row: Row, widths: Sequence[int]) -> list[Text]:
    blocks = [column.block(cell, width) for column, cell, width in zip(columns, row, widths, strict=True)]
    return _side_by_side(blocks, widths)


def _side_by_side(blocks: Sequence[Sequence[Text]], widths: Sequence[int]) -> list[Text]:
    lines: list[Text] = []
    for parts in itertools.zip_longest(*blocks, fillvalue=Text()):
        line = Text()
        for part, start in zip(parts, itertools.accumulate((w + len(GAP) for w in widths), initial=0), strict=False):
            if part.plain:
                line = line + Text(" " * (start - line.cell_len)) + part
        line.rstrip()
        lines.append(line)
    return lines


def _wrapped(cell: Text, width: int) -> list[Text]:
    return [Text(line, cell.style) for line in wrap(cell.plain, width)]


def split_names(names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the parts that all names share, and each name without these; "" if there are none, or nothing else."""
    parts = [name.split("/") for name in names]
    if len(parts) < 2 or len(set(map(len, parts))) > 1:
        return "", list(names)
    is_shared = [len(set(values)) == 1 for values in zip(*parts, strict=True)]
    if all(is_shared) or not any(is_shared):
        return "", list(names)
    shared = itertools.compress(parts[0], is_shared)
    return "/".join(shared), ["/".join(p for p, s in zip(own, is_shared, strict=True) if not s) for own in parts]
