"""What is shown on a terminal cannot steer it."""

from __future__ import annotations

import io
import sys

import pytest

from rnnbptt.report.terminal import as_read, escaped, shown, visible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_escaped_is_one_line_that_python_could_read() -> None:
    assert escaped("a\nb\r\t\x1b[31m\x9b\u2028\u202e\udcff 'é' \\ 漢") == (
        r"a\nb\r\t\x1b[31m\x9b\u2028\u202e\udcff 'é' " + "\\ 漢"
    )


@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf-8", "é漢 a\\n"), ("latin-1", "é\\u6f22 a\\n"), ("ascii", "\\xe9\\u6f22 a\\n")]
)
def test_what_the_encoding_of_standard_output_lacks_is_escaped(
    encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert shown("é漢 a\n") == expected


def test_visible_keeps_newlines_and_tabs() -> None:
    assert visible("a\n\tb\0\x1b[31m\r\x7f\x9bé漢\udcff") == "a\n\tb␀␛[31m␍␡␦é漢\ufffd"


def test_a_file_gets_the_text_as_it_is_but_for_bytes_that_are_none() -> None:
    assert as_read("a\x1b\udcff", Terminal()) == "a␛\ufffd"
    assert as_read("a\x1b\udcff", io.StringIO()) == "a\x1b\ufffd"
