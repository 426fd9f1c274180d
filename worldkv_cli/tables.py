"""Tables on stdout: with lines on a terminal, plain columns in a pipe."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from worldkv_cli.console import wants_colour


@dataclass(frozen=True)
class Table:
    """Rows of text under a title.

    Attributes:
        title: What it shows.
        head: Names of the columns.
        rows: Cells.
        words: Columns of words, which begin at the left; numbers end at the right.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = (0,)


def print_table(table: Table) -> None:
    """Print a table on stdout."""
    if not sys.stdout.isatty():
        sys.stdout.write(plain_table(table))
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(title=table.title, title_justify="left", title_style="bold", header_style="dim")
    for number, column in enumerate(table.head):
        drawn.add_column(column, justify="left" if number in table.words else "right")
    for row in table.rows:
        drawn.add_row(*row)
    Console(highlight=False, markup=False, no_color=not wants_colour(sys.stdout)).print(drawn)


def plain_table(table: Table) -> str:
    """The table as text, two spaces between columns."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    told = f"{table.title}\n"
    for line in lines:
        cells = [
            text.ljust(width) if i in table.words else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        told += "  ".join(cells).rstrip() + "\n"
    return told
