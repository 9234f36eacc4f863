"""Interpolated Kneser-Ney, against counts made by hand and the equations, symbol by symbol."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from rnnbptt.study import ngrams
from rnnbptt.study.ngrams import count, kneser_ney, probabilities

TRAIN = np.random.default_rng(0).choice(5, 400, p=[0.4, 0.3, 0.15, 0.1, 0.05])
TEXT = np.random.default_rng(1).choice(6, 60)


def plain(train: list[int], order: int, symbols: int) -> dict[tuple[int, ...], dict[int, float]]:
    """P_n(w | h) of every context h that was seen, by the equations, from dictionaries."""
    tables: list[Counter[tuple[int, ...]]] = []
    grams = Counter(tuple(train[at : at + order]) for at in range(len(train) - order + 1))
    tables.insert(0, grams)
    for _ in range(order - 1):
        tables.insert(0, Counter(gram[1:] for gram in tables[0]))
    found: dict[tuple[int, ...], dict[int, float]] = {}
    for n, table in enumerate(tables, 1):
        ones, twos = (1 + sum(times == number for times in table.values()) for number in (1, 2))
        discount = ones / (ones + 2 * twos)
        for h in {gram[:-1] for gram in table}:
            counts = {gram[-1]: times for gram, times in table.items() if gram[:-1] == h}
            total = sum(counts.values())
            lower = found[h[1:]] if n > 1 else dict.fromkeys(range(symbols), 1 / symbols)
            found[h] = {
                w: max(counts.get(w, 0) - discount, 0) / total + discount * len(counts) / total * lower[w]
                for w in range(symbols)
            }
    return found


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_every_symbol_has_the_probability_of_the_equations(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, text = plain(TRAIN.tolist(), order, 6), TEXT.tolist()
    bits = 0.0
    for at in range(2, len(text)):
        contexts = (tuple(text[max(0, at - n) : at]) for n in range(order - 1, -1, -1))
        bits -= math.log2(next(expected[h] for h in contexts if h in expected)[text[at]])
    monkeypatch.setattr(ngrams, "ORDER", order)
    assert kneser_ney(TRAIN, TEXT, 2, 6) == pytest.approx(bits / (len(text) - 2), rel=1e-12)
    monkeypatch.setattr(ngrams, "PIECE", 7)
    assert kneser_ney(TRAIN, TEXT, 2, 6) == pytest.approx(bits / (len(text) - 2), rel=1e-12)


def test_only_what_is_scored_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "PIECE", 7)
    scored = np.isin(np.arange(6), [1, 4])
    found = -np.log2(probabilities(count(TRAIN, 5, 6), TEXT, 2, 6))[scored[TEXT[2:]]]
    assert kneser_ney(TRAIN, TEXT, 2, 6, scored) == pytest.approx(found.mean(), rel=1e-12)


def test_counts_are_those_made_by_hand() -> None:
    """abab a: ab and ba twice each; before a stood b, and before b a."""
    one, two = count(np.array([0, 1, 0, 1, 0]), 2, 2)
    assert (two.grams.tolist(), two.counts.tolist(), two.totals.tolist()) == ([1, 2], [2, 2], [2, 2])
    assert two.discount == 1 / (1 + 2 * 3)
    assert (one.grams.tolist(), one.counts.tolist(), one.totals.tolist()) == ([0, 1], [1, 1], [2])
    assert one.discount == 3 / (3 + 2 * 1)
    # P(a) = P(b) = 1/2; P(b | a) = (2 - 1/7) / 2 + 1/7 * 1 / 2 * 1/2
    found = probabilities([one, two], np.array([0, 1]), 0, 2)
    assert found == pytest.approx([0.5, (2 - 1 / 7) / 2 + 1 / 28])


@pytest.mark.parametrize("context", [[], [3], [0, 1], [5, 5, 5, 5], [0, 0, 0, 0], TRAIN[:9].tolist()])
def test_probabilities_of_all_symbols_add_to_one(context: list[int]) -> None:
    tables = count(TRAIN, 5, 6)
    total = sum(probabilities(tables, np.array([*context, w]), len(context), 6)[0] for w in range(6))
    assert total == pytest.approx(1, rel=1e-12)


def test_a_text_shorter_than_its_n_grams_and_huge_vocabularies_are_counted_as_far_as_they_go() -> None:
    share = 2 / (2 + 2 * 1)  # D of one symbol that was counted once: half of all is left for both alike
    expected = -(math.log2(share / 2) + math.log2(1 - share + share / 2)) / 2
    assert kneser_ney(np.array([1]), np.array([0, 1]), 0, 2) == pytest.approx(expected)
    ids = np.array([0, 100_000, 7] * 20)
    assert 0 < kneser_ney(ids, ids, 1, 150_000) < 1
