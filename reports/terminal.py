"""Lays out a result table as text for a terminal of any width, without cutting or leaving out a number.

A table that is too wide is shown in the first of these forms that fits: intervals below their values; several tables
that repeat the row heads; the same with row heads broken at punctuation; one paragraph for each row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from rich.console import Group
from rich.text import Text

from reports.entries import NO_NUMBER, TIED_MARK, TableEntry
from reports.grid import GAP, BreakLevel, Grid, GridCell, GridColumn, wrap
from reports.heads import ColumnHead
from reports.table import ResultTable

BEST_MARK = "*"  # visible without colours, too
MIN_WIDTH = 20
INDENT = 2
EXPLANATIONS: tuple[tuple[str, Callable[[TableEntry], bool]], ...] = (
    ("±: half of the 95% interval.", lambda entry: bool(entry.margin)),
    ("s: standard deviation over seeds.", lambda entry: entry.std is not None),
    (f"{BEST_MARK}: significantly better than every other entry of its column.", lambda entry: entry.is_best),
    (
        f"{TIED_MARK}: the best of its column, or not significantly different from the best.",
        lambda entry: entry.is_tied,
    ),
)


def to_rich(table: ResultTable, width: int) -> Group:
    """Lay a table out for a terminal with `width` columns."""
    width = max(width, MIN_WIDTH)
    title = _paragraph(f"{table.heading} ({table.label})", width, "bold")
    explanation = " ".join(text for text, applies in EXPLANATIONS if any(map(applies, table.entries)))
    sentences = ((explanation,) if explanation else (), *table.blocks_below)
    below = [_block(lines, width) for lines in sentences if lines]
    caption = [_paragraph(table.caption, width, "")] if table.caption else []
    blocks = [*_blocks(table, width), *below]
    return Group(title, *caption, *(part for block in blocks for part in (Text(), block)))


def _block(lines: Sequence[str], width: int) -> Text:
    """A first line, and the others as a list below it."""
    first, *others = lines
    listed = [f"  {part}" for line in others for part in wrap(line, width - INDENT)]
    return Text("\n".join([*wrap(first, width), *listed]), style="dim", no_wrap=True, overflow="ignore")


def _paragraph(text: str, width: int, style: str) -> Text:
    return Text("\n".join(wrap(text, width)), style=style, no_wrap=True, overflow="ignore")


def _blocks(table: ResultTable, width: int) -> list[Text]:
    """The table as one block of text, or as several if it is too wide for one."""
    whole, broken = (_tables(table, width, level) for level in (BreakLevel.WORDS, BreakLevel.PIECES))
    if whole and broken:
        return broken if 2 * len(broken) < len(whole) else whole
    return whole or broken or list(_row_paragraphs(table, width))


def _tables(table: ResultTable, width: int, level: BreakLevel) -> list[Text]:
    """The table in one or several grids; empty if not even a single column of numbers fits."""
    inline, stacked = _grid(table, stacked=False), _grid(table, stacked=True)
    for grid in (inline, stacked):
        text = grid.render(width, level)
        if text is not None:
            return [text]
    pairs = zip(inline.numbers, stacked.numbers, strict=True)
    numbers = [wide if inline.fits([wide], width, level) else narrow for wide, narrow in pairs]
    if not numbers or not all(inline.fits([column], width, level) for column in numbers):
        return []
    return _split(replace(inline, numbers=tuple(numbers)), table.heads, width, level)


# grids --------------------------------------------------------------------------------------------


def _grid(table: ResultTable, stacked: bool) -> Grid:
    names = [
        GridColumn((head,), tuple(GridCell((row[i],), wraps=True) for row, _ in table.rows))
        for i, head in enumerate(table.row_heads)
    ]
    numbers = [
        _number_column(head, table.columns[i], [row.entries[i] for row in table.baselines], stacked)
        for i, head in enumerate(table.heads)
    ]
    return Grid(tuple(names), tuple(numbers), tuple(row.title for row in table.baselines))


def _number_column(
    head: ColumnHead, entries: Sequence[TableEntry], baselines: Sequence[TableEntry], stacked: bool
) -> GridColumn:
    with_lines = [e for e in entries if not e.replacement] + [e for e in baselines if e.mean is not None]
    lines = iter(_stacked_lines(with_lines) if stacked else _inline_lines(with_lines))
    cells = [
        GridCell((entry.replacement,), wraps=True)
        if entry.replacement
        else GridCell(next(lines), "bold green" if entry.is_best else "", _mark(entry))
        for entry in entries
    ]
    cells += [GridCell(next(lines) if entry.mean is not None else ()) for entry in baselines]
    title = tuple(filter(None, (", ".join(head.axis_values), head.metric_title)))
    return GridColumn(title, tuple(cells), is_number=True, mark_width=2 if any(entry.mark for entry in entries) else 0)


def _mark(entry: TableEntry) -> str:
    return BEST_MARK if entry.is_best else TIED_MARK if entry.is_tied else ""


def _inline_lines(entries: Sequence[TableEntry]) -> list[tuple[str, ...]]:
    """Each entry in one line, with the digits of all values below one another."""
    values = [entry.value or NO_NUMBER for entry in entries]
    details = [entry.text.removeprefix(value) for entry, value in zip(entries, values, strict=True)]
    widths = [max(map(len, texts), default=0) for texts in (values, details)]
    return [(v.rjust(widths[0]) + d.ljust(widths[1]),) for v, d in zip(values, details, strict=True)]


def _stacked_lines(entries: Sequence[TableEntry]) -> list[tuple[str, ...]]:
    """Each entry as its value, its interval and its remarks, one below the other."""
    return [_stack(entry) if entry.mean is not None else (NO_NUMBER,) for entry in entries]


def _stack(entry: TableEntry) -> tuple[str, ...]:
    lines = (entry.value + entry.unit, entry.interval, *(f"({remark})" for remark in entry.remarks))
    return tuple(filter(None, lines))


def _split(grid: Grid, heads: Sequence[ColumnHead], width: int, level: BreakLevel) -> list[Text]:
    """The grid as the fewest grids that fit, each of about equally many columns; every single column has to fit.

    Columns of the same axis values stay together if they fit.
    """

    def fits(part: Sequence[int]) -> bool:
        return grid.fits([grid.numbers[i] for i in part], width, level)

    units: list[list[int]] = []
    for _, group in itertools.groupby(range(len(heads)), key=lambda i: heads[i].axis_values):
        members = list(group)
        is_unit = len(heads[members[0]].axis_values) > 0 and fits(members)
        units += [members] if is_unit else [[i] for i in members]
    greedy: list[list[int]] = []
    for unit in units:
        if greedy and fits(greedy[-1] + unit):
            greedy[-1] += unit
        else:
            greedy.append(list(unit))
    even = _even_parts(units, len(greedy))
    grids = [
        replace(grid, numbers=tuple(grid.numbers[i] for i in part))
        for part in (even if all(map(fits, even)) else greedy)
    ]
    return [text for part in grids if (text := part.render(width, level)) is not None]


def _even_parts(units: Sequence[list[int]], count: int) -> list[list[int]]:
    """The units in `count` runs of about equal length, each as one list."""
    ends = [round(len(units) * i / count) for i in range(count + 1)]
    return [[i for unit in units[start:end] for i in unit] for start, end in itertools.pairwise(ends)]


# paragraphs ---------------------------------------------------------------------------------------


def _row_paragraphs(table: ResultTable, width: int) -> Iterator[Text]:
    """Each row as its axis values and, below them, one line for each number."""
    for names, entries in table.rows:
        pairs = zip(table.row_heads, names, strict=True)
        title = ", ".join(f"{head}={name}" if head else name for head, name in pairs)
        yield _row_paragraph(title, table.heads, entries, width)
    for row in table.baselines:
        yield _row_paragraph(row.title, table.heads, row.entries, width, style="dim")


def _row_paragraph(
    title: str, heads: Sequence[ColumnHead], entries: Sequence[TableEntry], width: int, style: str = ""
) -> Text:
    numbers = [
        (head.text, f"{entry.text} {_mark(entry)}".rstrip(), entry.is_best)
        for head, entry in zip(heads, entries, strict=True)
        if entry.mean is not None or not style
    ]
    indent, heads_width = " " * INDENT, max((len(head) for head, _, _ in numbers), default=0)
    in_one_line = all(INDENT + heads_width + GAP + len(number) <= width for _, number, _ in numbers)
    text = Text("\n".join(wrap(title, width)), style=style or "bold", no_wrap=True, overflow="ignore")
    for head, number, is_best in numbers:
        if in_one_line:
            lines = [f"{head:<{heads_width + GAP}}{number}"]
        else:
            lines = [*wrap(head, width - INDENT), *(indent + line for line in wrap(number, width - 2 * INDENT))]
        text.append("".join(f"\n{indent}{line}" for line in lines), style="bold green" if is_best else "not bold")
    return text
