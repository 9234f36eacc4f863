"""varied.py: the other options in which contestants differ."""

from __future__ import annotations

import pytest

from rnnbptt.study.race.varied import VARIED, as_labelled, contestant, one_spelling, parse_vary, spelled
from support.refusals import message_of


def test_the_options_of_train_that_can_be_varied() -> None:
    assert sorted(VARIED) == sorted(
        [
            *("cell", "hidden", "layers", "dropout", "streams", "reset_every", "optimizer", "lr"),
            *("warmup", "decay", "final_lr", "weight_decay", "beta2", "beta2_chars", "clip", "eval_every"),
        ]
    )


def test_what_is_varied_has_one_spelling() -> None:
    assert spelled(parse_vary(["final-lr=1e-2,1", "streams=016,8"])) == ("final-lr=0.01,1.0", "streams=16,8")


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("streams", "--vary streams=: give it two values or more, such as streams=16,32"),
        ("streams=16", "--vary streams=16: give it two values or more, such as streams=16,32"),
        ("streams=8,08", "--vary streams=8,8: gives a value twice; give each of them once"),
        ("streams=8,x", "--vary streams=x: 'x' is not a whole number"),
        ("lr=1,x", "--vary lr=x: 'x' is not a number"),
        ("trunc=1,2", "--vary trunc: give --trunc for each"),
        ("seed=1,2", "--vary seed: give their number, --seeds"),
        (
            "colour=red,blue",
            "--vary colour: unknown; give one of cell, hidden, layers, dropout, streams, reset-every, optimizer, lr,"
            " warmup, decay, final-lr, weight-decay, beta2, beta2-chars, clip, eval-every, as in streams=16,32",
        ),
        ("colour", "--vary colour: unknown; give one of cell, "),
    ],
)
def test_what_cannot_be_varied(vary: str, said: str) -> None:
    assert message_of(parse_vary, [vary]).startswith(said)


def test_one_option_is_varied_once() -> None:
    assert message_of(parse_vary, ["final-lr=0,1", "final_lr=0.1,0.2"]) == (
        "--vary final_lr=0.1,0.2: given twice; give all its values at once"
    )


def test_a_contestant_has_one_spelling() -> None:
    assert contestant("01..64 final-lr=1e-2 --beta2_chars=5") == ("1..64", {"final_lr": "0.01", "beta2_chars": "5.0"})
    assert one_spelling(" 8  lr=.1 cell=gru ") == "8 cell=gru lr=0.1"


def test_a_label_is_known_in_any_spelling() -> None:
    labels = ["1 streams=2 lr=0.1", "8 cell=gru lr=0.1", "8 again"]
    assert as_labelled("08  lr=.1 cell=gru", labels) == labels[1]
    for other in (*labels, "8", "nothing of the kind"):
        assert as_labelled(other, labels) == other


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "--trunc '': not a truncation"),
        ("8 colour=red", "--trunc colour: unknown; give one of cell, "),
        ("8 hidden=x", "--trunc hidden=x: 'x' is not a whole number"),
        ("8 hidden=2,4", "--trunc hidden=2,4: '2,4' is not a whole number; several values are for --vary"),
        ("8 seed=1", "--trunc seed: give their number, --seeds"),
    ],
)
def test_what_is_no_contestant(given: str, said: str) -> None:
    assert message_of(contestant, given).startswith(said)
