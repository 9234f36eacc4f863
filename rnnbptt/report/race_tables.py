"""What a race has found, on standard output."""

import rich.table

from rnnbptt.report.layout import add_row, make_console, make_table
from rnnbptt.report.outlets import printing
from rnnbptt.report.page import Table
from rnnbptt.report.race_words import sentences, tables
from rnnbptt.report.terminal import shown
from rnnbptt.study.race.results import RaceResult


@printing
def show_race(result: RaceResult) -> None:
    """The tables, and the answer below them, where the eye is."""
    console = make_console()
    for table in tables(result):
        console.print(_drawn(table))
        console.print(shown(table.note) + "\n" if table.note else "")
    for sentence in sentences(result):
        console.print(shown(sentence))


def _drawn(table: Table) -> rich.table.Table:
    """As all tables on a terminal look: the first column names the rows, below its title."""
    drawn = make_table(table.title, *table.columns[1:])
    for row in table.rows:
        add_row(drawn, *row)
    return drawn
