"""What can be probed, on which text, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from rnnbptt.study.probe.subject import check_influence, held_out, open_subject
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.truncation.specs import parse_truncation
from support.networks import make_model
from support.refusals import message_of
from support.runs import train_run
from support.texts import make_corpus, prose, task_corpus


def test_lanes_are_spread_over_the_held_out_text(run: Path, text_corpus: Corpus) -> None:
    x, y = open_subject(run, 16, 3).lanes()
    for lane, start in enumerate((4000, 4483, 4967)):
        assert x[:, lane].tolist() == text_corpus.ids[start : start + 32].tolist()
        assert y[:, lane].tolist() == text_corpus.ids[start + 1 : start + 33].tolist()
    assert held_out({"train": (0, 4000), "valid": (4000, 4600), "test": (4600, 5000)}) == (4000, 5000)
    assert held_out({"train": (0, 4000), "valid": (4000, 4000), "test": (4000, 5000)}) == (4000, 5000)
    assert held_out({"train": (0, 4001), "valid": (4001, 4001), "test": (4001, 4001)}) == (3800, 4001)


def test_nothing_held_out(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, prose(2000), "1/0/0")
    subject = open_subject(train_run(tmp_path / "run", corpus), 4, 2)
    assert (subject.start, subject.stop, subject.text) == (1900, 2000, "the end of the training text")


def test_a_task_whose_scored_characters_have_too_little_before_them(tmp_path: Path) -> None:
    corpus = task_corpus(tmp_path, "copy:300", 902, "500/402/0")
    run = train_run(tmp_path / "run", corpus)
    assert open_subject(run, 16, 2).depth == 16
    assert message_of(open_subject, run, 150, 1) == (
        "--depth 150: of held-out text with so much before it none is scored; give a smaller one"
    )


def test_a_network_without_a_state_is_refused(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, prose(2000))
    window = train_run(tmp_path / "run", corpus, cell="window:2")
    assert message_of(open_subject, window, 4, 2) == (
        f"{window}: --cell window:2 has no state, so no truncation cuts anything; give another"
    )


def test_refusals(run: Path, tmp_path: Path) -> None:
    assert message_of(open_subject, run, 64, 8) == (
        "--depth 64: 8 streams of twice as many characters take 1,025, and the held-out text has 1,000; "
        "give a smaller --depth or fewer --streams"
    )
    assert message_of(open_subject, run, 4, 2, [parse_truncation("adaptive:0.1")]) == (
        "--trunc adaptive:0.1: its depth comes of training; give depths to probe, such as 16"
    )
    for spec, needed in (("5", 5), ("random:5", 5), ("1/9", 8), ("1..5", 5), ("shuffle(5..1)", 5), ("snap:64", 64)):
        assert message_of(open_subject, run, 4, 2, [parse_truncation(spec)]) == (
            f"--trunc {spec}: does not fit into --depth 4; give --depth {needed} or more"
        )
    for spec in ("4", "4/8", "4/8@rerun", "16..4", "full", "random:4", "artbp:4", "shuffle(1..4)", "rtrl:4", "uoro:4"):
        assert spec in {strategy.spec for strategy in open_subject(run, 4, 2, [parse_truncation(spec)]).strategies}
    model = make_model("lstm", hidden=256, precision="float32")
    assert message_of(check_influence, parse_truncation("rtrl:4"), model, 32) == (
        "--trunc rtrl:4: would keep 65.1 GiB of influences, of which 2 are allowed; give snap, or fewer --streams"
    )
    said = message_of(check_influence, parse_truncation("uoro:4"), model, 10**7)
    assert re.fullmatch(
        r"--trunc uoro:4 on 10,000,000 streams would take [\d,.]{8,} GiB, and .*; give snap, or .*", said
    )
    assert message_of(check_influence, parse_truncation("rflo"), make_model("rnn"), 2).startswith(
        "--trunc rflo: --cell"
    )
    checkpoint = load_checkpoint(run / "last.safetensors")
    elsewhere = replace(checkpoint.document.corpus, path=str(tmp_path / "gone"))
    save_checkpoint(tmp_path / "alone.safetensors", checkpoint.tensors, replace(checkpoint.document, corpus=elsewhere))
    assert message_of(open_subject, tmp_path / "alone.safetensors", 4, 2) == (
        f"{tmp_path / 'gone'}: the corpus that {tmp_path / 'alone.safetensors'} was trained on is no longer there; "
        "put it back, or beside the checkpoint as corpus"
    )


def test_what_units_cannot_keep_for_themselves_is_not_probed(run: Path, text_corpus: Corpus, tmp_path: Path) -> None:
    """Where it is asked for, it is refused."""
    usual = ["1", "2", "4", "snap", "snap:1"]
    assert [strategy.spec for strategy in open_subject(run, 4, 2).strategies] == usual
    gated = train_run(tmp_path / "gated", text_corpus, 40, cell="mogrifier")
    assert [strategy.spec for strategy in open_subject(gated, 4, 2).strategies] == usual[:3]
    assert message_of(open_subject, gated, 4, 2, [parse_truncation("snap")]).startswith("--cell mogrifier: its R")
