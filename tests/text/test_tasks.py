"""tasks.py: each text held against its description, and each optimum against enumeration and a model of the source."""

from __future__ import annotations

import hashlib
import math
import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest

from rnnbptt.text import tasks
from rnnbptt.text.corpus import Source
from rnnbptt.text.options import TASKS
from rnnbptt.text.tasks import KINDS, LETTERS, Made, parse_task
from support.refusals import message_of

SPECS = ["copy:1", "copy:3", "copy:4", "copy:20", "recall:2", "recall:17", "echo:1", "echo:30", "anbn:5", "brackets:3"]


def made(spec: str, size: int = 20_000, seed: int = 0) -> Made:
    found = parse_task(spec, size, seed)
    assert isinstance(found, Made)
    return found


def text_of(spec: str, size: int = 20_000, seed: int = 0) -> str:
    pieces, sources = made(spec, size, seed).text()
    text = b"".join(piece.tobytes() for piece in pieces)
    assert sources == [Source(spec, hashlib.sha256(text).hexdigest(), size)]
    return text.decode("ascii")


def within_chance(count: int, of: int, p: float) -> bool:
    """By at most five standard deviations."""
    return abs(count - of * p) <= 5 * math.sqrt(of * p * (1 - p))


# --- the texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_pieces_of_any_size_make_the_same_text_and_the_seed_another(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(spec, 3001)
    assert len(text) == 3001
    assert text.startswith(text_of(spec, 137))
    assert text_of(spec, 3001, seed=1) != text
    monkeypatch.setattr(tasks, "PIECE", 97)
    assert text_of(spec, 3001) == text


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 20])
def test_each_capital_of_copy_is_the_letter_lag_characters_before(lag: int) -> None:
    text, few = text_of(f"copy:{lag}"), min(3, lag)
    assert all(text[at - lag].upper() == char for at, char in enumerate(text) if char in LETTERS)
    delay = "" if lag == few else "-" * (lag - few - 1) + ">"
    assert all(re.fullmatch(f"[a-h]{{{few}}}{delay}[A-H]{{{few}}}", line) for line in text.split("\n")[:-1])
    counts = Counter(char for char in text if char in LETTERS)
    assert all(within_chance(counts[letter], counts.total(), 1 / 8) for letter in LETTERS)


@pytest.mark.parametrize("lag", [2, 3, 17])
def test_each_capital_of_recall_is_the_digit_lag_characters_before(lag: int) -> None:
    text = text_of(f"recall:{lag}")
    assert all(LETTERS[int(text[at - lag])] == char for at, char in enumerate(text) if char in LETTERS)
    assert all(re.fullmatch(rf"[0-7][a-h]{{{lag - 2}}}\?[A-H]", line) for line in text.split("\n")[:-1])
    counts = Counter(char for char in text if char in LETTERS)
    assert all(within_chance(counts[letter], counts.total(), 1 / 8) for letter in LETTERS)


@pytest.mark.parametrize("lag", [1, 30, 15_000])
def test_an_echo_is_flipped_one_time_in_twenty(lag: int) -> None:
    text = text_of(f"echo:{lag}")
    flips = [here != before for before, here in zip(text, text[lag:], strict=False)]
    assert within_chance(sum(flips), len(flips), 0.05)
    assert within_chance(sum(one and other for one, other in pairwise(flips)), len(flips), 0.05**2)
    assert within_chance(text[:lag].count("b"), lag, 0.5)


def test_as_many_b_as_a() -> None:
    records = re.findall(r"(a+)\n(b+)\n", text := text_of("anbn:5"))
    assert text.startswith("".join(f"{a}\n{b}\n" for a, b in records))
    assert all(len(a) == len(b) for a, b in records)
    counts = Counter(len(a) for a, _ in records)
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert all(within_chance(count, counts.total(), 1 / 5) for count in counts.values())


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_brackets_are_nested_to_the_depth_and_no_deeper(depth: int) -> None:
    text = text_of(f"brackets:{depth}")
    opened: list[str] = []
    reached = Counter[int]()
    choices = Counter[bool]()
    for char in text:
        if 0 < len(opened) < depth:
            choices[char in "(["] += 1
        if char in "([":
            opened.append(char)
        else:
            assert opened.pop() + char in ("()", "[]")
        reached[len(opened)] += 1
    assert sorted(reached) == list(range(depth + 1))
    assert within_chance(choices[True], choices.total(), 0.5)
    kinds = Counter(char for char in text if char in "([")
    assert within_chance(kinds["("], kinds.total(), 0.5)


def test_memory_does_not_grow_with_the_text() -> None:
    tracemalloc.start()
    pieces, _ = made("echo:30", 2_000_000).text()
    assert sum(map(len, pieces)) == 2_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000, "a piece as drawn, 8 bytes a character, and what is made of it"


# --- the optima -------------------------------------------------------------------------------------------------------


def enumerated(records: list[str], scored: str) -> float:
    """Bits per scored character of records that are all as probable: of each, by how many go on so from where it is."""
    prefixes = Counter(record[:end] for record in records for end in range(len(record) + 1))
    bits = count = 0.0
    for record in records:
        for at in (at for at, char in enumerate(record) if char in scored):
            bits -= math.log2(prefixes[record[: at + 1]] / prefixes[record[:at]])
            count += 1
    return bits / count


def test_optima_are_those_of_all_records() -> None:
    digits = dict(zip("01234567", LETTERS, strict=True))
    copies = [f"{x}{y}{x.upper()}{y.upper()}\n" for x, y in product("abcdefgh", repeat=2)]
    recalls = [f"{digit}{letter}?{digits[digit]}\n" for digit, letter in product(digits, "abcdefgh")]
    for spec, records in (("copy:2", copies), ("recall:3", recalls)):
        assert set(text_of(spec).split("\n")[:-1]) == {record[:-1] for record in records}
        assert made(spec).problem.optimum == enumerated(records, LETTERS) == 0
    for most in (1, 2, 5, 32):
        records = [f"{'a' * n}\n{'b' * n}\n" for n in range(1, most + 1)]
        assert made(f"anbn:{most}").problem.optimum == pytest.approx(enumerated(records, "ab\n"), rel=1e-12)
    assert f"{made('anbn:32').problem.optimum:.4f}" == "0.1429", "as in the literature"


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_the_optimum_of_brackets_is_that_of_its_depths_in_the_long_run(depth: int) -> None:
    """Their stationary distribution, solved exactly, and the bits of each step from each depth."""
    up = [Fraction(1), *[Fraction(1, 2)] * (depth - 1), Fraction(0)]
    weights = [Fraction(1)]
    for at in range(depth):  # as often up as down, between each two
        weights.append(weights[at] * up[at] / (1 - up[at + 1]))
    closing = [weight * (1 - rise) for weight, rise in zip(weights, up, strict=True)]
    bits = sum(share * -math.log2(1 - rise) for share, rise in zip(closing, up, strict=True) if rise < 1)
    assert made(f"brackets:{depth}").problem.optimum == pytest.approx(float(bits / sum(closing)), rel=1e-12)


def true_bits(spec: str, text: str) -> Iterator[float]:
    """What a model that knows the source takes for each scored character."""
    kind, number = spec.split(":")[0], int(spec.split(":")[1])
    depth = run = 0
    for at, char in enumerate(text):
        if kind == "echo" and at >= number:
            yield -math.log2(0.95 if char == text[at - number] else 0.05)
        if kind == "anbn" and char == "a":
            run += 1  # after so many less one, those that are as long or longer are left
            yield -math.log2((number - run + 1) / (number - run + 2) if run > 1 else 1)
        elif kind == "anbn" and text[at - 1] == "a":
            yield math.log2(number - run + 1)
            run = 0
        elif kind == "anbn":
            yield 0.0
        if kind == "brackets" and char in ")]":
            yield 0.0 if depth == number else 1.0
        if kind == "brackets":
            depth += 1 if char in "([" else -1


@pytest.mark.parametrize("spec", ["echo:7", "anbn:6", "brackets:4"])
def test_a_model_of_the_source_reads_its_text_as_the_optimum_says(spec: str) -> None:
    bits = np.array(list(true_bits(spec, text_of(spec, 60_000))))
    blocks = bits[: len(bits) // 100 * 100].reshape(100, -1).mean(axis=1)  # neighbours are not independent
    assert abs(bits.mean() - made(spec).problem.optimum) < 4 * blocks.std() / math.sqrt(len(blocks)) < 0.03


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("copy", "give copy:LAG, where LAG is a whole number, 1 or more"),
        ("copy:0", "give copy:LAG, where LAG is a whole number, 1 or more"),
        ("copy:2.5", "give copy:LAG, where LAG is a whole number, 1 or more"),
        ("copy:-3", "give copy:LAG, where LAG is a whole number, 1 or more"),
        ("recall:1", "give recall:LAG, where LAG is a whole number, 2 or more"),
        ("echo:", "give echo:LAG, where LAG is a whole number, 1 or more"),
        ("anbn:٣", "give anbn:N, where N is a whole number, 1 or more"),
        ("brackets:9999999999999999", "give brackets:DEPTH, where DEPTH is a whole number, 1 or more"),
        ("sort:3", f"unknown; give one of {TASKS}"),
        ("updown:x.csv", "give updown:FILE.csv:COLUMN, a column by its name, or its number from 1"),
    ],
)
def test_what_is_no_task_is_refused(spec: str, said: str) -> None:
    assert message_of(parse_task, spec, 1000, 0) == f"--task {spec!r}: {said}"


def test_all_tasks_are_named() -> None:
    assert TASKS.split(", ")[:-1] == [f"{kind}:{made.letter}" for kind, made in KINDS.items()]
    assert [made(spec).name for spec in ("copy:020", "anbn:32")] == ["copy-20", "anbn-32"]
    assert made("copy:020").task.spec == "copy:20"
