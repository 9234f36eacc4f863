"""comparing.py on runs of a second: what it measures, what it says, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rnnbptt.inference.evaluation import character_nats
from rnnbptt.storage.files import to_json, write_json
from rnnbptt.study.bootstrap import Interval
from rnnbptt.study.comparing import compare, verdict
from rnnbptt.study.results import Comparison, Pair
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.training.records import Validations
from support.refusals import message_of
from support.runs import train_run
from support.texts import make_corpus, prose


def train(
    folder: Path, corpus: Corpus, hidden: int = 6, chars: int = 4000, precision: str = "float32", **options: Any
) -> Path:
    """A run folder."""
    return train_run(folder, corpus, chars, hidden, "gru", precision, **{"eval_every": 1000, **options})


@pytest.fixture(scope="module")
def text_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """9,000 characters: 5,000 to train on, 2,000 to validate and 2,000 to test, enough for an interval."""
    return make_corpus(tmp_path_factory.mktemp("comparing"), prose(9000), "5000/2000/2000")


@pytest.fixture(scope="module")
def runs(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `one` (trunc 1), `four` (trunc 4) and `slow` (trunc 4, a low learning rate, another seed)."""
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "one", text_corpus, trunc="1")
    train(folder / "four", text_corpus)
    train(folder / "slow", text_corpus, lr=1e-5, seed=1)
    return folder


def edit(run: Path, **changes: Any) -> None:
    """Replace parts of the documents of a run's checkpoints."""
    for path in run.glob("*.safetensors"):
        checkpoint = load_checkpoint(path)
        save_checkpoint(path, checkpoint.tensors, replace(checkpoint.document, **changes))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def pair_of(result: Comparison, second: str, split: str) -> Pair:
    return next(pair for pair in result.pairs if (pair.second, pair.split) == (second, split))


# --- what is measured -------------------------------------------------------------------------------------------------


def test_rows_and_pairs_are_what_the_checkpoints_are(runs: Path, text_corpus: Corpus) -> None:
    told: list[tuple[int, int]] = []
    result = compare([runs / "one", runs / "slow"], tell=lambda done, total: told.append((done, total)))
    assert result.splits == ("valid", "test")
    assert [row.name for row in result.rows] == ["one", "slow"]
    one = result.rows[0]
    assert one.path == runs / "one" / "best.safetensors"
    assert (one.trunc, one.cell, one.chars, one.updates) == ("1", "gru", 4000, 1000)
    vocabulary = len(text_corpus.vocabulary)
    same = torch.nn.ModuleList([torch.nn.GRU(vocabulary, 6), torch.nn.Linear(6, vocabulary)])
    assert one.parameters == sum(parameter.numel() for parameter in same.parameters())
    assert one.characters_per_second == one.chars / one.seconds
    assert one.curve is not None
    assert one.curve.chars == (1000, 2000, 3000, 4000)
    model = load_checkpoint(one.path).build_model()
    for score, characters in zip(one.scores, (2000, 2000), strict=True):
        nats = character_nats(model, text_corpus.ids, *text_corpus.splits[score.split])[0].mean()
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
    assert told == [(2000, 8000), (4000, 8000), (6000, 8000), (8000, 8000)]


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


def test_notes_say_what_the_intervals_cover(runs: Path) -> None:
    notes = " ".join(compare([runs / "one", runs / "four"]).notes)
    assert (
        "The intervals (95 %, paired block bootstrap) cover other text like this passage, not all of the book: another"
        " part of it can move the difference 2 to 4 times as far."
    ) in notes
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
    train(tmp_path / "big", text_corpus, hidden=12, chars=2000, precision="bfloat16", lr=0.002, beta2=0.99)
    result = compare([runs / "one", runs / "four", tmp_path / "big"])
    assert result.warnings == (
        "one and big differ in more than truncation: budget 4,000 characters / 2,000 characters, lr 0.006 / 0.002, "
        "beta2 0.999 / 0.99, hidden 6 / 12, precision float32 / bfloat16, characters seen 4,000 / 2,000",
    )


def test_a_warning_when_the_truncation_is_the_same(runs: Path) -> None:
    assert compare([runs / "four", runs / "slow"]).warnings == (
        "four and slow have the same truncation and differ in: lr 0.006 / 1e-05",
    )


def test_seeds_alone_give_no_warning(runs: Path, text_corpus: Corpus, tmp_path: Path) -> None:
    """Several of each are what training by chance is told by."""
    train(tmp_path / "again", text_corpus, seed=1)
    assert compare([runs / "four", tmp_path / "again"]).warnings == ()
    assert compare([runs / "one", tmp_path / "again"]).warnings == ()


def test_the_budget_of_a_best_checkpoint_is_that_of_its_whole_run(runs: Path, tmp_path: Path) -> None:
    """Both had the same choice, though one run was best earlier."""
    shutil.copytree(runs / "four", tmp_path / "four")
    last = load_checkpoint(tmp_path / "four" / "best.safetensors").document.standing
    validations = Validations(last.validations.chars[:3], last.validations.nats[:3])
    edit(tmp_path / "four", standing=replace(last, axes=replace(last.axes, chars=3000), validations=validations))
    assert compare([runs / "one", tmp_path / "four"]).warnings == ()
    shutil.copy(tmp_path / "four" / "best.safetensors", other := tmp_path / "four" / "other.safetensors")
    assert compare([runs / "one", other]).warnings == (
        "one and other differ in more than truncation: characters seen 4,000 / 3,000",
    )
    (tmp_path / "four" / "metrics.jsonl").unlink()  # nothing tells how far the run went
    assert compare([runs / "one", tmp_path / "four"]).warnings == (
        "one and four differ in more than truncation: characters seen 4,000 / 3,000",
    )


# --- texts ------------------------------------------------------------------------------------------------------------


def test_on_a_text_file(runs: Path, tmp_path: Path, text_corpus: Corpus) -> None:
    content = prose(3000, seed=5)
    result = compare([runs / "one", runs / "four"], write(tmp_path / "text.txt", content))
    assert result.splits == ("text",)
    assert result.notes[0] == "The text is read as utf-8."
    ids = text_corpus.vocabulary.encode(content)
    nats = character_nats(load_checkpoint(result.rows[0].path).build_model(), ids, 0, len(ids))[0].mean()
    assert result.rows[0].scores[0].characters == 2999
    assert result.rows[0].scores[0].bpc == pytest.approx(nats / math.log(2), rel=1e-12)


def test_checkpoints_of_different_corpora_on_a_text(runs: Path, tmp_path: Path) -> None:
    for name in ("other", "split"):
        shutil.copytree(runs / "one", tmp_path / name)
    corpus = load_checkpoint(runs / "one" / "best.safetensors").document.corpus
    edit(tmp_path / "other", corpus=replace(corpus, fingerprint="0" * 64, path="/elsewhere"))
    edit(tmp_path / "split", corpus=replace(corpus, splits=corpus.splits | {"train": (0, 4000)}))
    paths = [runs / "one", tmp_path / "other", tmp_path / "split"]
    assert "one and other were trained on different corpora" in message_of(compare, paths)
    result = compare(paths, write(tmp_path / "text.txt", prose(3000, seed=5)))
    assert result.warnings == (
        f"one and other have the same truncation and differ in: corpus {corpus.path} / /elsewhere",
        "one and split have the same truncation and differ in: training characters 5,000 / 4,000",
    )


def test_characters_and_bytes_on_a_text(tmp_path: Path) -> None:
    source = write(tmp_path / "source.txt", content := prose(3000) + "naïve café " * 20)
    for unit in ("char", "byte"):
        train(tmp_path / unit, prepare([source], tmp_path / f"{unit}.corpus", TextOptions(unit=unit)))
    result = compare([tmp_path / "char", tmp_path / "byte"], source)
    assert [row.scores[0].characters for row in result.rows] == [len(content) - 1] * 2
    assert result.warnings[0].startswith("char and byte have the same truncation and differ in: vocabulary ")


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_refusals(runs: Path, tmp_path: Path) -> None:
    assert message_of(compare, [runs / "one"]) == (
        "checkpoints to compare: 1; give at least 2 run folders (such as runs/NAME) or .safetensors files, "
        "the one to compare the others with first"
    )
    assert message_of(compare, [runs / "one", tmp_path / "nothing"]).startswith(f"{tmp_path / 'nothing'}: no such ")


def test_weights_that_make_no_numbers_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "one", tmp_path / "broken")
    path = tmp_path / "broken" / "best.safetensors"
    checkpoint = load_checkpoint(path)
    checkpoint.tensors["model.head.bias"][:] = torch.tensor(3e38) * (-1) ** torch.arange(
        len(checkpoint.tensors["model.head.bias"])
    )
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


# --- seeds and contexts -----------------------------------------------------------------------------------------------


def test_runs_that_differ_in_the_seed_alone_are_grouped(text_corpus: Corpus, tmp_path: Path) -> None:
    names = [f"{trunc}-{seed}" for trunc in ("1", "8") for seed in (0, 1)]
    for name in names:
        train_run(tmp_path / name, text_corpus, trunc=name[0], seed=int(name[2:]))
    result = compare([tmp_path / name for name in names])
    assert [(group.split, group.label, group.names) for group in result.groups] == [
        (split, trunc, (f"{trunc}-0", f"{trunc}-1")) for split in ("valid", "test") for trunc in ("1", "8")
    ]
    for group in result.groups:
        members = [row for row in result.rows if row.name in group.names]
        scores = [score.bpc for row in members for score in row.scores if score.split == group.split]
        assert group.mean == pytest.approx(sum(scores) / 2)
    last = result.groups[-1].against
    assert last is not None
    pairs = {pair.second: pair.difference for pair in result.pairs if pair.split == "test"}
    assert last.difference.differences[0] == pytest.approx(pairs["8-0"])


def test_yardsticks_are_of_the_splits_that_were_trained_on(tmp_path: Path) -> None:
    """Where the folder has been split anew since, into a training part alone, too."""
    corpus = make_corpus(tmp_path, prose(500), "300/100/100")
    paths = [train_run(tmp_path / trunc, corpus, trunc=trunc, chars=80) for trunc in ("1", "8")]
    before = compare(paths).yardsticks
    prepare([tmp_path / "text.txt"], corpus.path, TextOptions(split="1/0/0"), force=True)
    assert compare(paths).yardsticks == before
    assert len(before) == 6


def test_losses_by_context_are_of_the_last_split(runs: Path, text_corpus: Corpus) -> None:
    """Of its 2,000 characters half are predicted, each from the zero state."""
    result = compare([runs / "one", runs / "slow"], contexts=True)
    ids = torch.from_numpy(text_corpus.ids.astype("int64"))
    start, stop = text_corpus.splits["test"]
    targets = torch.linspace(start, stop, 1025, dtype=torch.float64)[:-1].floor().long().unique()
    for row in result.rows:
        assert [each.characters for each in row.contexts] == [1, 4, 16, 64, 256]
        model = load_checkpoint(row.path).build_model("float64")
        for given in row.contexts[:3]:
            before = ids.unfold(0, given.characters, 1)[targets - given.characters].T
            logits, _ = model.forward(before, model.zero_state(len(targets)))
            nats = torch.nn.functional.cross_entropy(logits[-len(targets) :], ids[targets])
            assert given.bpc == pytest.approx(float(nats) / math.log(2), rel=1e-5)
    assert all(not row.contexts for row in compare([runs / "one", runs / "slow"]).rows)


def test_losses_by_context_are_not_of_a_foreign_text(runs: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "text.txt", prose(100))
    said = "--contexts: of the splits of the corpus alone; leave out --text, or it"
    assert message_of(compare, [runs / "one", runs / "slow"], path, contexts=True) == said


def test_losses_by_context_take_so_many_characters_before(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, prose(250), "150/50/50")
    for trunc in ("1", "8"):
        train_run(tmp_path / trunc, corpus, trunc=trunc, chars=80)
    said = "--contexts: the test split has nothing to score from character 257 on; leave it out"
    assert message_of(compare, [tmp_path / "1", tmp_path / "8"], contexts=True) == said
