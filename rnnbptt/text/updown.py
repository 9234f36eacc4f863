"""The ups and downs of a column of numbers as a text."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import Source, Task
from rnnbptt.text.reading import Reader, Tell, decoded
from rnnbptt.text.sources import LONGEST_NAME

PIECE = 1 << 16  # characters made at a time: bounds memory, changes nothing else
MOST_NAMES = 8  # of columns, that a message lists

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class UpDown:
    """The changes of a column of a CSV file, unpacked as texts are, whose first line names the columns: u where a
    number is above the one before it, d where it is below, = where it is the same.

    `column` is a name, or a number from 1 where none has that name.
    """

    file: str
    column: str

    @classmethod
    def parse(cls, spec: str) -> "UpDown":
        """From updown:FILE.csv:COLUMN; UserError for anything else."""
        match = re.fullmatch("updown:(.+):([^:]+)", spec, re.DOTALL)
        if not match:
            raise UserError(f"--task {spec!r}: give updown:FILE.csv:COLUMN, a column by its name, or its number from 1")
        return cls(match[1], match[2])

    @property
    def name(self) -> str:
        """For files."""
        name = "updown-" + re.sub(r"[^\w.+-]+", "-", self.column)
        return name.encode("utf-8")[:LONGEST_NAME].decode("utf-8", "ignore")

    @property
    def task(self) -> Task:
        """Nobody knows how far they can be predicted."""
        return Task(f"updown:{self.file}:{self.column}", None, "=du", None)

    def text(self, tell: Tell | None = None) -> tuple[Iterator[Codes], list[Source]]:
        """Its code points, piece by piece, and in the end the file that they were made of.

        UserError for a file that is no CSV in UTF-8, lacks the column, or has a gap or no number anywhere in it.
        """
        reader = Reader([self.file], tell)
        return self._pieces(reader), reader.finished

    def _pieces(self, reader: Reader) -> Iterator[Codes]:
        letters = bytearray()
        for before, now in pairwise(self._numbers(reader)):
            letters += b"u" if now > before else b"d" if now < before else b"="
            if len(letters) == PIECE:
                yield np.frombuffer(letters, np.uint8)
                letters = bytearray()
        if letters:
            yield np.frombuffer(letters, np.uint8)

    def _numbers(self, reader: Reader) -> Iterator[Decimal]:
        """Those of the column, as exact as they are written."""
        text = decoded(self.file, reader.pieces(self.file), "utf-8", "give a CSV file in UTF-8")
        rows = csv.reader(_lines(text), strict=True)
        try:
            names = [name.strip() for name in next(rows, [])]
            place = self._place(names)
            for row in rows:
                self._check_row(row, len(names), rows.line_num)
                yield self._number(row[place].strip() if place < len(row) else "", rows.line_num)
        except csv.Error as error:
            raise UserError(f"{self.file!r}, line {rows.line_num}: {error}; give a CSV file with commas") from None

    def _place(self, names: Sequence[str]) -> int:
        """Which column it is."""
        if self.column in names:
            if (times := names.count(self.column)) > 1:
                raise UserError(f"{self.file!r}: {times} columns are called {self.column!r}; give the number of one")
            return names.index(self.column)
        if re.fullmatch("[0-9]{1,9}", self.column) and 0 < int(self.column) <= len(names):
            return int(self.column) - 1
        known = ", ".join(map(repr, names[:MOST_NAMES])) + ", ..." * (len(names) > MOST_NAMES)
        there = f"give one of {known}, or a number from 1 to {len(names)}" if names else "its first line has to name it"
        raise UserError(f"{self.file!r} has no column {self.column!r}; {there}")

    def _check_row(self, row: Sequence[str], names: int, line: int) -> None:
        """UserError where there are more cells than names: a comma in a number moves all that follows."""
        if len(row) > names:
            advice = f"{len(row)} cells, and the first line names {names}; put quotes around what has a comma in it"
            raise UserError(f"{self.file!r}, line {line}: {advice}")

    def _number(self, cell: str, line: int) -> Decimal:
        """What a cell says; UserError where that is no number."""
        try:
            number = Decimal(cell)
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite():
            found = f"{cell!r} is no number" if cell else "is empty"
            raise UserError(f"{self.file!r}, line {line}: column {self.column!r}: {found}; fill it in, or leave it out")
        return number


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces, each with its newline."""
    begun = ""
    for text in texts:
        *lines, begun = (begun + text).split("\n")
        yield from (f"{line}\n" for line in lines)
    if begun:
        yield begun
