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
    assert choice("auto", trunc, streams=9)._replace(hint="") == choice("torch", trunc) == torch
    assert choice("compiled", trunc, streams=9) == compiled


LONE = {"1": 64, "snap": 64, "2": 32, "4": 16, "8..3": 21, "1/4": 21, "8": 8, "1..64": 8}


@pytest.mark.parametrize(("trunc", "most"), LONE.items())
def test_who_trains_by_one_truncation_alone_hears_of_the_engine_that_is_faster_for_it(trunc: str, most: int) -> None:
    """Of 128 units, up to so many streams; what is computed by the faster one anyway, or was asked for, is not told."""
    hint = "computed by --engine torch, as longer truncations are; --engine compiled is faster for this one"
    assert choice("auto", trunc, streams=most).hint == (hint if most > 8 else "")
    assert choice("auto", trunc, streams=most + 1).hint == choice("torch", trunc, streams=most).hint == ""
    assert choice("auto", trunc, streams=most, optimizer="muon").hint == ""
    assert choice("auto", "rtrl", streams=most).hint == ""


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
        engine, precision, said, hint = choice(name)
        assert (engine, precision, hint) == ("torch", "auto", "")
        assert said.startswith(note)
    assert choice("auto", streams=9) == Choice("torch", "auto")  # nor is it told of
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
