"""Bytes -> symbols -> ids on disk: the vocabulary, the split, and the folder that holds a prepared text.

A corpus is a folder of two files: `corpus.json`, everything about the text, and `ids.npy`, the text itself as one
unsigned integer a symbol. `prepare` makes it in two passes of constant memory: the first decodes, counts every code
point and writes the code points to a scratch file; only then is the vocabulary known, and the second turns code points
into ids. Newlines are symbols like any other, kept exactly as they are in the text.

n is the number of symbols of the text, V the size of the vocabulary.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import stat
import sys
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache, cached_property
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError

FORMAT = 1
KIND = "rnnbptt corpus"  # what tells our corpus.json from anybody else's
PARTS = ("train", "valid", "test")
UNKNOWN = "\ufffd"

_JSON, _IDS = "corpus.json", "ids.npy"
_PIECE = 1 << 18  # bytes read at a time: large enough for numpy, small enough for the cache of a processor
_DECOMPRESS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

Progress = Callable[[int, int | None], None]
Ids = NDArray[np.unsignedinteger[Any]]
Counts = NDArray[np.int64]


# --- options and split ------------------------------------------------------------------------------------------------


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
    found = [re.fullmatch(r"([0-9]{0,18}\.?[0-9]{1,18})([kKMG]?)", part) for part in split.split("/")]
    matches = [match for match in found if match]
    if len(found) != 3 or len(matches) != 3:
        raise UserError(
            f"--split {split!r}: give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M)"
        )
    scale = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
    parts = [Fraction(match[1]) * scale[match[2]] for match in matches]
    fractions = all(part <= 1 and not match[2] for part, match in zip(parts, matches, strict=True))
    total = sum(parts, Fraction())
    if fractions and abs(total - 1) > Fraction(1, 10**9):
        raise UserError(f"--split {split}: fractions must sum to 1, and these sum to {float(total):.12g}")
    if not fractions and any(part.denominator != 1 for part in parts):
        raise UserError(f"--split {split}: sizes must be whole numbers of symbols")
    if not parts[0]:
        raise UserError(f"--split {split}: leaves nothing to train on; the first part must be above 0")
    return parts, fractions


# --- vocabulary -------------------------------------------------------------------------------------------------------


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

    @property
    def size(self) -> int:
        return len(self.symbols)

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
            units = _code_points(text)
        ids = np.searchsorted(self._known, units)
        lacking = np.flatnonzero(self._known.take(ids, mode="clip") != units)
        if lacking.size:
            raise UserError(self._lack(text, int(lacking[0])))
        return ids.astype(np.int64, copy=False)

    def _lack(self, text: str, unit: int) -> str:
        """Say which character the symbol number `unit` of `text` belongs to."""
        position, missing = unit, "character"
        if self.unit == "byte":
            data = text.encode("utf-8", "surrogatepass")
            position = sum(byte & 0xC0 != 0x80 for byte in data[: unit + 1]) - 1  # all but continuation bytes
            missing = f"byte 0x{data[unit]:02X} of the character"
        char = text[position]
        return (
            f"the vocabulary has no {missing} {char!r} (U+{ord(char):04X}, position {position + 1} of the prompt); "
            "leave it out, or train on a text that has it"
        )

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; for unit byte, bytes that are not valid UTF-8 are shown as U+FFFD."""
        decoder = self.decoder()
        return decoder.feed(ids) + decoder.finish()

    def decoder(self) -> Decoder:
        """A decoder for ids that come a few at a time."""
        return Decoder(self)

    def to_json(self) -> dict[str, Any]:
        return {"unit": self.unit, "symbols": list(self.symbols), "unknown": self.unknown}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Vocabulary:
        """The inverse of `to_json`; UserError when `data` is anything else."""
        try:
            return cls(data["unit"], tuple(data["symbols"]), data["unknown"])
        except (KeyError, TypeError):
            raise UserError("the vocabulary is damaged: it has no unit, symbols and unknown") from None


class Decoder:
    """Turns ids into text piece by piece; a UTF-8 character whose bytes are still coming is held back until whole."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._symbols = vocabulary.symbols
        self._bytes: list[bytes] | None = None
        if vocabulary.unit == "byte":
            self._bytes = [symbol.encode("utf-8" if symbol == UNKNOWN else "latin-1") for symbol in self._symbols]
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, ids: Iterable[int]) -> str:
        if self._bytes is None:
            return "".join([self._symbols[i] for i in ids])
        return self._utf8.decode(b"".join([self._bytes[i] for i in ids]))

    def finish(self) -> str:
        """What is still held back, as U+FFFD: nothing more will complete it."""
        return self._utf8.decode(b"", final=True)


# --- the prepared corpus ----------------------------------------------------------------------------------------------


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
        data = _read_json(path)
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
                ids=np.lib.format.open_memmap(path / _IDS, mode="r").view(np.ndarray),
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
        if self.ids.dtype != _id_dtype(v) or self.ids.ndim != 1 or self.options.unit != self.vocabulary.unit:
            raise ValueError("vocabulary, ids and options")
        if self.counts.shape != (v,) or self.counts.min() < 1 or self.counts.sum() != len(self.ids):
            raise ValueError("counts")
        if self.splits != split_offsets(self.options.split, len(self.ids)):
            raise ValueError("splits")
        digest = _start_digest(self.vocabulary)
        # Read from the file, not through the map, whose pages would count as memory of this process.
        with (self.path / _IDS).open("rb") as file:
            file.seek(-self.ids.nbytes, os.SEEK_END)
            while block := file.read(_PIECE):
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


def _read_json(folder: Path) -> dict[str, Any] | None:
    """The corpus.json of a prepared corpus, None when `folder` is not one."""
    try:
        data = json.loads((folder / _JSON).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {str(folder / _JSON)!r}: {error.strerror}") from error
    return data if isinstance(data, dict) and data.get("kind") == KIND else None


def _id_dtype(size: int) -> np.dtype[Any]:
    """The narrowest unsigned integer for ids below `size`, little-endian on disk whatever the machine."""
    return np.min_scalar_type(size - 1).newbyteorder("<")


def _start_digest(vocabulary: Vocabulary) -> Any:
    return hashlib.sha256(json.dumps(vocabulary.to_json()).encode("ascii"))


# --- prepare ----------------------------------------------------------------------------------------------------------


def prepare(
    sources: Sequence[str | Path],
    out: str | Path,
    options: TextOptions,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Corpus:
    """Turn one or more texts, joined in order, into the corpus folder `out`. Memory does not grow with the text.

    A source is a path (decompressed when it ends in .gz, .bz2 or .xz) or "-" for standard input. `progress` is told the
    bytes read, as they lie on disk, and their total (None when unknown). On any failure, an interrupt included, nothing
    is left behind; an existing `out` is replaced only with `force`, and only when it is empty or a prepared corpus.

    UserError: an unreadable, damaged, undecodable or empty source; a text too short for the split; `out` in the way.
    """
    reader = _Reader([str(source) for source in sources], progress)
    try:
        with _taking_place_of(Path(out), force) as folder:
            _build(folder, reader, options)
    except OSError as error:  # those of reading have become UserErrors
        raise UserError(f"cannot write {str(out)!r}: {error.strerror or error}") from error
    return Corpus.open(out)


@contextmanager
def _taking_place_of(out: Path, force: bool) -> Iterator[Path]:
    """Give an empty folder that takes the place of `out` at the end, or vanishes if anything goes wrong."""
    target = out.resolve()  # with a symbolic link, what it points to is replaced, and the link stays
    _refuse_to_overwrite(out, target, force)
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside `out`, so that the renames stay within one file system.
        with tempfile.TemporaryDirectory(prefix=".rnnbptt-", dir=target.parent) as scratch:
            new, old = Path(scratch, "new"), Path(scratch, "old")
            new.mkdir()
            yield new
            _refuse_to_overwrite(out, target, force)  # again: somebody may have put a file there meanwhile
            try:
                if target.exists():
                    target.rename(old)
                new.rename(target)
            except BaseException:
                if old.exists() and not target.exists():
                    old.rename(target)
                raise
    except BaseException:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        raise


def _refuse_to_overwrite(out: Path, target: Path, force: bool) -> None:
    if not target.exists():
        return
    if not force:
        raise UserError(f"{str(out)!r} exists; give --force to prepare it again, or another folder")
    names = {entry.name for entry in target.iterdir()} if target.is_dir() else {""}
    if names and (names - {_JSON, _IDS} or _read_json(target) is None):
        raise UserError(f"{str(out)!r} is not a prepared corpus, and --force replaces nothing else; move it away")


def _build(folder: Path, reader: _Reader, options: TextOptions) -> None:
    """Write both files of the corpus into `folder`."""
    with tempfile.TemporaryFile(dir=folder) as scratch:
        counts, runs = _spill(_code_blocks(reader, options), scratch)
        n = int(counts.sum())
        if not n:
            raise UserError(f"the text is empty: {', '.join(map(repr, reader.names))}")
        splits = split_offsets(options.split, n)
        vocabulary, symbol_counts, table = _choose_symbols(counts, options)
        digest = _start_digest(vocabulary)
        with (folder / _IDS).open("xb") as file:
            header = {"descr": table.dtype.str, "fortran_order": False, "shape": (n,)}
            np.lib.format.write_array_header_1_0(file, header)
            scratch.seek(0)
            for codes in _read_back(scratch, runs):
                ids = table.take(codes)
                digest.update(ids.data)
                file.write(ids.data)
    document = {
        "kind": KIND,
        "format": FORMAT,
        "fingerprint": digest.hexdigest(),
        "splits": splits,
        "sources": [asdict(source) for source in reader.finished],
        "options": asdict(options),
        "vocabulary": vocabulary.to_json(),
        "counts": symbol_counts.tolist(),
    }
    # Only ASCII in the file: a lone surrogate, which some encodings produce, has no UTF-8.
    (folder / _JSON).write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


def _spill(blocks: Iterable[NDArray[Any]], scratch: IO[bytes]) -> tuple[Counts, list[tuple[np.dtype[Any], int]]]:
    """Write the code points of the text to `scratch`, each block in its own width.

    Returns how often each code point occurs, (0x110000,), and the runs of equal width: (dtype, number of code points).
    """
    counts = np.zeros(sys.maxunicode + 1, dtype=np.int64)
    runs: list[tuple[np.dtype[Any], int]] = []
    for codes in blocks:
        found = np.bincount(codes)
        counts[: len(found)] += found
        scratch.write(codes.data)
        if runs and runs[-1][0] == codes.dtype:
            runs[-1] = (codes.dtype, runs[-1][1] + len(codes))
        else:
            runs.append((codes.dtype, len(codes)))
    return counts, runs


def _read_back(scratch: IO[bytes], runs: Iterable[tuple[np.dtype[Any], int]]) -> Iterator[NDArray[Any]]:
    """The code points that `_spill` wrote, in blocks."""
    for dtype, length in runs:
        for start in range(0, length, _PIECE):
            yield np.frombuffer(scratch.read(min(_PIECE, length - start) * dtype.itemsize), dtype)


def _choose_symbols(counts: Counts, options: TextOptions) -> tuple[Vocabulary, Counts, Ids]:
    """The vocabulary, the counts of its symbols (V,), and the table from code point to id."""
    kept = np.flatnonzero(counts >= options.min_count)
    rare = int(counts[counts < options.min_count].sum())
    if not kept.size:
        raise UserError(
            f"--min-count {options.min_count}: no character occurs so often; "
            f"the most frequent one occurs {counts.max()} times"
        )
    symbols, symbol_counts, unknown = tuple(map(chr, kept)), counts[kept], None
    if rare:
        unknown = len(symbols)
        symbols, symbol_counts = (*symbols, UNKNOWN), np.append(symbol_counts, rare)
    # Whatever is not kept is rare, or is not in the text at all and will not be looked up.
    table = np.full(len(counts), len(symbols) - 1, dtype=_id_dtype(len(symbols)))
    table[kept] = np.arange(len(kept))
    return Vocabulary(options.unit, symbols, unknown), symbol_counts, table


# --- from bytes to code points ----------------------------------------------------------------------------------------


class _Reader:
    """Reads the sources piece by piece, and keeps a record of each one that was read to its end."""

    def __init__(self, names: Sequence[str], progress: Progress | None) -> None:
        self.names = names
        self.finished: list[Source] = []
        self._progress = progress
        self._done = 0  # bytes of the finished sources, as they lie on disk
        self._total: int | None = 0
        if not names:
            raise UserError("no text was given; give at least one file, or - for standard input")
        if names.count("-") > 1:
            raise UserError("standard input can be read only once; give - only once")
        for name in names:  # all of them before hours go into the first
            self._expect(name)

    def _expect(self, name: str) -> None:
        """See that a source is there, and how long it is."""
        if name == "-":
            self._total = None
            return
        with _blaming(name):
            status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{name!r} is a folder; give the text files in it")
        if not stat.S_ISREG(status.st_mode):
            self._total = None  # a pipe does not say
        elif self._total is not None:
            self._total += status.st_size

    def pieces(self, name: str) -> Iterator[bytes]:
        """The decompressed content of one source, in pieces of at most `_PIECE` bytes."""
        digest, size, read = hashlib.sha256(), 0, 0
        with ExitStack() as stack:
            with _blaming(name):
                raw, content = stack.enter_context(_opened(name))
            while True:
                with _blaming(name):
                    piece = content.read(_PIECE)
                if not piece:
                    break
                digest.update(piece)
                size += len(piece)
                read = raw.tell() if raw.seekable() else size
                if self._progress:
                    self._progress(self._done + read, self._total)
                yield piece
        self._done += read
        self.finished.append(Source(name, digest.hexdigest(), size))


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it lies on disk, and its decompressed content. Standard input stays open."""
    if name == "-":
        yield sys.stdin.buffer, sys.stdin.buffer
        return
    decompress = _DECOMPRESS.get(Path(name).suffix.lower(), nullcontext)
    with open(name, "rb") as raw, decompress(raw) as content:
        yield raw, content


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Turn what goes wrong while reading `name` into a UserError."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(
                f"cannot read {name!r}: {error.strerror}; give the path of a readable text, or - for standard input"
            ) from error
        raise UserError(f"{name!r} is a damaged compressed file ({error}); get a whole one") from error


def _code_blocks(reader: _Reader, options: TextOptions) -> Iterator[NDArray[Any]]:
    """The symbols of all sources as code points, in blocks of the width they need."""
    if options.unit == "byte":
        for piece in chain.from_iterable(map(reader.pieces, reader.names)):
            yield np.frombuffer(piece, np.uint8)
        return
    texts = chain.from_iterable(_decoded(name, reader.pieces(name), options.encoding) for name in reader.names)
    for text in _composed(texts) if options.nfc else texts:
        if text:  # pieces that hold only part of a character have none
            yield _code_points(text)


def _code_points(text: str) -> NDArray[Any]:
    """Shape (len(text),), as bytes for ASCII, 16 bits if that holds them all, otherwise 32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    data = text.encode("utf-16-le", "surrogatepass")
    if len(data) == 2 * len(text):  # no character needed a pair
        return np.frombuffer(data, "<u2")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _decoded(name: str, pieces: Iterable[bytes], encoding: str) -> Iterator[str]:
    """The text of one source, without its byte-order mark. UserError saying where it is not valid."""
    decoder = codecs.getincrementaldecoder(encoding)()
    # These decoders drop the mark themselves; a second one is then text.
    at_start = codecs.lookup(encoding).name not in ("utf-16", "utf-32", "utf-8-sig")
    bytes_read, newlines = 0, 0
    for piece in chain(pieces, [b""]):  # the empty one is final: it refuses a character that was cut off
        before = decoder.getstate()
        bytes_read += len(piece)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # error.object is the end of what was read so far: this piece, and bytes held back from the one before.
            bad = len(error.object) - error.start
            decoder.setstate(before)
            newlines += decoder.decode(piece[: max(0, len(piece) - bad)]).count("\n")
            raise UserError(
                f"{name!r}: byte 0x{error.object[error.start]:02X} at offset {bytes_read - bad} (line {newlines + 1}) "
                f"is not valid {encoding}; give the right --encoding, or --unit byte to take bytes as they are"
            ) from None
        except UnicodeError as error:  # of the text as a whole, such as UTF-16 that lacks its byte-order mark
            raise UserError(
                f"{name!r} is not valid {encoding} ({error}); give the right --encoding, or --unit byte"
            ) from None
        newlines += text.count("\n")
        if text and at_start:
            text, at_start = text.removeprefix("\ufeff"), False
        yield text


def _composed(texts: Iterable[str]) -> Iterator[str]:
    """NFC of the joined texts. Holds back the end of each piece, which may change with what follows."""
    held = ""
    for text in texts:
        text = held + text
        cut = next((i for i in reversed(range(1, len(text))) if _starts_afresh(text[i])), 0)
        held = text[cut:]
        yield unicodedata.normalize("NFC", text[:cut])
    yield unicodedata.normalize("NFC", held)


def _starts_afresh(char: str) -> bool:
    """Whether normalization never joins `char` to the text before it, nor moves anything past it."""
    if char < "\u0300":  # the first combining mark
        return True
    first = unicodedata.normalize("NFD", char)[0]
    return not unicodedata.combining(first) and first not in _second_halves()


@cache
def _second_halves() -> frozenset[str]:
    """Characters that can be the second of two that compose into one (The Unicode Standard, section 3.11)."""
    mappings = (unicodedata.decomposition(chr(code)).split() for code in range(sys.maxunicode + 1))
    pairs = {chr(int(m[1], 16)) for m in mappings if len(m) == 2 and not m[0].startswith("<")}
    # Hangul syllables compose by arithmetic and are in no table: their vowels and final consonants.
    return frozenset(pairs | {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))})
