"""Evaluation against torch.nn, or the plain equations, reading the whole text from its first character to its last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.engines import COMPILED
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Tape, Tapes
from rnnbptt.bptt.window import create_network
from rnnbptt.inference import evaluation
from rnnbptt.inference.evaluation import LN2, STRETCH, Reading, character_nats, remarks, score
from rnnbptt.model.config import ModelConfig
from rnnbptt.training.checkpoint import load_checkpoint
from support.networks import EVERY_CELL, independent, make_model
from support.refusals import message_of
from support.runs import train_run
from support.texts import make_corpus, prose

IDS = np.random.default_rng(0).integers(7, size=2000).astype(np.uint8)
GATED = {"gru": (1, 1), "lstm": (1, 1), "elstm": (0, 1), "mingru": (0, -1)}  # the gate that keeps the state, its sign
UNGATED = [cell for cell in EVERY_CELL if cell not in GATED]
PARTS = [
    (0, 2),
    (0, 300),
    (0, 999),  # the longest that is read in one lane
    (0, 1001),
    (0, 2000),
    (1, 300),
    (2, 300),
    (257, 600),
    (300, 2000),
    (1900, 2000),
    (1999, 2000),
]
FEW_PARTS = [(0, 999), (0, 1001), (1, 300), (300, 2000)]  # in one lane and in several, from the start and from within


def remembering(cell: str = "lstm", bias: float = 3.0, layers: int = 1, precision: str = "float64") -> CharRNN:
    """A network whose units keep their state for some 20 characters (bias 3), or for thousands (8)."""
    model = make_model(cell, layers=layers, precision=precision)
    hidden = model.config.hidden
    for name, value in model.parameters.values.items():
        if "bias_ih" in name and cell in GATED:
            gate, sign = GATED[cell]
            value[gate * hidden : (gate + 1) * hidden] = sign * bias
    model.parameters.refresh_operands()
    return model


def one_reading(model: CharRNN, ids: NDArray, start: int, stop: int) -> NDArray[np.float64]:
    """Nats of ids[max(start, 1):stop], read from the first character of the text, in one stream."""
    text = torch.from_numpy(ids[:stop].astype(np.int64))[:, None]
    with torch.no_grad():
        logits, _ = independent(model)(text[:-1], model.zero_state(1))
    nats = torch.nn.functional.cross_entropy(logits, text[1:, 0], reduction="none")
    return nats[max(start, 1) - 1 :].double().numpy()


def rows(length: int, row: int, every: int) -> NDArray[np.uint8]:
    """Symbols at random, but for a long row of one of them every so often."""
    ids = np.random.default_rng(1).integers(7, size=length).astype(np.uint8)
    for first in range(0, length, every):
        ids[first : first + row] = 3
    return ids


@pytest.mark.parametrize(
    ("start", "stop", "bias"),
    [*((*part, 3.0) for part in PARTS), *((*part, bias) for bias in (0.0, 8.0) for part in FEW_PARTS)],
)
def test_every_character_is_scored_once_and_in_order(start: int, stop: int, bias: float) -> None:
    model = remembering(bias=bias)
    expected = one_reading(model, IDS, start, stop)
    ours, settled = character_nats(model, IDS, start, stop)
    assert settled
    assert ours.shape == (stop - max(start, 1),)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3)
    found = score(model, IDS, start, stop)
    assert found.settled
    assert found.nats == pytest.approx(ours.mean(), rel=1e-12)
    assert abs(found.nats - expected.mean()) < 1e-5


@pytest.mark.parametrize(
    ("cell", "bias"),
    [
        *(("lstm", bias) for bias in (0.0, 3.0, 5.0, 8.0)),
        *((cell, bias) for cell in ("gru", "elstm") for bias in (3.0, 8.0)),
        ("mingru", 5.0),
        *((cell, 0.0) for cell in UNGATED),
    ],
)
def test_a_zero_state_in_a_row_of_one_symbol_leads_nobody_astray(cell: str, bias: float) -> None:
    """Lanes of 500 characters, whose warm-ups lie in long rows: the figure is that of one continuous reading."""
    ids, model = rows(8000, row=330, every=500), remembering(cell, bias, layers=2)
    expected = one_reading(model, ids, 3000, 8000)
    ours, settled = character_nats(model, ids, 3000, 8000)
    assert settled
    assert abs(ours.mean() - expected.mean()) / LN2 < 1e-4, "0.001 bits are allowed"
    assert np.abs(ours - expected).max() < 0.01


def test_lanes_alone_would_be_led_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above is about something: without the corrections its figures are others."""
    monkeypatch.setattr(evaluation, "FURTHEST", 0)
    ids, model = rows(8000, row=330, every=500), remembering(bias=5.0, layers=2)
    ours, settled = character_nats(model, ids, 3000, 8000)
    assert not settled, "and it says so"
    assert abs(ours.mean() - one_reading(model, ids, 3000, 8000).mean()) > 0.003
    assert not score(model, ids, 3000, 8000).settled


def test_an_elstm_trained_by_its_exact_trace_is_read_as_it_learnt_to_read(tmp_path: Path) -> None:
    """It relies on far older states than any warm-up gives."""
    text = "".join(("-" * 400 + "\n" if n % 3 == 0 else "") + prose(700, n) for n in range(12))
    corpus = make_corpus(tmp_path, text, "0.5/0.5/0")
    run = train_run(tmp_path / "run", corpus, 8000, hidden=16, cell="elstm", trunc="snap", lr=0.01, eval_every=8000)
    model = load_checkpoint(run / "last.safetensors").build_model("float64")
    start, stop = corpus.splits["valid"]
    expected = one_reading(model, corpus.ids, start, stop).mean()
    found = score(model, corpus.ids, start, stop)
    assert found.settled
    assert abs(found.nats - expected) / LN2 < 0.001


@pytest.mark.parametrize(
    ("start", "stop", "piece"),
    [(0, 300, 1), (0, 300, 7), (100, 1300, 7), (100, 1300, 100), (300, 2000, 100), (300, 2000, 5000)],
)
def test_length_of_the_pieces_changes_nothing(start: int, stop: int, piece: int) -> None:
    model = remembering(bias=0.0)
    ours, theirs = (character_nats(model, IDS, start, stop, *length)[0] for length in ((piece,), ()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert abs(score(model, IDS, start, stop, piece).nats - score(model, IDS, start, stop).nats) < 1e-5


def test_of_all_numbers_of_lanes_that_are_read_the_tape_of_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes that come to agree at different places leave a number of their own each: memory is that of the most."""
    for name, value in {"WARM_UP": 2, "SHORTEST_LANE": 20, "PIECE": 4}.items():
        monkeypatch.setattr(evaluation, name, value)
    numbers, kept, get = set(), set(), Tapes.get

    def watched(tapes: Tapes, streams: int, *steps: int) -> Tape:
        tape = get(tapes, streams, *steps)
        numbers.add(streams)
        kept.add(len(tapes._tapes))
        return tape

    monkeypatch.setattr(Tapes, "get", watched)
    model = remembering("lstm")
    nats, _ = character_nats(model, IDS, 300, 2000)
    assert len(numbers) > 10
    assert kept == {1}
    np.testing.assert_allclose(nats, one_reading(model, IDS, 300, 2000), atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_of_a_model_only_its_weights_matter(cell: str) -> None:
    model = make_model(cell, layers=2)
    fresh = create_network(model.config, "float64")
    fresh.parameters.load(model.parameters.values)
    model.forward(torch.randint(7, (70, 3)), model.zero_state(3))  # other streams, another length
    before = model.parameters.flat.clone()
    np.testing.assert_array_equal(*(character_nats(one, IDS, 300, 2000)[0] for one in (model, fresh)))
    assert torch.equal(model.parameters.flat, before)


def test_nothing_is_dropped() -> None:
    dropping = make_model(dropout=0.5)
    same = create_network(ModelConfig(7, "lstm", 5, dropout=0.0), "float64")
    same.parameters.load(dropping.parameters.values)
    np.testing.assert_array_equal(*(character_nats(one, IDS, 300, 2000)[0] for one in (dropping, same)))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_lanes_of_a_bfloat16_model_agree_as_far_as_its_rounding_lets_them(cell: str) -> None:
    """Their states never come as near to each other as those of float32. One stream reads on in pieces of 50."""
    ids, model = rows(5000, row=330, every=500), remembering(cell, 5.0, layers=2, precision="bfloat16")
    found = score(model, ids, 2000, 5000)
    assert found.settled
    state, text = model.zero_state(1), torch.from_numpy(ids.astype(np.int64))[:, None]
    x, y = text[:-1].split(50), text[1:].split(50)
    with torch.no_grad():
        nats = [cross_entropy(model.forward(now, state)[0], after)[0] for now, after in zip(x, y, strict=True)]
    assert abs(found.nats - float(torch.cat(nats)[1999:].mean())) / LN2 < 0.005, "rounding alone makes half of it"


def test_a_model_that_knows_nothing_scores_log_2_of_its_vocabulary_in_bits() -> None:
    model = make_model(vocabulary=8)
    model.parameters.values["head.weight"].zero_()
    model.parameters.values["head.bias"].zero_()
    assert score(model, IDS, 300, 2000).nats / LN2 == pytest.approx(3, rel=1e-14)


def test_a_model_that_is_no_number_is_read_but_once() -> None:
    """What is not finite will not get any better by reading on."""
    model = make_model()
    model.parameters.values["rnn.bias_ih_l0"][0] = torch.nan
    losses, settled = character_nats(model, IDS, 0, 2000)
    assert settled
    assert np.isnan(losses).all()


@pytest.mark.parametrize(("start", "stop"), [(0, 700), (1, 1001), (300, 2000)])
def test_the_losses_of_stretches_are_those_of_their_characters(start: int, stop: int) -> None:
    model, first = remembering(), max(start, 1)
    losses, _ = character_nats(model, IDS, start, stop)
    expected = [losses[at : at + STRETCH].sum() for at in range(0, stop - first, STRETCH)]
    np.testing.assert_allclose(score(model, IDS, start, stop).stretches, expected, rtol=1e-9)


@pytest.mark.parametrize(("start", "stop"), [(0, 700), (1000, 2100)])
def test_of_some_symbols_the_losses_are_those_of_all_symbols_there(start: int, stop: int) -> None:
    """In lanes that are corrected, too; none is counted twice or lost."""
    ids, model = rows(4000, row=330, every=500), remembering(bias=5.0)
    scored, first = np.isin(np.arange(7), [2, 3, 6]), max(start, 1)
    there = scored[ids[first:stop]]
    losses, settled = character_nats(model, ids, start, stop)
    some, agreed = character_nats(model, ids, start, stop, scored=scored)
    assert settled is agreed is True
    np.testing.assert_array_equal(some, losses[there])
    found = score(model, ids, start, stop, scored=scored)
    assert found.nats == pytest.approx(losses[there].mean(), rel=1e-12)
    expected = [(losses * there)[at : at + STRETCH].sum() for at in range(0, stop - first, STRETCH)]
    np.testing.assert_allclose(found.stretches, expected, rtol=1e-9)


def test_where_nothing_is_scored_there_is_no_loss() -> None:
    said = "of the characters 301 to 2,000 of the text none is scored; prepare it again"
    for evaluate in (score, character_nats):
        assert message_of(evaluate, make_model(), IDS, 300, 2000, scored=np.zeros(7, bool)) == said


def test_losses_that_are_taken_back_leave_nothing_below_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint with a loss below 0 could not be read."""

    def taken_back(self: Reading, *args: Any, **kwargs: Any) -> None:
        self.count, self.settled, self._start, self._stop, self._scored, self._stretch = 2, True, 1, 9, None, args[4]
        self.sums = np.zeros(-(-8 // args[4]))
        for nats in ([0.3, 0.6], [-0.3, 0.0], [0.0, -0.6], [0.0, -1e-17]):
            self._give(np.array([5, 6]), np.array(nats))

    monkeypatch.setattr(Reading, "__init__", taken_back)
    assert score(make_model(), IDS, 0, 9).stretches.sum() < 0
    assert score(make_model(), IDS, 0, 9).nats == 0
    assert character_nats(make_model(), IDS, 0, 9)[0].min() == 0


OFF = "this loss may be off by more than 0.001 bits per character"


@pytest.mark.parametrize(
    ("heavy", "settled", "said"),
    [
        ([], True, []),
        (
            [(12, 41_000.0), (4, 20_000.0)],
            True,
            ["2 of 30 stretches of 1,000 characters make 52% of this loss: at 12,000, 4,000"],
        ),
        ([(place, 9_000.0) for place in range(4)], True, []),  # more than a tenth of them
        ([(7, 7_000.0)], True, ["1 of 30 stretches of 1,000 characters make 11% of this loss: at 7,000"]),
        ([(7, 5_900.0)], True, []),  # not three times the usual
        (
            [],
            False,
            ["the state depends on more than 65,536 characters before, so that " + OFF],
        ),
    ],
)
def test_what_to_know_of_a_score_is_said(heavy: list[tuple[int, float]], settled: bool, said: list[str]) -> None:
    stretches = np.full(30, 2000.0)
    for place, nats in heavy:
        stretches[place] = nats
    assert remarks(2.0, stretches, settled, symbols=64) == said


def test_stretches_without_anything_scored_do_not_count() -> None:
    """Otherwise the few that have it would make all of the loss."""
    sparse = np.zeros(100)
    sparse[::5] = 6.0
    assert remarks(2.0, sparse, True, symbols=64) == []
    sparse[10] = 60.0
    assert remarks(2.0, sparse, True, symbols=64) == [
        "1 of 20 stretches of 1,000 characters make 34% of this loss: at 10,000"
    ]
    assert remarks(0.0, np.zeros(3), True, symbols=64) == []


def test_a_score_worse_than_guessing_is_called_that() -> None:
    said = ["worse than guessing among 64 symbols, which takes 6.0000 bits each"]
    assert remarks(4.16, np.full(30, 4160.0), True, symbols=64) == said
    assert remarks(4.15, np.full(30, 4150.0), True, symbols=64) == []


# --- read in one by a kernel ------------------------------------------------------------------------------------------


def latched(cell: str, layers: int = 1, precision: str = "float32") -> CharRNN:
    """A network that never forgets."""
    return remembering(cell, 100.0, layers, precision)


@pytest.mark.parametrize(("cell", "layers"), [*((cell, 1) for cell in COMPILED), ("lstm", 2)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("part", [(0, 999), (300, 2000)])
def test_a_kernel_reads_in_one_what_lanes_do_not_agree_on(
    cell: str, layers: int, precision: str, part: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TRIES": 0, "LONG": 1, "LANES": 2, "SHORTEST_LANE": 1, "HEARD": 170}.items():
        monkeypatch.setattr(evaluation, name, value)
    model, heard = latched(cell, layers, precision), []
    in_one = Reading._in_one
    monkeypatch.setattr(Reading, "_in_one", lambda *args: [heard.append(True), in_one(*args)])
    nats, settled = character_nats(model, IDS, *part)
    expected = one_reading(model.at_precision("float32"), IDS, *part)
    assert settled
    assert heard
    np.testing.assert_allclose(nats, expected, atol=2e-4)
    scored = np.arange(7) % 2 == 0
    some, _ = character_nats(model, IDS, *part, scored=scored)
    assert np.array_equal(some, nats[scored[IDS[max(part[0], 1) : part[1]]]])


def test_what_comes_from_too_far_back_is_read_in_one_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first state is not settled, and a lane would be no better: it is that of as far as was read."""
    monkeypatch.setattr(evaluation, "FURTHEST", 1024)
    model = latched("lstm")
    nats, settled = character_nats(model, IDS, 1500, 2000)
    assert not settled
    np.testing.assert_allclose(nats, one_reading(model, IDS[1500 - 1025 :], 1025, 1525), atol=2e-4)


def test_without_a_kernel_lanes_are_read_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "unavailable", lambda: "numba is not there")
    monkeypatch.setattr(Reading, "_in_one", None)
    model = latched("lstm")
    nats, settled = character_nats(model, IDS, 300, 2000)
    assert settled
    np.testing.assert_allclose(nats, one_reading(model, IDS, 300, 2000), atol=2e-4)
    monkeypatch.setattr(evaluation, "FURTHEST", 1024)
    assert not character_nats(model, IDS, 1500, 2000)[1]


def test_a_kernel_is_asked_too_whether_it_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FURTHEST": 1024, "LONG": 10**6, "HEARD": 100}.items():
        monkeypatch.setattr(evaluation, name, value)
    begun, asked, in_one = [], [], Reading._in_one
    monkeypatch.setattr(Reading, "_in_one", lambda *args: [begun.append(True), in_one(*args)])

    def at_its_third_piece() -> bool:
        asked.extend(begun)
        return len(asked) == 3

    with pytest.raises(evaluation.GivenUpError):
        score(latched("lstm"), IDS, 1500, 2000, give_up=at_its_third_piece)


@pytest.mark.parametrize("furthest", [500, 1200, 10_000])
def test_lanes_are_read_in_one_however_few_of_them_may_be_tried(furthest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first character on, so that the first state is what it is; lanes of 667 characters."""
    for name, value in {"FURTHEST": furthest, "LANES": 3, "WARM_UP": 10, "TRIES": 1}.items():
        monkeypatch.setattr(evaluation, name, value)
    model = latched("gru")
    nats, settled = character_nats(model, IDS, 0, 2000)
    assert settled
    np.testing.assert_allclose(nats, one_reading(model, IDS, 0, 2000), atol=2e-4)
