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

UNKNOWN = "\ufffd"


@dataclass(frozen=True)
class Vocabulary:
    """The symbols in order of code point; the id of a symbol is its index. A byte is shown as the chr of its value.

    `unknown` is the index of the unknown symbol, always the last: it stands for the rare characters of `min_count` and
    decodes to U+FFFD, but is not that character, which may have an id of its own. Nothing encodes to it.
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
        """The ids of `text`, shape (len(text),) or for unit byte (bytes of its UTF-8,).

        UserError naming the first character that the vocabulary lacks, its position counted from 1.
        """
        if self.unit == "byte":
            # surrogatepass: a lone surrogate has no UTF-8, and is to be named as lacking rather than crash.
            units = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
        else:
            units = code_points(text)
        ids = self.ids_of(units)
        lacking = np.flatnonzero(ids < 0)
        if not lacking.size:
            return ids
        first = int(lacking[0])
        position, missing = first, "character"
        if self.unit == "byte":
            position = int(np.sum(units[: first + 1] & 0xC0 != 0x80)) - 1  # all but continuation bytes
            missing = f"byte 0x{units[first]:02X} of the character"
        char = text[position]
        raise UserError(
            f"the vocabulary has no {missing} {char!r} (U+{ord(char):04X}, position {position + 1} of the prompt); "
            "leave it out, or train on a text that has it"
        )

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
        called `final`, and bytes that are not valid UTF-8 are shown as U+FFFD.
        """
        if self.unit == "char":
            return lambda ids, final=False: "".join([self.symbols[i] for i in ids])
        coded = [symbol.encode("utf-8" if symbol == UNKNOWN else "latin-1") for symbol in self.symbols]
        utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return lambda ids, final=False: utf8.decode(b"".join([coded[i] for i in ids]), final)


def code_points(text: str) -> NDArray[Any]:
    """Shape (len(text),), in the narrowest unsigned integers that hold them all."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return codes.astype(np.min_scalar_type(int(codes.max(initial=0))))
