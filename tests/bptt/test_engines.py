"""Which engine computes a run, and what is said where it cannot be had."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rnnbptt.bptt import engines
from rnnbptt.bptt.engines import Choice, choose_engine, make_engine
from rnnbptt.model.config import ModelConfig
from rnnbptt.truncation.specs import parse_truncation
from support.networks import make_model
from support.refusals import message_of

REFUSED = "--engine compiled: computes in --precision float32, on --device cpu, --cell rnn, gru, lstm, elstm, mingru, "


def choice(name: str, trunc: str = "1", streams: int = 1, **change: object) -> Choice:
    settings = {"cell": "lstm", "hidden": 128, "layers": 1, "precision": "auto", "device": "cpu", "optimizer": "adam"}
    settings |= change
    config = ModelConfig(7, settings["cell"], settings["hidden"], settings["layers"])
    how = (settings["precision"], settings["device"], parse_truncation(trunc), settings["optimizer"], streams)
    return choose_engine(name, config, *how)


@pytest.mark.parametrize(
    "trunc",
    [
        *("1", "64", "1..64", "6/2", "stateless:4", "last:4/4", "last-carried:4", "artbp:4", "full"),
        *("2/6", "2/6@rerun", "1/1..1/8", "last:4/2", "last:1..last:4"),
        *("snap", "snap:4", "snap:1..snap:64", "rflo", "rtrl", "rtrl:4"),
    ],
)
def test_auto_takes_the_faster_one_whatever_the_truncation(trunc: str) -> None:
    compiled, torch = Choice("compiled", "float32"), Choice("torch", "auto")
    assert choice("auto", trunc, hidden=2000) == choice("auto", trunc, streams=8) == compiled
    assert choice("auto", trunc, streams=9) == choice("torch", trunc) == torch
    assert choice("compiled", trunc, streams=9) == compiled


@pytest.mark.parametrize(
    "change",
    [
        *({"trunc": trunc} for trunc in ("uoro", "uoro:4", "adaptive:0.1", "shuffled-state:4..shuffled-state:8")),
        *(
            {"cell": "window:3"},
            {"cell": "mogrifier"},
            {"trunc": "rtrl", "layers": 2},
            {"precision": "bfloat16"},
            {"precision": "float64"},
            {"device": "meta"},
            {"optimizer": "muon"},
        ),
    ],
)
def test_what_it_cannot_do_is_left_to_torch_and_refused_where_it_was_asked_for(change: dict[str, str]) -> None:
    assert choice("auto", **change) == Choice("torch", change.get("precision", "auto"))
    assert message_of(choice, "compiled", **change).startswith(REFUSED)


def test_an_unknown_engine_is_refused() -> None:
    assert message_of(choice, "jax") == "--engine jax: unknown; give one of auto, torch, compiled"


def test_where_it_cannot_be_had_torch_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rnnbptt.bptt.kernels", None)
    note = "the compiled engine cannot be had here, torch computes: "
    for name in ("auto", "compiled"):
        engine, precision, said = choice(name)
        assert (engine, precision) == ("torch", "auto")
        assert said.startswith(note)
    model = make_model(precision="float32")
    said = message_of(make_engine, "compiled", model, parse_truncation("1"), 1, 0)
    assert said == "--engine compiled: it cannot be had here; give --engine torch"


def test_a_cache_that_cannot_be_written_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """As numba says it, when the kernels are imported."""
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n"
        "from rnnbptt.bptt.engines import unavailable; print(unavailable())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot cache function" in result.stdout
    assert result.stdout.count("\n") == 1


def test_here_the_kernels_can_be_had() -> None:
    assert engines.unavailable() == ""
