"""Standard problems as texts: how far back lies what tells a character is known, and so is what the best model reaches.

A problem is a source that makes a text without end, and the characters that it asks for are known by their symbols. Its
optimum is the loss of a model that knows the source, in bits for each of these characters, in the mean over an endless
text: what happens to be in a short one moves it.

Each draw is one number of the generator, in the order of the text, so that pieces of any size make the same text.

R records of a piece, or rows of one period each.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import Source, Task
from rnnbptt.text.options import TASKS
from rnnbptt.text.reading import Tell
from rnnbptt.text.updown import UpDown

PIECE = 1 << 16  # characters made at a time, at least one record: bounds memory, changes nothing else
LETTERS = "ABCDEFGH"
FLIP = 0.05  # probability that a character of echo is not the one it follows

Codes = NDArray[np.uint8]


class Problem(Protocol):
    """A source of text."""

    @property
    def span(self) -> int:
        """Characters of text that show once, whole, what is asked for."""

    @property
    def scored(self) -> str:
        """The symbols that are asked for, in order of code point."""

    @property
    def optimum(self) -> float:
        """Bits for each of them."""

    def pieces(self, rng: np.random.Generator) -> Iterator[Codes]:
        """The text as code points, without end."""


@dataclass(frozen=True)
class Copy:
    """Up to three letters, a delay, and the same as capitals, each `lag` characters after its letter: `fab---->FAB`.

    After the copying of Aicher, Foti & Fox 2019, as a stream. What tells a capital is there before it, so the optimum
    is 0; who has forgotten it guesses one of eight, 3 bits.
    """

    lag: int

    scored = LETTERS
    optimum = 0.0

    @property
    def span(self) -> int:
        """A record."""
        return self.lag + min(3, self.lag) + 1

    def pieces(self, rng: np.random.Generator) -> Iterator[Codes]:
        """Some records at a time."""
        few = min(3, self.lag)
        delay = "-" * (self.lag - few - 1) + ">" * (self.lag > few)
        while True:
            records = _records("a" * few + delay + "A" * few + "\n", self.span)
            drawn = _drawn(rng, (len(records), few), 8)
            records[:, :few] += drawn
            records[:, self.lag : self.lag + few] += drawn
            yield records.ravel()


@dataclass(frozen=True)
class Recall:
    """A digit, letters that do not matter, and `lag` characters after the digit the capital it stands for: `3bhgd?D`.

    The optimum is 0, as for `Copy`, and guessing takes 3 bits.
    """

    lag: int

    scored = LETTERS
    optimum = 0.0

    @property
    def span(self) -> int:
        """A record."""
        return self.lag + 2

    def pieces(self, rng: np.random.Generator) -> Iterator[Codes]:
        """Some records at a time."""
        while True:
            records = _records("0" + "a" * (self.lag - 2) + "?A\n", self.span)
            drawn = _drawn(rng, (len(records), self.lag - 1), 8)
            records[:, : self.lag - 1] += drawn
            records[:, self.lag] += drawn[:, 0]
            yield records.ravel()


@dataclass(frozen=True)
class Echo:
    """Of a and b, each the one `lag` characters before it, but flipped with probability 0.05; the first are fair coins.

    Whether it is flipped is all that cannot be known: p log2(1/p) + (1 - p) log2(1/(1 - p)) bits; guessing takes 1.
    """

    lag: int

    scored = "ab"
    optimum = -FLIP * math.log2(FLIP) - (1 - FLIP) * math.log2(1 - FLIP)

    @property
    def span(self) -> int:
        """The coins, and what echoes the first."""
        return self.lag + 1

    def pieces(self, rng: np.random.Generator) -> Iterator[Codes]:
        """The coins, then some periods at a time."""
        past = rng.random(self.lag) < 0.5
        yield _letters(past)
        while True:
            flips = rng.random((max(1, PIECE // self.lag), self.lag)) < FLIP
            flips[0] ^= past
            text = np.logical_xor.accumulate(flips, axis=0)
            yield _letters(text.ravel())
            past = text[-1]


@dataclass(frozen=True)
class AnBn:
    """a n times, a newline, b n times, a newline; n is uniform in 1 to `most`. After Tallec & Ollivier 2017.

    A record has log2(N) bits, those of n, and 2 n + 2 characters, N + 3 in the mean: in the long run log2(N) / (N + 3)
    bits a character. Which characters they are of, the end of the a's, makes no difference to their sum.
    """

    most: int

    scored = "\nab"

    @property
    def optimum(self) -> float:
        """0.1429 for 32."""
        return math.log2(self.most) / (self.most + 3)

    @property
    def span(self) -> int:
        """The longest record."""
        return 2 * self.most + 2

    def pieces(self, rng: np.random.Generator) -> Iterator[Codes]:
        """Some records at a time."""
        records = max(1, PIECE // self.span)
        while True:
            times = np.ones((records, 4), np.int64)
            times[:, ::2] = 1 + np.floor(rng.random((records, 1)) * self.most)
            yield np.tile(_codes("a\nb\n"), records).repeat(times.ravel())


@dataclass(frozen=True)
class Brackets:
    """Nested brackets of two kinds, `depth` at most: one opens where none is open, one closes at the depth, elsewhere
    either with probability 1/2. Which kind opens is a fair coin, which one closes is known: the last that was opened.

    What cannot be known of a closing bracket is that it closes: 1 bit, and none at the depth. Depths are a walk that is
    reflected at both ends, so that it is there 1 / (2 D) of the time, and at each depth between 1 / D. Of the closing
    brackets, half of all, (1 / 2 D) / (1 / 2) = 1 / D are at the depth: the optimum is (D - 1) / D bits.
    """

    depth: int

    scored = ")]"

    @property
    def optimum(self) -> float:
        """See above."""
        return (self.depth - 1) / self.depth

    @property
    def span(self) -> int:
        """All the way in and out again."""
        return 2 * self.depth

    def pieces(self, rng: np.random.Generator) -> Iterator[Codes]:
        """One bracket at a time, put together."""
        opened: list[int] = []
        while True:
            text = bytearray()
            for draw in _drawn(rng, (PIECE,), 4).tolist():
                kind, up = divmod(draw, 2)
                if not opened or (up and len(opened) < self.depth):
                    opened.append(kind)
                    text.append(b"(["[kind])
                else:
                    text.append(b")]"[opened.pop()])
            yield np.frombuffer(text, np.uint8)


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("ascii"), np.uint8)


def _letters(bits: NDArray[np.bool_]) -> Codes:
    """a where a bit is not set, b where it is."""
    return (ord("a") + bits).astype(np.uint8)


def _records(form: str, length: int) -> Codes:
    """Copies of a form of that length, (R, length), to be filled in."""
    return np.tile(_codes(form), (max(1, PIECE // length), 1))


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> Codes:
    """Each of the numbers below `count` with the same probability."""
    return (rng.random(shape) * count).astype(np.uint8)


class Kind(NamedTuple):
    """Of problems: what makes one of a number, what that number is called, and how small it may be."""

    make: Callable[[int], Problem]
    letter: str
    least: int = 1


KINDS = {
    "copy": Kind(Copy, "LAG"),
    "recall": Kind(Recall, "LAG", 2),
    "echo": Kind(Echo, "LAG"),
    "anbn": Kind(AnBn, "N"),
    "brackets": Kind(Brackets, "DEPTH"),
}


@dataclass(frozen=True)
class Made:
    """A text of so many characters that poses a problem.

    name  for files
    task  what is known of it
    """

    name: str
    task: Task
    problem: Problem
    size: int

    def text(self, tell: Tell | None = None) -> tuple[Iterator[Codes], list[Source]]:
        """Its code points, piece by piece, of which `tell` hears, and in the end what it was."""
        sources: list[Source] = []
        return self._pieces(sources, tell), sources

    def _pieces(self, sources: list[Source], tell: Tell | None) -> Iterator[Codes]:
        digest, done = hashlib.sha256(), 0
        pieces = self.problem.pieces(np.random.Generator(np.random.PCG64(self.task.seed)))
        while done < self.size:
            piece = next(pieces)[: self.size - done]
            done += len(piece)
            digest.update(piece.data)
            if tell:
                tell(done, self.size)
            yield piece
        sources.append(Source(self.task.spec, digest.hexdigest(), done))


def parse_task(spec: str, size: int, seed: int) -> Made | UpDown:
    """The text that a `--task` means, of so many characters and by that seed unless it is made of a file; UserError for
    anything else.
    """
    kind, _, rest = spec.partition(":")
    if kind == "updown":
        return UpDown.parse(spec)
    if kind not in KINDS:
        raise UserError(f"--task {spec!r}: unknown; give one of {TASKS}")
    make, letter, least = KINDS[kind]
    if not re.fullmatch("[0-9]{1,15}", rest) or (number := int(rest)) < least:
        raise UserError(f"--task {spec!r}: give {kind}:{letter}, where {letter} is a whole number, {least} or more")
    problem = make(number)
    task = Task(f"{kind}:{number}", seed, problem.scored, problem.optimum)
    return Made(f"{kind}-{number}", task, problem, size)
