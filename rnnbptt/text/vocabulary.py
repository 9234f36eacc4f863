"""The symbols of a text, their ids, and the way back.

V is the size of the vocabulary.
"""

import codecs
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError
from rnnbptt.text.raw import SURROGATE, bytes_of

UNKNOWN = "\ufffd"


@dataclass(frozen=True)
class Vocabulary:
    """The symbols in order of code point; the id of a symbol is its index. A byte is shown as the chr of its value.

    `unknown` is the index of the unknown symbol, always the last: it stands for the rare characters of `min_count` and
    decodes to U+FFFD, but is not that character, which may have an id of its own.
    """

    unit: str
    symbols: tuple[str, ...]
    unknown: int | None = None

    def __post_init__(self) -> None:
        known = self._known
        limit = {"char": sys.maxunicode, "byte": 255}.get(self.unit, -1)
        if not known.size or known[-1] > limit or (np.diff(known) <= 0).any():
            raise UserError("the vocabulary is damaged: its symbols are not in order of code point")
        if self.unknown is not None and (self.unknown != known.size or self.symbols[-1] != UNKNOWN):
            raise UserError("the vocabulary is damaged: its unknown symbol is not the last")

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _known(self) -> NDArray[np.int64]:
        """Code points of the symbols that a text can be encoded to."""
        known = self.symbols if self.unknown is None else self.symbols[:-1]
        return np.array([ord(symbol) for symbol in known], dtype=np.int64)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids of `text`, shape (len(text),) or for unit byte (bytes of its UTF-8,), see raw.py.

        What the vocabulary lacks is the unknown symbol where there is one; otherwise a UserError names the first such
        character, its position counted from 1.
        """
        units = self._units(text)
        ids = self.ids_of(units)
        if self.unknown is not None:
            return np.where(ids < 0, self.unknown, ids)
        if lacking := self.lacking(text):
            char = text[lacking[0]]
            missing = f"character {char!r} (U+{ord(char):04X}, "
            if self.unit == "byte":
                byte = f"byte 0x{units[ids < 0][0]:02X}"
                missing = f"{byte} (" if SURROGATE.match(char) else f"{byte} of the {missing}"
            raise UserError(
                f"the vocabulary has no {missing}position {lacking[0] + 1} of the prompt); "
                "leave it out, or train on a text that has it"
            )
        return ids

    def lacking(self, text: str) -> list[int]:
        """The positions in `text` of the characters that the vocabulary lacks or, for unit byte, lacks a byte of."""
        positions = np.flatnonzero(self.ids_of(self._units(text)) < 0)
        if self.unit == "byte" and positions.size:
            ends = np.cumsum([len(bytes_of(char)) for char in text])
            positions = np.unique(np.searchsorted(ends, positions, side="right"))
        return [int(position) for position in positions]

    def _units(self, text: str) -> NDArray[Any]:
        """The code points of `text`, or for unit byte its bytes."""
        return np.frombuffer(bytes_of(text), np.uint8) if self.unit == "byte" else code_points(text)

    def ids_of(self, codes: NDArray[Any]) -> NDArray[np.int64]:
        """The ids of code points or bytes (n,), -1 where one is lacking: what becomes of these is not decided here."""
        ids = np.searchsorted(self._known, codes)
        return np.where(self._known.take(ids, mode="clip") == codes, ids, -1)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`."""
        return self.decoder()(ids, final=True)

    def decoder(self) -> Callable[..., str]:
        """A function that gives the text of ids that come a few at a time.

        For unit byte, a UTF-8 character whose bytes are still coming is held back until it is whole or the ids are
        called `final`, and a byte that is no part of one is given as in raw.py.
        """
        if self.unit == "char":
            return lambda ids, final=False: "".join([self.symbols[i] for i in ids])
        coded = [symbol.encode("utf-8" if symbol == UNKNOWN else "latin-1") for symbol in self.symbols]
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        return lambda ids, final=False: utf8.decode(b"".join([coded[i] for i in ids]), final)


def code_points(text: str) -> NDArray[Any]:
    """Shape (len(text),), in the narrowest unsigned integers that hold them all."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return codes.astype(np.min_scalar_type(int(codes.max(initial=0))))
