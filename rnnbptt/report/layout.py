"""How what is printed is laid out: tables that fit 80 columns, on a terminal as in a file or a pipe."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnnbptt.report.terminal import shown

WIDTH = 80  # characters of a line
GAP = 2  # between columns


class _Console(Console):
    """What tables are printed with. A closed pipe is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Where rich would end the program."""
        raise


def make_console() -> Console:
    """As wide as the terminal; where that is narrower than tables may be, it wraps them, and nothing is cut."""
    console = _Console(highlight=False, markup=False, emoji=False)  # what is printed may come from anybody's file
    console.width = max(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def make_table(*columns: str) -> Table:
    """A table whose first column is text, which is folded where it is too long, and whose others are numbers."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    first, *others = map(shown, columns)
    table.add_column(first, overflow="fold")
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def add_row(table: Table, *cells: str, bold: bool = False) -> None:
    """A row of it, which may stand out."""
    table.add_row(*map(shown, cells), style="bold" if bold else None)


def bold(text: str) -> Text:
    """What stands out on a terminal."""
    return Text(shown(text), "bold")


def number(value: float, form: str) -> str:
    """The value in this format; a dash where there is none."""
    return "-" if math.isnan(value) else format(value, form)
