"""What bits per character mean on a text: what is reached without any network."""

import lzma

import numpy as np

from rnnbptt.study.ngrams import kneser_ney, order_of
from rnnbptt.study.results import Yardstick
from rnnbptt.text.corpus import Corpus, Ids

LONGEST = 10_000_000  # symbols of a training text that are counted: more take minutes, and gigabytes
CONTEXT = 10  # symbols before a split that a character may need to be predicted from; order 5 needs 4


def yardsticks(corpus: Corpus, split: str) -> list[Yardstick]:
    """Of a split that is not empty: the optimum of its task; the entropy of its symbols; an interpolated Kneser-Ney
    model of order 5, counted on the training split; and what `xz -9e` takes for training text and split, less what it
    takes for the training text.

    The last two only where the training split is of `LONGEST` symbols at most, and where only some symbols are scored
    neither entropy nor xz, which cannot tell them from others.
    """
    train, text, symbols = corpus.split("train"), corpus.split(split), len(corpus.vocabulary)
    every, found = corpus.scored is None, []
    if corpus.task and corpus.task.optimum is not None:
        found.append(Yardstick(split, f"optimum of {corpus.task.spec}", corpus.task.optimum, optimum=True))
    if every:
        found.append(Yardstick(split, "order-0 entropy", entropy(text, symbols)))
    if len(train) <= LONGEST:
        start, stop = corpus.splits[split]
        before = max(0, start - CONTEXT)
        bits = kneser_ney(train, corpus.ids[before:stop], start - before, symbols, corpus.scored)
        found.append(Yardstick(split, f"Kneser-Ney, order {order_of(len(train), symbols)}", bits))
        if every:
            found.append(Yardstick(split, "xz -9e", compressed_bits(corpus, train, text) / len(text)))
    return found


def entropy(ids: Ids, symbols: int) -> float:
    """Bits per symbol by how often each occurs in them."""
    counts = np.bincount(ids, minlength=symbols)
    shares = counts[counts > 0] / len(ids)
    return float(abs(np.sum(shares * np.log2(shares))))


def compressed_bits(corpus: Corpus, train: Ids, text: Ids) -> int:
    """What the text adds to the size of the training text, compressed together."""
    known, both = (_compressed(corpus, ids) for ids in (train, np.concatenate([train, text])))
    return 8 * (both - known)


def _compressed(corpus: Corpus, ids: Ids) -> int:
    data = corpus.vocabulary.decode(ids).encode("utf-8", "surrogateescape")
    # The dictionary of -9, 64 MiB, would be cleared each time; one as large as the data comes to the same.
    dictionary = min(1 << 26, max(1 << 12, len(data)))
    how = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}
    return len(lzma.compress(data, filters=[how]))
