"""probe_tables.py: what `probe` says in words, and tables that fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from rnnbptt.report.probe_tables import conclusion, show_checks, show_probe
from rnnbptt.study.probe.checking import Check
from rnnbptt.study.probe.concluding import conclude
from rnnbptt.study.probe.results import Probe, Staleness
from support.findings import a_probe


def sentences(**changes: Any) -> list[str]:
    probe = a_probe()
    return conclusion(replace(probe, conclusion=replace(probe.conclusion, **changes)))


def test_a_conclusion_in_three_sentences() -> None:
    assert sentences() == [
        "No truncation K up to 8 brings the gradient within 5 % of the full one: 8 comes nearest, with a relative bias"
        " of 10 %.",
        "The model uses 8 characters of what it has read, or more: the last of them still gain 0.01 bits per character"
        " or more; a larger --depth shows where that ends.",
        "The state that training carries along is stale: it is off by 10 % from one that is read again with the weights"
        " of now; the weights move faster than it is renewed.",
    ]
    assert sentences(enough=4, bias=0.0371, memory=2, ends=True, carried="fresh", staleness=0.0012) == [
        "Truncation 4 is enough for a gradient within 5 % of the full one: its relative bias is 3.71 %.",
        "The model uses about 2 characters of what it has read: more context gains less than 0.01 bits per character.",
        "The state that training carries along is in order: it is off by 0.12 % from one that is read again with the"
        " weights of now.",
    ]
    assert sentences(memory=1, ends=True)[1].startswith("The model uses about 1 character of what")
    assert sentences(carried="handed on")[2] == (
        "The state that training carries along is handed from stream to stream: it is off by 10 % from one that is"
        " read again with the weights of now."
    )
    assert sentences(carried="unsettled")[2].endswith(
        "may be stale or not: it is off by 10 % from one that is read again with the weights of now, but the model"
        " remembers more than the 32 characters of that; a larger --depth can tell."
    )
    assert sentences(carried="unknown")[2] == (
        "The state that training carries along cannot be judged: this checkpoint has read no text yet."
    )


def without_gradient() -> Probe:
    """As of one symbol alone: every norm is 0, and every quotient 0 / 0."""
    probe = a_probe()
    nothing = tuple(
        replace(found, cosine=dict.fromkeys(found.cosine, math.nan), bias=dict.fromkeys(found.bias, math.nan))
        for found in probe.gradients
    )
    drawn = conclude(nothing, probe.contexts, probe.staleness)
    fading = replace(probe.fading, norms=(0.0,) * 9, beta=math.nan, fitted=(0, 0), half_life=math.nan)
    return replace(probe, gradients=nothing, fading=fading, conclusion=drawn)


def test_a_text_without_any_gradient_is_named_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    show_probe(without_gradient(), full=False)
    assert " ".join(capsys.readouterr().out.split("\n\n")[1].split()) == (
        "There is no gradient: this text leaves nothing to predict, so no truncation can be told from another."
    )
    show_probe(without_gradient(), full=True)
    shown = capsys.readouterr().out
    assert "nan" not in shown
    assert "too few norms to fit a decay on" in shown


def test_one_table_and_the_conclusion(capsys: pytest.CaptureFixture[str]) -> None:
    show_probe(a_probe(), full=False)
    head, table, words = capsys.readouterr().out.split("\n\n")
    assert head == "runs/one/best.safetensors (lstm, trunc 4)\n2 streams x 8 characters of held-out text, float32"
    assert table.splitlines()[0].split() == ["trunc", "cosine", "relative", "bias"]
    assert table.splitlines()[4].split() == ["8", "0.9000", "0.1000"]
    assert len(table.splitlines()) == 1 + len(a_probe().gradients)
    assert " ".join(words.split()) == " ".join(conclusion(a_probe()))


def test_all_tables_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """However many truncations were measured; those that find no room stand below."""
    show_probe(replace(a_probe(), staleness=(Staleness(0, 1.5, 12.3456, math.nan),)), full=True)
    show_checks([Check("rnn.weight_ih_l10", (1023, 1023), -0.12, -0.12, -0.12, 1e-15, 1e-9)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for title in ("cosine", "relative bias"):
        heads = [line.removeprefix(title).split() for line in lines if line.startswith(title + "  ")]
        assert [trunc for head in heads for trunc in head] == [found.trunc for found in a_probe().gradients]
        assert len(heads) > 1
    assert ["layer", "0", "150.00%", "1234.56%", "-"] in [line.split() for line in lines]
    assert "rnn.weight_ih_l10[1023, 1023]  -0.120000000000" in "\n".join(lines)
