"""Claims: what a file may say, and when they are held, of curves whose answer is known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnbptt.study.race.claims import Claim, judge, load_claims, remarks
from rnnbptt.study.race.differences import PairedDifference
from rnnbptt.study.race.pairing import difference_of, pairs_of
from rnnbptt.study.race.reading import Examined
from rnnbptt.study.race.results import AXES, Judgement, Run
from rnnbptt.study.race.varied import one_spelling
from support.commands import ROOT
from support.refusals import message_of

SEEDS = range(7)
CHARS = np.arange(1, 21) * 1000.0
LABELS = ["1", "64"]


def runs(bpc: Any, test: float, luck: float = 0.003) -> list[Examined]:
    """One a seed, each a little apart from the others on all validations and on the test text."""
    found = []
    for seed in SEEDS:
        own = luck * np.random.default_rng(seed + round(1000 * test)).normal()
        axes = {axis: tuple(CHARS) for axis in AXES}
        stretches = test + own + 0.001 * np.random.default_rng(seed).normal(size=20)
        cost = dict.fromkeys(AXES, 0.0)
        run = Run(seed, Path(), False, axes, tuple(bpc + own), cost, float(stretches.mean()))
        found.append(Examined(run, stretches))
    return found


# 1 falls fast and stays at 3; 64 falls slowly, to 2, and is below 1 from 10,000 characters on.
FIELD = {"1": runs(np.where(CHARS < 3000, 5.0, 3.0), 3.0), "64": runs(4.0 - CHARS / 10_000, 2.0)}
SAME = difference_of(pairs_of(runs(CHARS, 3.0), runs(CHARS, 3.0005)))


def judged(rule: Any, first: str, second: str, same: PairedDifference = SAME, **more: Any) -> Judgement:
    (found,) = judge([Claim("It is so.", rule, first, second, **more)], FIELD, same)
    assert found.says == "It is so."
    return found


@pytest.mark.parametrize(("bpc", "early"), [(3.5, "held"), (2.9, "not held"), (1.0, "not shown")])
@pytest.mark.parametrize("axis", AXES)
def test_who_reaches_a_threshold_sooner(bpc: float, early: str, axis: str) -> None:
    """1 comes to 3.5 first; 64 alone to 2.9; nobody to 1."""
    assert judged("reaches", "1", "64", bpc=bpc, axis=axis).word == early
    opposite = {"held": "not held", "not held": "held"}.get(early, early)
    assert judged("reaches", "64", "1", bpc=bpc, axis=axis).word == opposite


def test_figures_of_a_threshold() -> None:
    said = judged("reaches", "1", "64", bpc=2.5, axis="chars").figures
    assert said.startswith("chars until 2.5: 1 in - (0 of 7 runs), 64 in 15,")
    assert said.endswith(" (7 of 7 runs); p = 0.0156")


def test_who_is_better_at_the_end() -> None:
    assert judged("ends", "64", "1").word == "held"
    assert judged("ends", "1", "64").word == "not held"
    far = difference_of(pairs_of(runs(CHARS, 3.0), runs(CHARS, 5.0)))
    assert judged("ends", "64", "1", far).word == "not shown", "1 is as far from itself"
    said = judged("ends", "64", "1").figures
    assert said.startswith("-0.99")
    assert said.endswith(" bits per character; p = 0.0156")


def test_who_overtakes_whom() -> None:
    found = judged("overtakes", "64", "1", axis="chars")
    assert found.word == "held"
    assert found.figures.startswith("at 10,")
    assert judged("overtakes", "1", "64", axis="chars") == Judgement("It is so.", "not held", "1 does not overtake 64")
    one = {label: of[:1] for label, of in FIELD.items()}
    (alone,) = judge([Claim("It is so.", "overtakes", "1", "64", axis="chars")], one, SAME)
    assert alone.word == "not shown", "of one seed nothing is known of luck"


def test_runs_that_never_get_there_do_not_turn_a_claim_round() -> None:
    """Six seeds for it, seven in which neither comes to the threshold: the median is 0, and all that differ agree."""
    field = {
        label: [*runs(bpc, 3.0)] for label, bpc in (("1", np.where(CHARS < 3000, 5.0, 3.0)), ("64", CHARS * 0 + 5))
    }
    late = [replace(each, run=replace(each.run, seed=7 + number)) for number, each in enumerate(field["64"])]
    both = {"1": [*field["1"], *late], "64": [*field["64"], *late]}
    (found,) = judge([Claim("It is so.", "reaches", "1", "64", 3.5, "chars")], both, SAME)
    assert found.word == "held"


def test_the_more_claims_the_less_is_shown() -> None:
    """Of seven seeds the p of one is 0.0156; four times that is above 0.05."""
    claims = [Claim("a", "reaches", "1", "64", 3.5, "chars"), Claim("b", "ends", "64", "1")]
    assert [each.word for each in judge(claims, FIELD, SAME)] == ["held", "held"]
    assert [each.word for each in judge(2 * claims, FIELD, SAME)] == ["not shown"] * 4
    overtakes = Claim("c", "overtakes", "64", "1", axis="chars")
    assert [each.word for each in judge([*claims, *[overtakes] * 3], FIELD, SAME)] == ["held"] * 5, "no test of that"


GOOD = '[[claim]]\nsays = "so"\nrule = "ends"\nfirst = "1"\nsecond = "64"\n'


def test_a_file_of_claims(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(GOOD + GOOD.replace("ends", "reaches") + 'bpc = 2\naxis = "updates"\n')
    assert load_claims(path, LABELS) == [
        Claim("so", "ends", "1", "64"),
        Claim("so", "reaches", "1", "64", 2.0, "updates"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("claim = 1", "Expected `array`, got `int` - at `$.claim`"),
        ("[[claim", "Expected ']]' at the end of an array declaration (at end of document)"),
        (GOOD + "colour = 1", "Object contains unknown field `colour` - at `$.claim[0]`"),
        (GOOD.replace('says = "so"\n', ""), "Object missing required field `says` - at `$.claim[0]`"),
        (GOOD.replace("ends", "wins"), "Invalid enum value 'wins' - at `$.claim[0].rule`"),
        (GOOD.replace('"64"', '"8"'), "'so' is of '8', which is not raced; give one of 1, 64"),
        (GOOD.replace('"64"', '"1"'), "'so' is of '1' and itself; give two of 1, 64"),
        (GOOD + "bpc = 2", "'so' has bpc, which the rule 'ends' does not take; leave it out"),
        ("claim = []", "holds no claim; give one, as [[claim]]"),
        (
            GOOD.replace("ends", "reaches") + 'bpc = nan\naxis = "chars"',
            "'so' has bpc nan; give a number above 0 and below 64",
        ),
        (GOOD.replace("ends", "overtakes"), "'so' lacks axis, which the rule 'overtakes' takes"),
        (GOOD.replace("ends", "reaches") + 'axis = "chars"', "'so' lacks bpc, which the rule 'reaches' takes"),
    ],
)
def test_what_is_no_claim_is_refused_in_one_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(content)
    assert message_of(load_claims, path, LABELS) == f"--claim {path}: {said}"


def test_the_claims_of_the_project_are_such_files() -> None:
    for path in (ROOT / "data" / "claims").iterdir():
        raced = re.findall(r'^(?:first|second) = "(.*)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(load_claims(path, raced)) >= 2
        for contestant in raced:
            assert one_spelling(contestant) == contestant


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert message_of(load_claims, tmp_path / "x", LABELS).startswith(f"--claim {tmp_path / 'x'}: ")


@pytest.mark.parametrize(
    ("rules", "seeds", "said"),
    [
        (["ends"] * 3, 7, []),
        (
            ["ends", "reaches"] * 2,
            7,
            ["7 seeds cannot show a claim: with 4 claims 8 are needed (the p of 7 seeds is 0.016 or more)"],
        ),
        (["ends", "reaches"] * 2, 8, []),
        (["ends", "overtakes", "overtakes", "overtakes"], 6, []),
    ],
)
def test_claims_that_so_few_seeds_cannot_show_are_noted(rules: list[Any], seeds: int, said: list[str]) -> None:
    assert list(remarks([Claim("It is so.", rule, "1", "64") for rule in rules], seeds)) == said


def test_the_seeds_that_are_asked_for_are_enough() -> None:
    """Four claims that all seven seeds bear out are not shown; that all eight bear out, they are."""
    claims = [Claim("It is so.", "ends", "64", "1")] * 4
    for count, word in ((7, "not shown"), (8, "held")):
        field = {
            label: [replace(run, run=replace(run.run, seed=seed)) for seed, run in enumerate((runs * 2)[:count])]
            for label, runs in FIELD.items()
        }
        assert {each.word for each in judge(claims, field, SAME)} == {word}
