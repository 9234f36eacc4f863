"""From bytes to code points: the sources of a text, decompressed, decoded and composed, in constant memory.

Newlines are symbols like any other, kept exactly as they are in the text.
"""

import bz2
import codecs
import gzip
import hashlib
import lzma
import os
import re
import stat
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, AnyStr

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import Source
from rnnbptt.text.options import TextOptions
from rnnbptt.text.raw import SURROGATE
from rnnbptt.text.vocabulary import code_points

PIECE = 1 << 18  # bytes read at a time: large enough for numpy, small enough for the cache of a processor

ADVICE = "give the right --encoding, or --unit byte to take bytes as they are"

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # surrogates that together are a character

_DECOMPRESS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

Tell = Callable[[int, int | None], None]  # told how much is done and, where it is known, how much there is in all


class Reader:
    """Reads the sources piece by piece, and keeps a record of each one that was read to its end."""

    def __init__(self, names: Sequence[str], tell: Tell | None = None) -> None:
        self.names = names
        self.finished: list[Source] = []
        self._tell = tell
        self._done = 0  # bytes of the finished sources, as they lie on disk
        if not names:
            raise UserError("no text was given; give at least one file, or - for standard input")
        if names.count("-") > 1:
            raise UserError("standard input can be read only once; give - only once")
        sizes = [_size(name) for name in names]  # all must be there before hours go into the first
        self._total = None if None in sizes else sum(filter(None, sizes))

    def pieces(self, name: str) -> Iterator[bytes]:
        """The decompressed content of one source, in pieces of at most `PIECE` bytes."""
        digest, size, read = hashlib.sha256(), 0, 0
        decompress = _DECOMPRESS.get(Path(name).suffix.lower(), nullcontext)
        with (
            _naming(name),
            nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as raw,
            decompress(raw) as content,
        ):
            while piece := content.read(PIECE):
                digest.update(piece)
                size += len(piece)
                read = raw.tell() if raw.seekable() else size
                if self._tell:
                    self._tell(self._done + read, self._total)
                yield piece
        self._done += read
        self.finished.append(Source(name, digest.hexdigest(), size))


def _size(name: str) -> int | None:
    """The bytes of a source as it lies on disk, None where it does not say, as a pipe. UserError if there is none."""
    if name == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed; give it a text, or give a file")
        return None
    with _naming(name):
        status = os.stat(name)
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{name!r} is a folder; give the text files in it")
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise UserError(f"{name!r} is a device, which may have no end; give a text file, or - for standard input")
    return status.st_size if stat.S_ISREG(status.st_mode) else None


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn what goes wrong while reading `name` into a UserError that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(
                f"cannot read {name!r}: {error.strerror}; give the path of a readable text, or - for standard input"
            ) from error
        raise UserError(f"{name!r} is a damaged compressed file ({error}); get a whole one") from error


def code_blocks(reader: Reader, names: Sequence[str], options: TextOptions) -> Iterator[NDArray[Any]]:
    """The symbols of these sources as code points, in blocks of the width they need."""
    if options.unit == "byte":
        for piece in joined(map(reader.pieces, names), b"\n"):
            yield np.frombuffer(piece, np.uint8)
        return
    texts = joined((decoded(name, reader.pieces(name), options.encoding) for name in names), "\n")
    for text in composed(texts) if options.nfc else texts:
        if text:  # pieces that hold only part of a character have none
            yield code_points(text)


def joined(texts: Iterable[Iterable[AnyStr]], newline: AnyStr) -> Iterator[AnyStr]:
    """The pieces of all texts, with a newline between two where the first has none at its end."""
    end = newline
    for pieces in texts:
        missing = end != newline
        for piece in filter(None, pieces):
            if missing:
                yield newline
            missing, end = False, piece[-1:]
            yield piece


def decoded(name: str, pieces: Iterable[bytes], encoding: str, advice: str = ADVICE) -> Iterator[str]:
    """The text of one source, without its byte-order mark. UserError saying where it is not valid, with the advice."""
    return _whole(name, _decoded(name, pieces, encoding, advice), advice)


def _decoded(name: str, pieces: Iterable[bytes], encoding: str, advice: str) -> Iterator[str]:
    """The same, but some encodings give a character as two surrogates, or one alone; two are never torn apart."""
    decoder = codecs.getincrementaldecoder(encoding)()
    # These decoders drop the mark themselves; a second one is then text.
    at_start = codecs.lookup(encoding).name not in ("utf-16", "utf-32", "utf-8-sig")
    bytes_read, newlines, held = 0, 0, ""
    for piece in chain(pieces, [b""]):  # the empty one is final: it refuses a character that was cut off
        before = decoder.getstate()  # to decode the good part of a bad piece, and count its lines
        bytes_read += len(piece)
        try:
            text = held + decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # error.object is the end of what was read so far: this piece, and bytes held back from the one before.
            bad = len(error.object) - error.start
            decoder.setstate(before)
            newlines += decoder.decode(piece[: max(0, len(piece) - bad)]).count("\n")
            raise UserError(
                f"{name!r}: byte 0x{error.object[error.start]:02X} at offset {bytes_read - bad} (line {newlines + 1}) "
                f"is not valid {encoding}; {advice}"
            ) from None
        except UnicodeError as error:  # of the text as a whole, such as UTF-16 that lacks its byte-order mark
            raise UserError(f"{name!r} is not valid {encoding} ({error}); {advice}") from None
        held = text[-1:] if piece and "\ud800" <= text[-1:] <= "\udbff" else ""  # the other half may be coming
        text = text.removesuffix(held)
        newlines += text.count("\n")
        if text and at_start:
            text, at_start = text.removeprefix("\ufeff"), False
        yield text


def _whole(name: str, texts: Iterable[str], advice: str) -> Iterator[str]:
    """The text, the two surrogates of a character joined. UserError for one that is alone."""
    characters, newlines = 0, 0
    for text in texts:
        try:
            text.encode()  # fast, and refuses surrogates
        except UnicodeEncodeError:
            text = _PAIR.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)
            if alone := SURROGATE.search(text):
                place = alone.start()
                raise UserError(
                    f"{name!r}: U+{ord(text[place]):04X}, character {characters + place + 1} "
                    f"(line {newlines + text.count(chr(10), 0, place) + 1}), is a surrogate without its other half; "
                    + advice
                ) from None
        newlines += text.count("\n")
        characters += len(text)
        yield text


def composed(texts: Iterable[str]) -> Iterator[str]:
    """The joined texts in Unicode's normalization form C, piece by piece.

    Of each piece the end is held back until the next has come: its last characters may compose with the first ones of
    that, as an e and the accent after it become one é. The cut is before the last character that never does.
    """
    held = ""
    for text in texts:
        text = held + text
        cut = next((i for i in reversed(range(1, len(text))) if _starts_afresh(text[i])), 0)
        held = text[cut:]
        yield unicodedata.normalize("NFC", text[:cut])
    yield unicodedata.normalize("NFC", held)


def _starts_afresh(char: str) -> bool:
    """Whether normalization never joins `char` to the text before it, nor moves a later mark past it."""
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
