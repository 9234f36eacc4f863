"""What is shown on a terminal cannot steer it."""

from __future__ import annotations

import io
import sys

import pytest

from rnnbptt.report.tables import show_samples, stream
from rnnbptt.report.terminal import as_read, escaped, visible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_escaped_is_one_line_that_python_could_read() -> None:
    assert escaped("a\nb\r\t\x1b[31m\x9b\u2028\u202e\udcff 'é' \\ 漢") == (
        r"a\nb\r\t\x1b[31m\x9b\u2028\u202e\udcff 'é' " + "\\ 漢"
    )


def test_visible_keeps_newlines_and_tabs() -> None:
    assert visible("a\n\tb\0\x1b[31m\r\x7f\x9bé漢") == "a\n\tb␀␛[31m␍␡␦é漢"


def test_a_terminal_is_not_steered_and_a_pipe_gets_the_text_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for file, shown in ((Terminal(), "a␛b␛[0mc"), (io.StringIO(), "a\x1bb\x1b[0mc")):
        assert as_read("\x1b", file) == shown[1]
        monkeypatch.setattr(sys, "stdout", file)
        stream("a\x1b", ["b\x1b", "[0mc"])
        show_samples("a\x1b", ["b\x1b[0mc"] * 2)
        assert file.getvalue() == f"{shown}\n{shown}\n\n{shown}\n"
