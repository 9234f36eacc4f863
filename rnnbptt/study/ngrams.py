"""Interpolated Kneser-Ney (Kneser & Ney 1995; interpolated: Chen & Goodman 1998) over symbols: what counting can do.

    P_n(w | h) = max(c(hw) - D_n, 0) / c(h) + D_n N(h) / c(h) P_{n-1}(w | h')

h are the n - 1 symbols before w, h' is h without its oldest, N(h) how many different symbols have followed h, and c(h)
the sum of c(hw) over w. At the highest order c counts the text; below, it counts before how many different symbols hw
stood. D_n = n1 / (n1 + 2 n2), from the numbers of hw that were counted once and twice, one more of each, so that it is
neither 0 nor 1. P_0 is 1 / V, the share of what is left for a symbol that was never seen.

An n-gram is a number: its symbols are the digits, to the base V, the oldest first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ORDER = 5
PIECE = 1 << 20  # characters looked up at a time: bounds memory, changes nothing else

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


class Table(NamedTuple):
    """Counts of one order: n-grams in ascending order, c of each, their contexts, c(h) and N(h) of each; D."""

    grams: Codes
    counts: Codes
    contexts: Codes
    totals: Codes
    followers: Codes
    discount: float


def kneser_ney(
    train: NDArray[np.integer],
    text: NDArray[np.integer],
    first: int,
    symbols: int,
    scored: NDArray[np.bool_] | None = None,
) -> float:
    """Bits per symbol of text[first:], or only of those that are `scored` (V,), by a model of order 5, or as high as
    its n-grams fit 63 bits, that was counted on `train`, which is not empty. A symbol at the beginning of `text` has
    what stands before it as its context.
    """
    order = order_of(len(train), symbols)
    tables = count(train.astype(np.int64), order, symbols)
    bits, number = 0.0, 0
    for start in range(first, len(text), PIECE):
        end = min(start + PIECE, len(text))
        from_ = max(0, start - order + 1)
        found = probabilities(tables, text[from_:end].astype(np.int64), start - from_, symbols)
        found = found if scored is None else found[scored[text[start:end]]]
        bits -= float(np.log2(found).sum())
        number += len(found)
    return bits / number


def order_of(length: int, symbols: int) -> int:
    """Of a model counted on so long a text."""
    return min(ORDER, length, int(63 / np.log2(max(2, symbols))))


def count(train: Codes, order: int, symbols: int) -> list[Table]:
    """The tables of order 1 to `order`."""
    grams, counts = np.unique(codes(train, order, symbols), return_counts=True)
    tables = [_table(grams, counts, symbols)]
    for n in range(order - 1, 0, -1):
        grams, counts = np.unique(grams % symbols**n, return_counts=True)  # each stood behind another symbol
        tables.append(_table(grams, counts, symbols))
    return tables[::-1]


def codes(text: Codes, n: int, symbols: int) -> Codes:
    """The n-gram that ends at each symbol from number n - 1 on."""
    found = np.zeros(max(0, len(text) - n + 1), np.int64)
    for place in range(n):
        found = found * symbols + text[place : place + len(found)]
    return found


def _table(grams: Codes, counts: Codes, symbols: int) -> Table:
    contexts, begins, followers = np.unique(grams // symbols, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, begins)
    once, twice = (int((counts == times).sum()) + 1 for times in (1, 2))
    return Table(grams, counts, contexts, totals, followers, once / (once + 2 * twice))


def probabilities(tables: list[Table], text: Codes, first: int, symbols: int) -> Floats:
    """Of each of text[first:], by the longest contexts that are there."""
    found = np.full(len(text) - first, 1 / symbols)
    for n, table in enumerate(tables, 1):
        found = _interpolated(table, text, n, first, symbols, found)
    return found


def _interpolated(table: Table, text: Codes, n: int, first: int, symbols: int, lower: Floats) -> Floats:
    """From P_{n-1} of each of text[first:] to P_n: the same where no n - 1 symbols stand before, or they were never
    seen.
    """
    start = max(first, n - 1)  # the first that has a whole context
    grams = codes(text[start - n + 1 :], n, symbols)
    counts, _ = _look_up(table.grams, grams, table.counts)
    totals, known = _look_up(table.contexts, grams // symbols, table.totals)
    followers, _ = _look_up(table.contexts, grams // symbols, table.followers)
    found = lower.copy()
    higher = np.maximum(counts - table.discount, 0) + table.discount * followers * lower[start - first :]
    np.divide(higher, totals, out=found[start - first :], where=known)
    return found


def _look_up(keys: Codes, wanted: Codes, values: Codes) -> tuple[Codes, NDArray[np.bool_]]:
    """The value of each key that is wanted, 0 where there is none, and whether there is."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    known = keys[places] == wanted
    return np.where(known, values[places], 0), known
