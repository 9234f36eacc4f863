"""A prepared text, opened: its ids, its split, and how it was made.

A corpus is a folder of two files: `corpus.json`, everything about the text, and `ids.npy`, the text itself as one
unsigned integer a symbol. `prepare` in preparing.py makes it.

n is the number of symbols of the text, V the size of the vocabulary.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError
from rnnbptt.text.vocabulary import Vocabulary

FORMAT = 1
KIND = "rnnbptt corpus"  # what tells our corpus.json from anybody else's
JSON_NAME, IDS_NAME = "corpus.json", "ids.npy"
PARTS = ("train", "valid", "test")
PIECE = 1 << 18  # bytes read at a time: large enough for numpy, small enough for the cache of a processor

Ids = NDArray[np.unsignedinteger[Any]]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class TextOptions:
    """How a text becomes symbols.

    unit       "char" (Unicode code points) or "byte" (the bytes as they are, a byte-order mark included)
    encoding   of the text, any that Python knows; a byte-order mark at the start of a source is dropped
    nfc        compose characters first (Unicode normalization form C), so that é is always one symbol
    min_count  characters that occur less often in the whole text become the one unknown symbol
    split      train/valid/test as fractions or as sizes, see `split_offsets`
    """

    unit: str = "char"
    encoding: str = "utf-8"
    nfc: bool = False
    min_count: int = 1
    split: str = "0.9/0.05/0.05"

    def __post_init__(self) -> None:
        if self.unit not in ("char", "byte"):
            raise UserError(f"--unit {self.unit}: unknown; give char or byte")
        try:
            codec = codecs.lookup(self.encoding).name
            # The one public test that also refuses codecs which are no text encodings, such as zlib.
            io.TextIOWrapper(io.BytesIO(), encoding=self.encoding)
        except (LookupError, ValueError):
            raise UserError(
                f"--encoding {self.encoding!r}: unknown; give one that Python knows, such as utf-8, utf-16 or latin-1"
            ) from None
        if self.unit == "byte" and (self.nfc or codec != "utf-8"):
            raise UserError("--unit byte takes bytes as they are: leave out --nfc and --encoding, or give --unit char")
        if self.min_count < 1:
            raise UserError(f"--min-count {self.min_count}: must be at least 1")
        _parse_split(self.split)


def split_offsets(split: str, n: int) -> dict[str, tuple[int, int]]:
    """Where train, valid and test begin and end in a text of n symbols: contiguous, in this order.

    Three parts of at most 1 and without suffix are fractions ("0.9/0.05/0.05", "1/0/0") and share out the whole text.
    Anything else is sizes in symbols ("1000/200/100", "90M/5M/5M"; k or K, M, G for 10^3, 10^6, 10^9) and may leave a
    remainder unused. Train may not be 0; a part that is not 0 gets at least 2 symbols. UserError otherwise.
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


def _parse_split(split: str) -> tuple[list[Fraction], bool]:
    """The three parts of `split`, and whether they are fractions (otherwise sizes)."""
    match = re.fullmatch("/".join([r"([0-9]{0,18}\.?[0-9]{1,18})([kKMG]?)"] * 3), split)
    if not match:
        raise UserError(
            f"--split {split!r}: give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M)"
        )
    numbers, suffixes = match.groups()[::2], match.groups()[1::2]
    scale = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
    parts = [Fraction(number) * scale[suffix] for number, suffix in zip(numbers, suffixes, strict=True)]
    fractions = not any(suffixes) and max(parts) <= 1
    total = sum(parts, Fraction())
    if fractions and abs(total - 1) > Fraction(1, 10**9):
        raise UserError(f"--split {split}: fractions must sum to 1, and these sum to {float(total):.12g}")
    if not fractions and any(part.denominator != 1 for part in parts):
        raise UserError(f"--split {split}: sizes must be whole numbers of symbols")
    if not parts[0]:
        raise UserError(f"--split {split}: leaves nothing to train on; the first part must be above 0")
    return parts, fractions


def stand_in(splits: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """The last twentieth of the training part, which is measured on where no text was held out for that."""
    start, stop = splits["train"]
    return stop - math.ceil((stop - start) / 20), stop


@dataclass(frozen=True)
class Source:
    """One text that went in: its name as given, and the SHA-256 and length in bytes of its decompressed content."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, eq=False)
class Corpus:
    """A prepared text.

    ids          (n,) unsigned, read-only, memory-mapped
    counts       (V,) how often each symbol occurs
    splits       name -> (start, stop) into ids
    fingerprint  SHA-256 over the vocabulary and the ids: the same text in the same symbols, however it is split
    """

    path: Path
    vocabulary: Vocabulary
    ids: Ids
    counts: Counts
    splits: dict[str, tuple[int, int]]
    fingerprint: str
    sources: tuple[Source, ...]
    options: TextOptions

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a folder that `prepare` made. Reads the ids once, to be sure that they are what was written.

        UserError for a folder that is not a prepared corpus, a newer format, or damage.
        """
        path = Path(path)
        data = read_document(path)
        if data is None:
            raise UserError(f"{str(path)!r} is not a prepared corpus; make one with: rnnbptt prepare TEXT")
        version = data.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise UserError(
                f"{str(path)!r} has format {version}, and this rnnbptt reads up to {FORMAT}; "
                "update rnnbptt, or prepare the text again"
            )
        try:
            if version != FORMAT:
                raise ValueError("format")
            corpus = cls(
                path=path,
                vocabulary=Vocabulary.from_json(data["vocabulary"]),
                # A plain array on the map: each slice of a memmap costs several times as much.
                ids=np.lib.format.open_memmap(path / IDS_NAME, mode="r").view(np.ndarray),
                counts=np.array(data["counts"], dtype=np.int64),
                splits={name: (start, stop) for name, (start, stop) in data["splits"].items()},
                fingerprint=data["fingerprint"],
                sources=tuple(Source(**source) for source in data["sources"]),
                options=TextOptions(**data["options"]),
            )
            corpus._verify()
        except (UserError, OSError, EOFError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            # The many ways in which files can be wrong have one remedy.
            raise UserError(f"{str(path)!r} is damaged or incomplete; prepare the text again") from error
        return corpus

    def _verify(self) -> None:
        """ValueError unless everything in the folder agrees."""
        v = len(self.vocabulary)
        if self.ids.dtype != id_dtype(v) or self.ids.ndim != 1 or self.options.unit != self.vocabulary.unit:
            raise ValueError("vocabulary, ids and options")
        if self.counts.shape != (v,) or self.counts.min() < 1 or self.counts.sum() != len(self.ids):
            raise ValueError("counts")
        if self.splits != split_offsets(self.options.split, len(self.ids)):
            raise ValueError("splits")
        digest = start_digest(self.vocabulary)
        # Read from the file, not through the map, whose pages would count as memory of this process.
        with (self.path / IDS_NAME).open("rb") as file:
            file.seek(-self.ids.nbytes, os.SEEK_END)
            while block := file.read(PIECE):
                digest.update(block)
        if digest.hexdigest() != self.fingerprint:
            raise ValueError("fingerprint")

    @property
    def unknown_count(self) -> int:
        """How many symbols of the text are the unknown one."""
        return 0 if self.vocabulary.unknown is None else int(self.counts[self.vocabulary.unknown])

    @property
    def unused(self) -> int:
        """Symbols after the end of the test part, which sizes in `--split` may leave over."""
        return len(self.ids) - self.splits["test"][1]

    def split(self, name: str) -> Ids:
        """The ids of "train", "valid" or "test", a view."""
        start, stop = self.splits[name]
        return self.ids[start:stop]

    def entropy(self) -> float:
        """Bits per symbol of a model that knows only how often each symbol occurs in the whole text (order 0)."""
        p = self.counts / self.counts.sum()
        return float(abs(np.sum(p * np.log2(p))))  # abs: one symbol alone has 0 bits, not -0

    def most_common(self, n: int) -> list[tuple[str, int]]:
        """The n most frequent symbols with their counts; equally frequent ones in order of code point."""
        order = np.argsort(-self.counts, kind="stable")[:n]
        return [(self.vocabulary.symbols[i], int(self.counts[i])) for i in order]


def read_document(folder: Path) -> dict[str, Any] | None:
    """The corpus.json of a prepared corpus, None when `folder` is not one."""
    try:
        data = json.loads((folder / JSON_NAME).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {str(folder / JSON_NAME)!r}: {error.strerror}") from error
    return data if isinstance(data, dict) and data.get("kind") == KIND else None


def may_be_replaced(folder: Path) -> bool:
    """Whether the folder holds a prepared corpus and nothing else, or nothing at all."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {""}
    return not names or (names <= {JSON_NAME, IDS_NAME} and read_document(folder) is not None)


def id_dtype(size: int) -> np.dtype[Any]:
    """The narrowest unsigned integer for ids below `size`, little-endian on disk whatever the machine."""
    return np.min_scalar_type(size - 1).newbyteorder("<")


def start_digest(vocabulary: Vocabulary) -> Any:
    return hashlib.sha256(json.dumps(vocabulary.to_json()).encode("ascii"))
