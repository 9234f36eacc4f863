"""layout.py: what fits, and what is done with what does not."""

from __future__ import annotations

import io
import math
import sys

import pytest

from rnnbptt.report.layout import WIDTH, add_row, bold, make_console, make_table, number


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_on(file: io.StringIO, columns: int, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", file)
    table = make_table("", "first", "second")
    add_row(table, name, f"{1:,.3f}", "2", bold=True)
    add_row(table, "", f"{1234.5:,.3f}", "3" * 30)
    make_console().print(table)
    return file.getvalue()


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_numbers_are_never_cut_and_names_are_folded(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe always at the same width; on a terminal at its own, which may be less than there must be."""
    name = "n" * 100
    for file, width in ((io.StringIO(), WIDTH), (Terminal(), max(columns, WIDTH))):
        shown = shown_on(file, columns, name, monkeypatch).replace("\x1b[1m", "").replace("\x1b[0m", "")
        lines = shown.splitlines()
        assert max(map(len, lines)) <= width
        assert "".join(line.split(" ")[0] for line in lines) == name
        assert "3" * 30 in shown
        whole = [line for line in lines if "1.000" in line or "1,234.500" in line]
        assert len({line.index(".") for line in whole}) == 1


def test_what_stands_out_does_so_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1mname" in shown_on(Terminal(), 80, "name", monkeypatch)
    assert "\x1b" not in shown_on(io.StringIO(), 80, "name", monkeypatch)
    assert bold("a\x1bb").plain == r"a\x1bb"


def test_no_number_is_a_dash() -> None:
    assert (number(math.nan, ".2f"), number(1.5, ".2f"), number(math.inf, ".2f")) == ("-", "1.50", "inf")
