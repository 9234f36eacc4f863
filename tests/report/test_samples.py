"""Samples on a terminal, which they cannot steer, and in a pipe, which gets them as they are."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from rnnbptt.report.samples import show_sample, show_samples, stream

CAFE = "é\udcc3\x1b"  # é, the first byte of another one, and an escape


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def written(monkeypatch: pytest.MonkeyPatch, kind: type[io.TextIOWrapper], show: Any, *arguments: Any) -> bytes:
    """What arrives at standard output."""
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", kind(file, "utf-8"))
    show(*arguments)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "unit", "raw", "expected"),
    [
        (Terminal, "byte", False, "é\ufffd␛".encode()),
        (Terminal, "byte", True, b"\xc3\xa9\xc3\x1b"),
        (io.TextIOWrapper, "byte", False, b"\xc3\xa9\xc3\x1b"),
        (io.TextIOWrapper, "byte", True, b"\xc3\xa9\xc3\x1b"),
        (Terminal, "char", False, "é␛".encode()),
        (Terminal, "char", True, "é\x1b".encode()),
        (io.TextIOWrapper, "char", False, "é\x1b".encode()),
        (io.TextIOWrapper, "char", True, "é\x1b".encode()),
    ],
)
def test_a_terminal_is_not_steered_and_a_pipe_gets_the_text_as_it_is(
    kind: type[io.TextIOWrapper], unit: str, raw: bool, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CAFE if unit == "byte" else CAFE.replace("\udcc3", "")
    assert written(monkeypatch, kind, stream, text, [*text], unit, raw) == 2 * expected + b"\n"
    one = 2 * expected
    assert written(monkeypatch, kind, show_samples, text, [text] * 2, unit, raw) == one + b"\n\n" + one + b"\n"


def test_a_sample_below_its_title_is_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = written(monkeypatch, io.TextIOWrapper, show_sample, "run\n (1)", CAFE, ["a", CAFE])
    assert shown.decode() == "\n--- run\\n (1)\né\ufffd\x1baé\ufffd\x1b\n"
