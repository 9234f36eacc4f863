"""reading.py against Python's own decoding, normalization and decompression of the whole."""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnbptt.errors import UserError
from rnnbptt.text import reading
from rnnbptt.text.corpus import Source
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare
from rnnbptt.text.reading import composed, decoded
from support.refusals import message_of
from support.texts import ALL_IN_TRAIN, piece_sizes, pieces_of, prepared, text_of, tree

REMEDY = "give the right --encoding, or --unit byte to take bytes as they are"
DAMAGED = "{0!r} is a damaged compressed file"
CUT_OFF = "Compressed file ended before the end-of-stream marker was reached"

# Marks of every kind of composition: reordering, blocking, Hangul, marks that are starters, odd decompositions.
composing = st.text(
    alphabet="aeé\u0300\u0301\u0316\u0327\u0345\u0344\u0f71\u0f72\u0f73\u1100\u1161\u11a8가\u09c7\u09beक़"
)


@given(st.binary(min_size=2), piece_sizes)
@example(b"\xef\xbb\xbfmark", 2)
@example(bytes(range(256)), 7)
def test_bytes_are_taken_as_they_are(data: bytes, size: int) -> None:
    with pieces_of(size), prepared(data, unit="byte") as corpus:
        assert bytes(ord(corpus.vocabulary.symbols[i]) for i in corpus.ids) == data


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_byte_order_mark_is_dropped_once_from_each_source(encoding: str, size: int) -> None:
    sources = ["\ufefffirst\n", "second\n", "\ufeff\ufeffthird"]
    expected = "first\nsecond\n\ufeffthird"
    with pieces_of(size):
        with prepared([s.encode(encoding) for s in sources], encoding=encoding) as corpus:
            assert text_of(corpus) == expected
        family = {"utf-8": "utf-8-sig"}.get(encoding, encoding[:6])
        marked = [s.removeprefix("\ufeff").encode(encoding) for s in sources]
        marked = ["\ufeff".encode(encoding) + data for data in marked]
        with prepared(marked, encoding=family) as corpus:
            assert text_of(corpus) == expected


def test_newlines_are_kept() -> None:
    with prepared(b"a\r\nb\rc\n\n") as corpus:
        assert text_of(corpus) == "a\r\nb\rc\n\n"


@given(st.lists(composing, min_size=1, max_size=3), piece_sizes)
@example(["\u0344\u0344"], 1)
@example(["a\u0f71", "\u0f73\u0f72"], 1)  # U+0F73 counts as a starter, and still is reordered
def test_nfc_in_pieces_is_nfc_of_the_whole(texts: list[str], size: int) -> None:
    texts[0] = "ab" + texts[0]
    with pieces_of(size), prepared([t.encode() for t in texts], nfc=True) as corpus:
        assert text_of(corpus) == unicodedata.normalize("NFC", "\n".join(filter(None, texts)))
        assert corpus.options.nfc


@given(st.text(), st.lists(st.integers(0, 5), min_size=1))
def test_nfc_of_any_text(text: str, lengths: list[int]) -> None:
    pieces = [text[sum(lengths[:i]) : sum(lengths[: i + 1])] for i in range(len(lengths))] + [text[sum(lengths) :]]
    assert "".join(composed(pieces)) == unicodedata.normalize("NFC", text)


def test_every_composition_of_unicode_survives_the_worst_cut() -> None:
    every = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    decomposed = [d for c in every if len(d := unicodedata.normalize("NFD", c)) > 1]
    assert len(decomposed) > 12_000
    for text in decomposed:
        assert "".join(composed(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".GZ", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_compressed_sources(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    content = "Größe ".encode() * 1000
    source = tmp_path / f"text{suffix}"
    source.write_bytes(compress(content))
    corpus = prepare([source], tmp_path / "out", TextOptions())
    assert text_of(corpus) == "Größe " * 1000
    assert corpus.sources[0] == Source(str(source), hashlib.sha256(content).hexdigest(), len(content))


def test_standard_input_between_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.BytesIO("sté ".encode())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stdin))
    (tmp_path / "a").write_text("aa ")
    (tmp_path / "b").write_text("bb ")
    told: list[tuple[int, int | None]] = []
    corpus = prepare(
        [tmp_path / "a", "-", str(tmp_path / "b")],
        tmp_path / "out",
        TextOptions(split=ALL_IN_TRAIN),
        tell=lambda done, total: told.append((done, total)),
    )
    assert text_of(corpus) == "aa \nsté \nbb "
    assert [source.name for source in corpus.sources] == [str(tmp_path / "a"), "-", str(tmp_path / "b")]
    assert told == [(3, None), (8, None), (11, None)]
    assert not stdin.closed


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    source, sink = os.pipe()
    os.write(sink, b"through a pipe")
    os.close(sink)
    told: list[int | None] = []
    corpus = prepare(
        [f"/dev/fd/{source}"],
        tmp_path / "out",
        TextOptions(split="4/2/2"),
        tell=lambda _, total: told.append(total),
    )
    os.close(source)
    assert text_of(corpus) == "through a pipe"
    assert told == [None]


def test_what_is_told_counts_bytes_on_disk(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "b.gz"
    plain.write_bytes(b"x" * 95)
    packed.write_bytes(gzip.compress(os.urandom(5000).hex().encode()))
    told: list[tuple[int, int | None]] = []
    with pieces_of(10):
        prepare([plain, packed], tmp_path / "out", TextOptions(), tell=lambda *at: told.append(at))
    total = 95 + packed.stat().st_size
    assert told[:10] == [(done, total) for done in (*range(10, 91, 10), 95)]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (total, total)


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("t.txt", b"one\ntwo\ncaf\xe9 x", {}, "{0!r}: byte 0xE9 at offset 11 (line 3) is not valid utf-8; " + REMEDY),
        ("t.txt", b"cut\xe2\x82", {}, "{0!r}: byte 0xE2 at offset 3 (line 1) is not valid utf-8; " + REMEDY),
        (
            "t.txt",
            b"a\n\x81",
            {"encoding": "cp1252"},
            "{0!r}: byte 0x81 at offset 2 (line 2) is not valid cp1252; " + REMEDY,
        ),
        (
            "t.txt",
            "\u0a0a\n!".encode("utf-16-be") + b"\xdc\x00",
            {"encoding": "utf-16-be"},
            "{0!r}: byte 0xDC at offset 6 (line 2) is not valid utf-16-be; " + REMEDY,
        ),
        (
            "t.txt",
            b"a\0b\0",
            {"encoding": "utf-16"},
            "{0!r} is not valid utf-16 (UTF-16 stream does not start with BOM); " + REMEDY,
        ),
        ("t.gz", b"no gzip", {}, f"{DAMAGED} (Not a gzipped file (b'no')); get a whole one"),
        ("t.gz", gzip.compress(bytes(99), mtime=0)[:-9], {}, f"{DAMAGED} ({CUT_OFF}); get a whole one"),
        ("t.bz2", b"no bzip2", {}, f"{DAMAGED} (Invalid data stream); get a whole one"),
        ("t.bz2", bz2.compress(bytes(99))[:-9], {}, f"{DAMAGED} ({CUT_OFF}); get a whole one"),
        ("t.xz", b"no xz at all", {}, f"{DAMAGED} (Input format not supported by decoder); get a whole one"),
        ("t.xz", lzma.compress(bytes(99))[:-20], {}, f"{DAMAGED} ({CUT_OFF}); get a whole one"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1 << 18])
def test_a_text_that_cannot_be_read_leaves_nothing(
    tmp_path: Path, name: str, data: bytes, options: dict[str, Any], message: str, size: int
) -> None:
    source = tmp_path / name
    source.write_bytes(data)
    with pieces_of(size):
        told = message_of(prepare, [source], tmp_path / "new" / "folder" / "out", TextOptions(**options))
    assert told == message.format(str(source))
    assert tree(tmp_path) == {name: data}


def test_damaged_deflate_stream(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(os.urandom(1000).hex().encode()))
    data[100:200] = bytes(100)
    (tmp_path / "t.gz").write_bytes(data)
    told = message_of(prepare, [tmp_path / "t.gz"], tmp_path / "out", TextOptions())
    assert told.startswith(f"{str(tmp_path / 't.gz')!r} is a damaged compressed file (")
    assert list(tree(tmp_path)) == ["t.gz"]


@given(
    st.binary(max_size=12),
    st.binary(max_size=12),
    st.sampled_from(["utf-8", "utf-16-le", "gbk", "shift_jis", "iso2022_jp"]),
    piece_sizes,
)
@example(b"a", b"\x1b$B\xff", "iso2022_jp", 9)  # a decoder that stops in another state than it began in
def test_the_place_of_an_undecodable_byte(start: bytes, end: bytes, encoding: str, size: int) -> None:
    data = start + b"\n\0" + end
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        decoder.decode(data, final=True)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding).count("\n") + 1
        place = f"byte 0x{data[error.start]:02X} at offset {error.start} (line {line}) is not valid {encoding}; "
        with pieces_of(size), pytest.raises(UserError) as caught:
            list(decoded("t", [data[i : i + size] for i in range(0, len(data), size)], encoding))
        assert str(caught.value) == f"'t': {place}{REMEDY}"


HALVES = ["a\\ud83d\\ude00b", "\\ud83d", "\\ude00", "\\n", "x"]


@given(st.lists(st.sampled_from(HALVES)), piece_sizes)
@example(["\\ud83d", "\\ude00"], 6)
def test_the_halves_of_a_character_are_joined_and_one_alone_is_refused(parts: list[str], size: int) -> None:
    """Against Python's own joining, of the whole."""
    data = "".join(parts)
    pieces = [data.encode()[i : i + size] for i in range(0, len(data), size)]
    halves = data.encode().decode("unicode_escape").encode("utf-16-le", "surrogatepass")
    try:
        whole = halves.decode("utf-16-le")
    except UnicodeDecodeError as error:
        before = halves[: error.start].decode("utf-16-le")
        code = int.from_bytes(halves[error.start : error.start + 2], "little")
        assert message_of(list, decoded("t", pieces, "unicode_escape")) == (
            f"'t': U+{code:04X}, character {len(before) + 1} (line {before.count(chr(10)) + 1}), "
            f"is a surrogate without its other half; {REMEDY}"
        )
    else:
        assert "".join(decoded("t", pieces, "unicode_escape")) == whole


def test_standard_input_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert message_of(prepare, ["-"], tmp_path / "out", TextOptions()) == (
        "standard input is closed; give it a text, or give a file"
    )


def test_sources_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fine.txt").write_text("fine " * 20)
    before = tree(tmp_path)

    def told(*sources: str | Path) -> str:
        return message_of(prepare, sources, tmp_path / "out", TextOptions())

    missing = str(tmp_path / "missing.txt")
    remedy = "give the path of a readable text, or - for standard input"
    assert told(tmp_path / "fine.txt", missing) == f"cannot read {missing!r}: No such file or directory; {remedy}"
    assert told() == "no text was given; give at least one file, or - for standard input"
    assert told("-", "-") == "standard input can be read only once; give - only once"

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading, "open", refuse, raising=False)
    fine = str(tmp_path / "fine.txt")
    assert told(fine) == f"cannot read {fine!r}: Permission denied; {remedy}"
    assert tree(tmp_path) == before
