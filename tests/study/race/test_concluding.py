"""What finished runs show, against `compare` and the records themselves."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnnbptt.study.comparing import compare
from rnnbptt.study.race.claims import Claim
from rnnbptt.study.race.concluding import conclude
from rnnbptt.study.race.differences import stretches_of
from rnnbptt.study.race.reading import Entrant, Finished
from rnnbptt.study.race.results import AXES, Judgement, RaceResult
from rnnbptt.text.corpus import Corpus
from support.refusals import message_of
from support.runs import train_run
from support.texts import make_corpus, prose

SEEDS = (0, 1, 2)
AGAIN = (3, 4, 5)
OPTIONS = {"chars": 600, "hidden": 6, "eval_every": 200, "precision": "float32", "lr": 0.02}


@pytest.fixture(scope="module")
def text_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """4,000 characters to train on, 600 to validate, and enough to test for an interval."""
    return make_corpus(tmp_path_factory.mktemp("text"), prose(7000), "4000/600/2400")


@pytest.fixture(scope="module")
def folder(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of `1` and `8`; of `1` by other seeds, too."""
    place = tmp_path_factory.mktemp("race")
    for trunc, seeds in (("1", (*SEEDS, *AGAIN)), ("8", SEEDS)):
        for seed in seeds:
            train_run(place / f"{trunc}-{seed}", text_corpus, trunc=trunc, seed=seed, **OPTIONS)
    return place


@pytest.fixture(scope="module")
def result(folder: Path, text_corpus: Corpus) -> RaceResult:
    """What they show."""
    return of(folder, text_corpus)


def entrant(folder: Path, trunc: str, seeds: tuple[int, ...] = SEEDS, diverged: tuple[int, ...] = ()) -> Entrant:
    return Entrant(trunc, [Finished(seed, folder / f"{trunc}-{seed}", seed in diverged) for seed in seeds])


def of(folder: Path, corpus: Corpus, eight: Entrant | None = None, thresholds: tuple[float, ...] = ()) -> RaceResult:
    again = replace(entrant(folder, "1", AGAIN), label="1 again")
    return conclude([entrant(folder, "1"), eight or entrant(folder, "8")], again, corpus, thresholds)


def records(folder: Path, trunc: str, seed: int, kind: str) -> list[dict[str, float]]:
    lines = (folder / f"{trunc}-{seed}" / "metrics.jsonl").read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def test_test_figures_are_those_that_compare_finds(folder: Path, result: RaceResult) -> None:
    assert (result.split, result.characters) == ("test", 2400)
    for contestant, seeds in zip((*result.contestants, result.again), (SEEDS, SEEDS, AGAIN), strict=True):
        trunc = contestant.label.split()[0]
        compared = compare([folder / f"{trunc}-{seed}" for seed in seeds])
        expected = [row.scores[1].bpc for row in compared.rows]
        assert [run.test for run in contestant.runs] == pytest.approx(expected, rel=1e-12)
        assert contestant.test.mean == pytest.approx(statistics.mean(expected))
        assert contestant.test.sd == pytest.approx(statistics.stdev(expected))


def test_curves_and_costs_are_those_of_the_records(folder: Path, result: RaceResult) -> None:
    for contestant in result.contestants:
        found = [records(folder, contestant.label, seed, "eval") for seed in SEEDS]
        assert [run.seed for run in contestant.runs] == list(SEEDS)
        for run, evals in zip(contestant.runs, found, strict=True):
            assert list(run.bpc) == [record["bpc"] for record in evals]
            assert all(list(run.axes[axis]) == [record[axis] for record in evals] for axis in AXES)
        assert contestant.last.mean == pytest.approx(statistics.mean(evals[-1]["bpc"] for evals in found))
        assert contestant.best.mean == pytest.approx(statistics.mean(min(r["bpc"] for r in evals) for evals in found))
        last = [records(folder, contestant.label, seed, "train")[-1] for seed in SEEDS]
        assert dict(contestant.cost) == pytest.approx({axis: statistics.mean(r[axis] for r in last) for axis in AXES})


def test_differences_are_paired_by_seed(result: RaceResult) -> None:
    reference, eight = result.contestants
    assert reference.against is None
    assert eight.against is not None
    assert result.again.against is not None
    for contestant, against in ((eight, eight.against), (result.again, result.again.against)):
        apart = [mine.test - its.test for mine, its in zip(contestant.runs, reference.runs, strict=True)]
        assert against.difference.differences == pytest.approx(apart)
        assert against.difference.interval is not None
        assert against.difference.mean == pytest.approx(statistics.mean(apart))
    assert eight.against.verdict.lacks[0] == "p", "of three seeds no p is below a quarter"
    assert any("Seeds: 3. No p is below 0.25 then" in note for note in result.notes)


def test_a_run_that_failed_is_in_no_pair(folder: Path, text_corpus: Corpus, result: RaceResult) -> None:
    whole, (_, lame) = result, of(folder, text_corpus, entrant(folder, "8", (2, 0))).contestants
    assert lame.against is not None
    assert whole.contestants[1].against is not None
    first, _, third = whole.contestants[1].against.difference.differences
    assert lame.against.difference.differences == (first, third)


def test_a_run_that_diverged_counts_against_its_strategy(folder: Path, text_corpus: Corpus) -> None:
    result = of(folder, text_corpus, entrant(folder, "8", diverged=(1,)))
    eight = result.contestants[1]
    assert (eight.diverged, eight.test.mean, eight.last.mean) == (1, None, None)
    assert eight.runs[1].test == math.inf
    assert eight.against is not None
    assert eight.against.difference.differences[1] == math.inf
    assert (eight.against.difference.mean, eight.against.difference.diverged) == (None, 1)
    assert "8: 1 of 3 runs diverged, and count as worse than any other." in result.notes
    assert all(each.second == "1" for each in result.overtakings), "what has diverged overtakes nobody"


def test_a_run_that_diverged_at_once_has_nothing_but_that(folder: Path, text_corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "8-1").mkdir()
    (tmp_path / "8-1" / "metrics.jsonl").write_text("")
    runs = [Finished(0, folder / "8-0"), Finished(1, tmp_path / "8-1", diverged=True), Finished(2, folder / "8-2")]
    eight = of(folder, text_corpus, Entrant("8", runs)).contestants[1]
    assert eight.runs[1].bpc == ()
    assert eight.runs[1].cost == dict.fromkeys(AXES, 0)


def test_thresholds_are_the_given_ones_or_the_best_of_the_reference(
    folder: Path, text_corpus: Corpus, result: RaceResult
) -> None:
    assert [(each.label, each.bpc) for each in result.thresholds] == [
        (label, result.contestants[0].best.mean) for label in ("1", "8")
    ]
    given = of(folder, text_corpus, thresholds=(9.0, 0.1)).thresholds
    assert [(each.label, each.bpc) for each in given] == [("1", 9.0), ("8", 9.0), ("1", 0.1), ("8", 0.1)]
    easy, hard = given[0].reached["chars"], given[2].reached["chars"]
    assert (easy.count, easy.median) == (3, 200), "at the first validation"
    assert (hard.count, hard.median) == (0, None)


def test_without_a_test_split_the_validation_split_decides_and_that_is_said(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, prose(3000), "2000/1000/0")
    for trunc in ("1", "8"):
        train_run(tmp_path / f"{trunc}-0", corpus, trunc=trunc, chars=80)
    result = conclude([entrant(tmp_path, each, (0,)) for each in ("1", "8")], entrant(tmp_path, "1", (0,)), corpus)
    assert (result.split, result.characters) == ("valid", 1000)
    assert result.contestants[1].against is not None
    assert result.contestants[1].against.difference.interval is None, "one seed"
    assert "There is no test split: figures are of the validation split, which chose the checkpoints." in result.notes


def test_a_strategy_of_which_nothing_is_known_is_left_out(folder: Path, text_corpus: Corpus) -> None:
    lost = Entrant("64", [])
    again = entrant(folder, "1", AGAIN)
    claims = [Claim("a", "ends", "8", "64"), Claim("b", "ends", "1", "8")]
    result = conclude([entrant(folder, "1"), lost, entrant(folder, "8")], again, text_corpus, claims=claims)
    assert [each.label for each in result.contestants] == ["1", "8"]
    assert result.notes[0] == "64 is left out: none of its runs has come to its end."
    assert result.judgements[0] == Judgement("a", "not shown", "no run of 64 has come to its end")
    said = "is left out: none of its runs has come to its end; nothing can be compared"
    assert message_of(conclude, [entrant(folder, "1"), lost], again, text_corpus) == f"64 {said}"
    assert message_of(conclude, [lost, entrant(folder, "1"), entrant(folder, "8")], again, text_corpus) == f"64 {said}"
    found = message_of(conclude, [entrant(folder, "1"), entrant(folder, "8")], Entrant("1 again", []), text_corpus)
    assert found == "none of the runs of 1 again has come to its end; there is nothing to tell luck by"


def test_where_there_is_no_text_to_decide_on(folder: Path, tmp_path: Path) -> None:
    bare = make_corpus(tmp_path, prose(300), "300/0/0")
    assert message_of(of, folder, bare) == (
        f"{bare.path}: no test and no validation part to decide a race on; prepare it with a --split that has a test"
        " part"
    )


def test_the_text_has_its_name(folder: Path, text_corpus: Corpus, result: RaceResult) -> None:
    assert result.text == "text.txt"
    twice = replace(text_corpus, sources=text_corpus.sources * 3)
    assert of(folder, twice).text == "text.txt and 2 more"


@pytest.mark.parametrize(("characters", "length"), [(2000, 200), (2400, 240), (10_000, 1000), (25_300, 1000)])
def test_stretches_are_equal_and_at_least_ten_where_there_is_text(characters: int, length: int) -> None:
    bits = np.random.default_rng(0).random(characters)
    expected = [bits[at : at + length].mean() for at in range(0, characters - length + 1, length)]
    np.testing.assert_allclose(stretches_of(bits), expected, rtol=1e-12)


def test_a_text_too_short_for_an_interval_has_no_stretches() -> None:
    assert not stretches_of(np.ones(1999)).size
