"""comparing.py on runs of a second: what it measures, what it says, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_corpus, message_of, prose

from rnnbptt.budget import Budget
from rnnbptt.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.comparing import Comparison, Entry, Pair, Text, compare, encode, to_json, verdict, write_json
from rnnbptt.config import ModelConfig, TrainConfig
from rnnbptt.corpus import Corpus, TextOptions, Vocabulary, prepare
from rnnbptt.evaluation import character_nats
from rnnbptt.model import CharRNN
from rnnbptt.runs import RunFolder
from rnnbptt.statistics import Interval
from rnnbptt.training import Trainer


def train(folder: Path, corpus: Corpus, hidden: int = 6, chars: int = 4000, **options: Any) -> Path:
    """A run folder."""
    settings: dict[str, Any] = {"trunc": "4", "streams": 4, "eval_every": 1000, **options}
    config = TrainConfig(budget=Budget("chars", chars), **settings)
    model = CharRNN.create(ModelConfig(len(corpus.vocabulary), "gru", hidden, dropout=0.0), seed=config.seed)
    run = RunFolder(folder)
    run.clear()
    list(run.follow(Trainer(model, corpus, config)))
    return folder


@pytest.fixture(scope="module")
def text_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """20,000 characters: 14,000 to train on, 4,000 to validate and 2,000 to test."""
    return make_corpus(tmp_path_factory.mktemp("comparing"), prose(20_000), "0.7/0.2/0.1")


@pytest.fixture(scope="module")
def runs(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `one` (trunc 1), `four` (trunc 4) and `slow` (trunc 4, a low learning rate, another seed)."""
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "one", text_corpus, trunc="1")
    train(folder / "four", text_corpus)
    train(folder / "slow", text_corpus, lr=1e-5, seed=1)
    return folder


def edit(run: Path, **changes: dict[str, Any]) -> None:
    """Change parts of the documents of a run's checkpoints."""
    for path in run.glob("*.safetensors"):
        checkpoint = load_checkpoint(path)
        document = {key: value | changes.get(key, {}) for key, value in checkpoint.document.items() if key != "format"}
        save_checkpoint(path, checkpoint.tensors, document)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def pair_of(result: Comparison, second: str, split: str) -> Pair:
    return next(pair for pair in result.pairs if (pair.second, pair.split) == (second, split))


# --- what is measured -------------------------------------------------------------------------------------------------


def test_rows_and_pairs_are_what_the_checkpoints_are(runs: Path, text_corpus: Corpus) -> None:
    told: list[tuple[int, int]] = []
    result = compare([runs / "one", runs / "slow"], progress=lambda done, total: told.append((done, total)))
    assert result.splits == ("valid", "test")
    assert [row.name for row in result.rows] == ["one", "slow"]
    one = result.rows[0]
    assert one.path == runs / "one" / "best.safetensors"
    assert (one.trunc, one.cell, one.chars, one.updates) == ("1", "gru", 4000, 1000)
    vocabulary = len(text_corpus.vocabulary)
    assert one.parameters == 3 * 6 * (vocabulary + 6 + 2) + vocabulary * 7
    assert one.characters_per_second == one.chars / one.seconds
    assert one.curve is not None
    assert one.curve.chars == (1000, 2000, 3000, 4000)
    model = load_checkpoint(one.path).build_model()
    for score, characters in zip(one.scores, (4000, 2000), strict=True):
        nats = character_nats(model, text_corpus.ids, *text_corpus.splits[score.split]).mean()
        assert score.characters == characters
        assert score.bpc == pytest.approx(nats / math.log(2), rel=1e-12)
        assert score.perplexity == pytest.approx(math.exp(nats), rel=1e-12)
    assert one.scores[0].bpc == pytest.approx(one.curve.bpc[-1], rel=1e-6)
    for split, score, other in zip(result.splits, one.scores, result.rows[1].scores, strict=True):
        pair = pair_of(result, "slow", split)
        assert pair.difference == pytest.approx(other.bpc - score.bpc)
        assert pair.interval is not None
        assert pair.interval.low < pair.difference < pair.interval.high
        assert pair.interval.resamples >= 10_000
        assert pair.verdict.startswith("one is better by ")
    assert told == [(4000, 12_000), (8000, 12_000), (10_000, 12_000), (12_000, 12_000)]


def test_a_checkpoint_and_itself_show_no_difference(runs: Path) -> None:
    result = compare([runs / "one", runs / "one"])
    assert [row.name for row in result.rows] == ["one", "one (2)"]
    assert [pair.verdict for pair in result.pairs] == ["no difference shown (0.000 ± 0.000 bits per character)"] * 2
    assert {pair.difference for pair in result.pairs} == {0.0}
    assert result.warnings == ()


def test_swapping_two_checkpoints_flips_the_sign_and_keeps_the_verdict(runs: Path) -> None:
    forth, back = compare([runs / "one", runs / "slow"]), compare([runs / "slow", runs / "one"])
    for there, here in zip(forth.pairs, back.pairs, strict=True):
        assert there.difference == -here.difference
        assert there.interval is not None
        assert here.interval is not None
        assert (there.interval.low, there.interval.high) == (-here.interval.high, -here.interval.low)
        assert there.verdict == here.verdict


def test_several_comparisons_share_the_five_percent(runs: Path) -> None:
    two = compare([runs / "one", runs / "slow"])
    three = compare([runs / "one", runs / "slow", runs / "four"])
    narrow, wide = (pair_of(result, "slow", "valid").interval for result in (two, three))
    assert narrow is not None
    assert wide is not None
    assert (narrow.level, wide.level) == (0.95, 0.975)
    assert narrow.half_width < wide.half_width
    note = (
        "2 checkpoints are compared with one, so each interval has the level 97.5 % (Bonferroni): on each text, "
        "all hold together with 95 %."
    )
    assert note in three.notes
    assert not any("Bonferroni" in line for line in two.notes)


def test_notes_say_what_the_intervals_do_not_cover(runs: Path) -> None:
    notes = " ".join(compare([runs / "one", runs / "four"]).notes)
    assert "do not cover the randomness of training" in notes
    assert "quote the test split" in notes


INTERVAL = Interval(-0.006, 0.006, 0.95, 30, 2000, True, 10_000, 0)


@pytest.mark.parametrize(
    ("difference", "half", "said"),
    [
        (0.031, 0.006, "A is better by 0.031 ± 0.006 bits per character"),
        (-0.031, 0.006, "B is better by 0.031 ± 0.006 bits per character"),
        (0.002, 0.006, "no difference shown (0.002 ± 0.006 bits per character)"),
        (-0.002, 0.006, "no difference shown (-0.002 ± 0.006 bits per character)"),
        (-0.0001, 0.006, "no difference shown (0.000 ± 0.006 bits per character)"),
        (0.006, 0.006, "no difference shown (0.006 ± 0.006 bits per character)"),
        (0.0, 0.0, "no difference shown (0.000 ± 0.000 bits per character)"),
        (-0.00042, 0.00013, "B is better by 0.0004 ± 0.0001 bits per character"),
    ],
)
def test_verdicts(difference: float, half: float, said: str) -> None:
    assert verdict("A", "B", difference, replace(INTERVAL, low=-half, high=half), 60_000) == said


def test_verdicts_on_a_text_too_short(tmp_path: Path, runs: Path) -> None:
    assert (
        verdict("A", "B", -0.031, None, 1200)
        == "text too short to tell (B is ahead by 0.031 bits per character on 1,200 characters)"
    )
    text = write(tmp_path / "short.txt", prose(1000, seed=7))
    result = compare([runs / "one", runs / "one"], text)
    assert result.pairs[0].interval is None
    assert result.pairs[0].verdict == "text too short to tell (no difference on 999 characters)"
    assert result.notes[-1] == "text: too short a text for an interval, which takes 2,000 characters or more."


# --- what is not fair -------------------------------------------------------------------------------------------------


def test_runs_that_differ_in_truncation_alone_give_no_warning(runs: Path) -> None:
    assert compare([runs / "one", runs / "four"]).warnings == ()


def test_a_warning_names_whatever_else_differs(runs: Path, text_corpus: Corpus, tmp_path: Path) -> None:
    train(tmp_path / "big", text_corpus, hidden=12, chars=2000, lr=0.002, beta2=0.99)
    result = compare([runs / "one", runs / "four", tmp_path / "big"])
    assert result.warnings == (
        "one and big differ in more than truncation: budget 4,000 chars / 2,000 chars, lr 0.004 / 0.002, "
        "beta2 0.999 / 0.99, hidden 6 / 12, characters seen 4,000 / 2,000",
    )


def test_a_warning_when_the_truncation_is_the_same(runs: Path) -> None:
    assert compare([runs / "four", runs / "slow"]).warnings == (
        "four and slow have the same truncation and differ in: lr 0.004 / 1e-05, seed 0 / 1",
    )


def test_the_budget_of_a_best_checkpoint_is_that_of_its_whole_run(runs: Path, tmp_path: Path) -> None:
    """Both had the same choice, though one run was best earlier."""
    shutil.copytree(runs / "four", tmp_path / "four")
    last = load_checkpoint(tmp_path / "four" / "best.safetensors").document["progress"]
    early = {
        "counts": last["counts"] | {"chars": 3000},
        "validations": {k: v[:3] for k, v in last["validations"].items()},
    }
    edit(tmp_path / "four", progress=early)
    assert compare([runs / "one", tmp_path / "four"]).warnings == ()
    (tmp_path / "four" / "best.safetensors").rename(tmp_path / "four" / "other.safetensors")
    assert compare([runs / "one", tmp_path / "four" / "other.safetensors"]).warnings == (
        "one and other differ in more than truncation: characters seen 4,000 / 3,000",
    )


# --- names and curves -------------------------------------------------------------------------------------------------


def test_names_are_short_and_none_comes_twice(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("x", "y"):
        shutil.copytree(runs / "one", tmp_path / place / "v1.5")
    x, y = tmp_path / "x" / "v1.5", tmp_path / "y" / "v1.5"
    result = compare([x, y, x, y / "best.safetensors", runs / "four" / "last.safetensors", runs / "four"])
    assert [row.name for row in result.rows] == ["x/v1.5", "y/v1.5", "x/v1.5 (2)", "best", "last", "four"]
    monkeypatch.chdir(x)
    names = [row.name for row in compare([Path(), Path("best.safetensors"), Path("..", "..", "y", "v1.5")]).rows]
    assert names == ["x/v1.5", "best", "y/v1.5"]


def test_a_curve_needs_the_metrics_of_the_very_run(runs: Path, tmp_path: Path) -> None:
    for name in ("without", "foreign", "damaged", "cut"):
        shutil.copytree(runs / "one", tmp_path / name)
    (tmp_path / "without" / "metrics.jsonl").unlink()
    shutil.copy(runs / "four" / "metrics.jsonl", tmp_path / "foreign")
    (tmp_path / "damaged" / "metrics.jsonl").write_text("{}\n")
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval", "cha')
    curves = {row.name: row.curve for row in compare([runs / "one", *sorted(tmp_path.iterdir())]).rows}
    assert curves["cut"] == curves["one"] is not None
    assert curves["without"] is curves["foreign"] is curves["damaged"] is None


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_corpus_is_known_again_wherever_it_lies(runs: Path, text_corpus: Corpus, tmp_path: Path) -> None:
    for name in ("here", "gone"):
        shutil.copytree(runs / "one", tmp_path / name)
    corpus = load_checkpoint(runs / "one" / "best.safetensors").document["corpus"]
    edit(tmp_path / "gone", corpus=corpus | {"path": str(tmp_path / "nowhere")})
    assert compare([tmp_path / "gone", tmp_path / "here"]).splits == ("valid", "test")
    assert message_of(compare, [tmp_path / "gone", tmp_path / "gone"]) == (
        f"{tmp_path / 'nowhere'}: the corpus that gone was trained on is no longer there; "
        "put it back, or give a text to compare on: --text FILE"
    )
    # At the same path, but another text: that is not the corpus either.
    make_corpus(tmp_path, prose(5000, seed=3))
    edit(tmp_path / "gone", corpus=corpus | {"path": str(tmp_path / "prepared")})
    assert "is no longer there" in message_of(compare, [tmp_path / "gone", tmp_path / "gone"])


def test_an_empty_split_is_left_out_and_two_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "one", run := tmp_path / "one")
    corpus = load_checkpoint(run / "best.safetensors").document["corpus"]
    splits = corpus["splits"] | {"test": [20_000, 20_000]}
    edit(run, corpus=corpus | {"splits": splits})
    result = compare([run, run])
    assert result.splits == ("valid",)
    assert "The test split is empty and left out." in result.notes
    assert any(note.endswith("quote a text that was not used: --text FILE.") for note in result.notes)
    edit(run, corpus=corpus | {"splits": splits | {"valid": [20_000, 20_000]}})
    assert message_of(compare, [run, run]) == (
        f"the validation and the test split of {corpus['path']} are empty; "
        "give a text to compare on that was not trained on: --text FILE"
    )


def test_different_corpora_and_splits_need_a_text(runs: Path, tmp_path: Path) -> None:
    for name in ("other", "split"):
        shutil.copytree(runs / "one", tmp_path / name)
    corpus = load_checkpoint(runs / "one" / "best.safetensors").document["corpus"]
    edit(tmp_path / "other", corpus=corpus | {"fingerprint": "0" * 64, "path": "/elsewhere"})
    edit(tmp_path / "split", corpus=corpus | {"splits": corpus["splits"] | {"train": [0, 13_000]}})
    for name, what in (("other", "corpora"), ("split", "splits of the same corpus")):
        assert message_of(compare, [runs / "one", tmp_path / name]) == (
            f"one and {name} were trained on different {what}; give a text to compare them on, "
            "one that neither was trained on: --text FILE"
        )
    text = write(tmp_path / "text.txt", prose(3000, seed=5))
    result = compare([runs / "one", tmp_path / "other", tmp_path / "split"], text)
    assert result.warnings == (
        f"one and other have the same truncation and differ in: corpus {corpus['path']} / /elsewhere",
        "one and split have the same truncation and differ in: training characters 14,000 / 13,000",
    )


def test_on_a_text_file(runs: Path, tmp_path: Path, text_corpus: Corpus) -> None:
    content = prose(3000, seed=5)
    result = compare([runs / "one", runs / "four"], write(tmp_path / "text.txt", "\ufeff" + content))
    assert result.splits == ("text",)
    assert result.notes[0] == "The text is read as utf-8."
    assert not any("trained on this very text" in note for note in result.notes)
    ids = text_corpus.vocabulary.encode(content)
    nats = character_nats(load_checkpoint(result.rows[0].path).build_model(), ids, 0, len(ids)).mean()
    assert result.rows[0].scores[0].characters == 2999
    assert result.rows[0].scores[0].bpc == pytest.approx(nats / math.log(2), rel=1e-12)


def corpus_of(folder: Path, text: str, **options: Any) -> Corpus:
    source = write(folder / "source.txt", text, options.get("encoding", "utf-8"))
    return prepare([source], folder / "corpus", TextOptions(**options))


def test_a_text_is_read_as_the_corpora_were(tmp_path: Path) -> None:
    composed = "a café, a naïve café. " * 200
    run = train(tmp_path / "run", corpus_of(tmp_path, composed, encoding="utf-16", nfc=True))
    decomposed = "a cafe\u0301, a nai\u0308ve cafe\u0301. " * 20
    result = compare([run, run], write(tmp_path / "text.txt", decomposed, "utf-16"))
    assert "The text is read as utf-16, in normalization form C." in result.notes
    assert result.rows[0].scores[0].characters == 22 * 20 - 1
    odd = tmp_path / "odd.txt"
    odd.write_bytes(b"\xff\xfea")
    assert message_of(compare, [run, run], odd).startswith(f"{odd}: not valid utf-16 (")


def test_different_vocabularies_are_compared_by_the_character(runs: Path, tmp_path: Path) -> None:
    """A model of bytes gives a character the product of the probabilities of its bytes."""
    special = "naïve 😀 café "
    byte_run = train(tmp_path / "bytes", corpus_of(tmp_path, prose(3000) + special * 20, unit="byte"))
    (tmp_path / "char").mkdir()
    char_run = train(tmp_path / "chars", corpus_of(tmp_path / "char", prose(3000) + special * 20))
    content = special * 3 + prose(3000, seed=4) + special
    result = compare([char_run, byte_run], write(tmp_path / "text.txt", content))
    assert "The checkpoints have different vocabularies: each reads the text in its own symbols." in result.notes
    assert [row.scores[0].characters for row in result.rows] == [len(content) - 1] * 2
    checkpoint = load_checkpoint(byte_run / "best.safetensors")
    data = content.encode()
    ids = checkpoint.vocabulary.encode(content)
    of_bytes = iter(character_nats(checkpoint.build_model(), ids, 0, len(data)))
    by_hand = [sum(next(of_bytes) for _ in char.encode()) for char in content[1:]]
    ours = Text(tmp_path, content, "char").nats(checkpoint)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-12)
    assert result.rows[1].scores[0].bpc == pytest.approx(np.mean(by_hand) / math.log(2), rel=1e-12)
    assert result.warnings[0].startswith("chars and bytes have the same truncation and differ in: vocabulary ")


def test_the_rest_of_a_first_character_of_several_bytes_is_not_scored(tmp_path: Path) -> None:
    byte_run = train(tmp_path / "bytes", corpus_of(tmp_path, "naïve café 😀" * 200, unit="byte"))
    checkpoint = load_checkpoint(byte_run / "best.safetensors")
    ids = checkpoint.vocabulary.encode("😀é")
    nats = character_nats(checkpoint.build_model(), ids, 0, 6)
    np.testing.assert_allclose(Text(tmp_path, "😀é", "char").nats(checkpoint), [nats[3:].sum()], rtol=1e-12)


def test_models_of_bytes_are_compared_on_bytes(tmp_path: Path) -> None:
    source = tmp_path / "latin.txt"
    source.write_bytes("café au lait, ".encode("latin-1") * 300)
    run = train(tmp_path / "bytes", prepare([source], tmp_path / "corpus", TextOptions(unit="byte")))
    result = compare([run, run], source)
    assert result.rows[0].scores[0].characters == 14 * 300 - 1
    assert "A character is a byte here, as in the checkpoints." in result.notes
    assert "bytes was trained on this very text: its figures say nothing of how it does on others." in result.notes
    text = write(tmp_path / "text.txt", "café", "utf-8")
    assert message_of(compare, [run, run], text) == (
        f"{text}: bytes cannot read the byte 0xC3, byte 4 of the text, which its vocabulary lacks; "
        "give a text without it, or leave that checkpoint out"
    )


def test_a_text_that_not_all_can_read_is_refused(runs: Path, tmp_path: Path) -> None:
    wider = train(tmp_path / "wider", corpus_of(tmp_path, prose(3000) + "é" * 50))
    text = write(tmp_path / "text.txt", "a café")
    assert message_of(compare, [wider, runs / "one"], text) == (
        f"{text}: one cannot read 'é' (U+00E9), character 6 of the text, which its vocabulary lacks; "
        "give a text without it, or leave that checkpoint out"
    )
    byte_run = train(tmp_path / "bytes", prepare([tmp_path / "source.txt"], tmp_path / "b", TextOptions(unit="byte")))
    assert compare([wider, byte_run], text).splits == ("text",)
    write(text, "a café à")
    assert "bytes cannot read 'à' (U+00E0), character 8" in message_of(compare, [byte_run, wider], text)


def test_rare_characters_are_the_unknown_symbol_where_it_is_the_same_to_all(runs: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "rare", corpus_of(tmp_path, prose(3000) + "é", min_count=2))
    text = write(tmp_path / "text.txt", "a é b à" + prose(500))
    notes = compare([run, run], text).notes
    assert "2 characters of the text are read as the unknown symbol of the vocabulary." in notes
    assert "rare cannot read 'é' (U+00E9), character 3" in message_of(compare, [run, runs / "one"], text)


def test_encode_leaves_out_what_is_lacking() -> None:
    codes = np.array([ord(char) for char in "xbya\ufffd"])
    assert encode(codes, Vocabulary("char", ("a", "b", "\ufffd"), unknown=2)).tolist() == [-1, 1, -1, 0, -1]
    assert encode(codes, Vocabulary("char", ("a", "b", "\ufffd"))).tolist() == [-1, 1, -1, 0, 2]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_refusals(runs: Path, tmp_path: Path) -> None:
    both = [runs / "one", runs / "four"]
    assert message_of(compare, [runs / "one"]) == (
        "checkpoints to compare: 1; give at least 2 run folders (such as runs/NAME) or .safetensors files, "
        "the one to compare the others with first"
    )
    assert message_of(compare, [runs / "one", tmp_path / "nothing"]).startswith(f"{tmp_path / 'nothing'}: no such ")
    missing = tmp_path / "missing.txt"
    assert message_of(compare, both, missing) == (
        f"cannot read {missing}: No such file or directory; give a text file: --text FILE"
    )
    short = write(tmp_path / "short.txt", "a")
    assert message_of(compare, both, short) == (
        f"{short}: 1 characters are too few to evaluate on; give a longer text: --text FILE"
    )


def test_weights_that_are_no_numbers_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "one", tmp_path / "broken")
    path = tmp_path / "broken" / "best.safetensors"
    checkpoint = load_checkpoint(path)
    checkpoint.tensors["model.head.bias"][0] = torch.nan
    save_checkpoint(path, checkpoint.tensors, checkpoint.document)
    assert message_of(compare, [runs / "one", tmp_path / "broken"]) == (
        f"{path}: its loss is not a finite number, so its weights are damaged; "
        "leave it out, or give an earlier checkpoint of that run"
    )


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_json_is_strict_and_whole(runs: Path, tmp_path: Path) -> None:
    result = compare([runs / "one", runs / "slow"])
    row = replace(result.rows[0], scores=(replace(result.rows[0].scores[0], perplexity=math.inf),))
    write_json(replace(result, rows=(row, result.rows[1])), path := tmp_path / "result.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert data["rows"][0]["scores"][0]["perplexity"] is None
    assert data["rows"][0]["path"] == str(runs / "one" / "best.safetensors")
    interval = result.pairs[0].interval
    assert interval is not None
    assert data["pairs"][0]["interval"] == {
        "low": interval.low,
        "high": interval.high,
        "level": 0.95,
        "blocks": interval.blocks,
        "block_length": interval.block_length,
        "flat": interval.flat,
        "resamples": 10_000,
        "seed": 0,
    }
    assert data["pairs"][0]["verdict"] == result.pairs[0].verdict
    assert data["notes"] == list(result.notes)
    assert data["warnings"] == list(result.warnings)
    assert data["rows"][1] == json.loads(json.dumps(to_json(result)["rows"][1]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_file_that_cannot_be_written_is_refused(runs: Path, tmp_path: Path) -> None:
    result = compare([runs / "one", runs / "one"])
    path = tmp_path / "none" / "result.json"
    assert message_of(write_json, result, path) == (
        f"cannot write {path}: No such file or directory; give a file that can be written"
    )
    (tmp_path / "file").touch()
    assert "Not a directory" in message_of(write_json, result, tmp_path / "file" / "result.json")


def test_entries_know_their_parts(runs: Path) -> None:
    entry = Entry("one", load_checkpoint(runs / "one" / "last.safetensors"), None)
    assert entry.budget_spent == 4000
