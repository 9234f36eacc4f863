"""How a text becomes symbols, and where its parts lie: options that are checked on construction."""

import codecs
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated

from annotated_doc import Doc

from rnnbptt.errors import UserError, check_option

PARTS = ("train", "valid", "test")
TASKS = "copy:LAG, recall:LAG, echo:LAG, anbn:N, brackets:DEPTH, updown:FILE.csv:COLUMN"  # see tasks.py

_NUMBER = r"([0-9]{0,18}\.?[0-9]{1,18})([kKMG]?)"
_SCALE = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
NAMED = {"text8": "90M/5M/5M", "enwik8": "90M/5M/5M"}  # the splits that the literature gives its figures for


@dataclass(frozen=True)
class TextOptions:
    """How a text becomes symbols.

    Unit "char" means Unicode code points, unit "byte" the bytes as they are, a byte-order mark included. Of a text of
    characters, in any encoding that Python knows, a mark at its start is dropped. With `nfc` an é is always one symbol.
    """

    unit: Annotated[str, Doc("What a symbol is: char (a Unicode character) or byte.")] = "char"
    encoding: Annotated[str, Doc("Encoding of the text.")] = "utf-8"
    nfc: Annotated[bool, Doc("Normalize to Unicode NFC.")] = False
    min_count: Annotated[int, Doc("Characters rarer than this become one unknown symbol.")] = 1
    split: Annotated[
        str,
        Doc("Training, validation and test part: shares, or sizes such as 90M/5M/5M, which text8 and enwik8 mean."),
    ] = "0.9/0.05/0.05"

    def __post_init__(self) -> None:
        check_option(self.unit in ("char", "byte"), "unit", self.unit, "unknown; give char or byte")
        try:
            codec = codecs.lookup(self.encoding).name
            "".encode(self.encoding)  # also refuses codecs which are no text encodings, such as zlib
        except (LookupError, ValueError):
            raise UserError(
                f"--encoding {self.encoding!r}: unknown; give one that Python knows, such as utf-8, utf-16 or latin-1"
            ) from None
        if self.unit == "byte" and (self.nfc or codec != "utf-8"):
            raise UserError("--unit byte takes bytes as they are: leave out --nfc and --encoding, or give --unit char")
        check_option(self.min_count >= 1, "min_count", self.min_count, "must be at least 1")
        _parse_split(self.split)
        check_option(
            self.split != "enwik8" or self.unit == "byte", "split", self.split, "counts bytes; give --unit byte"
        )


@dataclass(frozen=True)
class HeldOut:
    """Texts of their own for the held-out parts, where there are such, in place of `--split`; - is standard input."""

    valid: Annotated[Path | None, Doc("Validation text, where TEXT is for training alone.")] = None
    test: Annotated[Path | None, Doc("Test text, likewise.")] = None


ONE_TEXT = HeldOut()  # whose parts are those of its `--split`


def split_offsets(split: str, n: int) -> dict[str, tuple[int, int]]:
    """Where train, valid and test begin and end in a text of n symbols: contiguous, in this order.

    Three parts of at most 1 and without suffix are fractions ("0.9/0.05/0.05", "1/0/0") and share out the whole text.
    Anything else is sizes in symbols ("1000/200/100", "90M/5M/5M"; k or K, M, G for 10^3, 10^6, 10^9), or a name of
    NAMED for such, and may leave a remainder unused. Train may not be 0; a part that is not 0 gets at least 2 symbols.
    UserError otherwise.
    """
    parts, fractions = _parse_split(split)
    ends = list(accumulate(parts))
    if fractions:
        # Exact arithmetic, and the true sum in place of 1: a part of 0 then never receives a rounded symbol.
        ends = [n * end / ends[-1] for end in ends]
    elif ends[-1] > n:
        raise UserError(f"--split {split}: asks for {ends[-1]} symbols, but the text has {n}; give smaller sizes")
    offsets = dict(zip(PARTS, pairwise([0, *map(int, ends)]), strict=True))
    for part, (name, (start, stop)) in zip(parts, offsets.items(), strict=True):
        if part and stop - start < 2:
            raise UserError(
                f"--split {split}: gives {name} {stop - start} of the {n} symbols of the text, and each part needs 2; "
                "give more text or another split, such as 1/0/0"
            )
    return offsets


def stand_in(splits: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """The last twentieth of the training part, which is measured on where no text was held out for that."""
    start, stop = splits["train"]
    return stop - math.ceil((stop - start) / 20), stop


def parse_size(size: str) -> int:
    """The characters that a `--size` means, 1 at least, in the notation of `--split`; UserError for anything else."""
    match = re.fullmatch(_NUMBER, size)
    number = Fraction(match[1]) * _SCALE[match[2]] if match else Fraction()
    advice = "must be a whole number of characters, 1 or more, such as 300k or 1M"
    check_option(number >= 1 and number.denominator == 1, "size", repr(size), advice)
    return int(number)


def _parse_split(split: str) -> tuple[list[Fraction], bool]:
    """The three parts of `split`, and whether they are fractions (otherwise sizes)."""
    match = re.fullmatch("/".join([_NUMBER] * 3), NAMED.get(split, split))
    if not match:
        raise UserError(
            f"--split {split!r}: give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M),"
            f" or {' or '.join(NAMED)}"
        )
    numbers, suffixes = match.groups()[::2], match.groups()[1::2]
    parts = [Fraction(number) * _SCALE[suffix] for number, suffix in zip(numbers, suffixes, strict=True)]
    fractions = not any(suffixes) and max(parts) <= 1
    total = sum(parts, Fraction())
    if fractions and abs(total - 1) > Fraction(1, 10**9):
        raise UserError(f"--split {split}: fractions must sum to 1, and these sum to {float(total):.12g}")
    whole = fractions or all(part.denominator == 1 for part in parts)
    check_option(whole, "split", split, "sizes must be whole numbers of symbols")
    check_option(parts[0] > 0, "split", split, "leaves nothing to train on; the first part must be above 0")
    return parts, fractions
