"""corpus.py and streams.py against independent oracles: Python's own whole-text decoding, Counter, and a lane walk."""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import tempfile
import tracemalloc
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import message_of
from hypothesis import example, given
from hypothesis import strategies as st

from rnnbptt import corpus as corpus_module
from rnnbptt import streams as streams_module
from rnnbptt.corpus import Corpus, TextOptions, Vocabulary, prepare, split_offsets
from rnnbptt.errors import UserError
from rnnbptt.streams import Streams

NASTY = [
    "a",
    "\0",
    "\r",
    "\n\r\n\r",
    "naïve café",
    "e\u0301 vs \u00e9",
    "\ufffd",
    "\ufeffafter a mark\ufeff",
    "😀👩‍👩‍👧‍👦🇫🇷",
    "שלום עולם مرحبا",
    "\u0344\u0301\u0327\u0301",
    "각한글각",
    "𐍈𐎀𠜎\U0010ffff",
    "\u2028\x85\x1c",
    "漢字かな交じり文",
]
ALL_IN_TRAIN = "1/0/0"

any_text = st.one_of(st.text(min_size=2), st.sampled_from([text * 2 for text in NASTY]))
with_surrogates = st.text(alphabet=st.characters(exclude_categories=()), min_size=1)
# Marks of every kind of composition: reordering, blocking, Hangul, marks that are starters, odd decompositions.
composing = st.text(
    alphabet="aeé\u0300\u0301\u0316\u0327\u0345\u0344\u0f71\u0f72\u0f73\u1100\u1161\u11a8가\u09c7\u09beक़"
)
piece_sizes = st.integers(1, 9)


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    """Read, hash and map that many bytes or symbols at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "_PIECE", size)
        yield


@contextmanager
def prepared(data: bytes | list[bytes], **options: Any) -> Iterator[Corpus]:
    """A corpus made of one source or several, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for i, content in enumerate([data] if isinstance(data, bytes) else data):
            sources.append(Path(folder, f"source{i}.txt"))
            sources[-1].write_bytes(content)
        yield prepare(sources, Path(folder, "out"), TextOptions(**{"split": ALL_IN_TRAIN, **options}))


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden files too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# --- options and split ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "word"}, "--unit word: unknown; give char or byte"),
        (
            {"encoding": "utf-9"},
            "--encoding 'utf-9': unknown; give one that Python knows, such as utf-8, utf-16 or latin-1",
        ),
        (
            {"encoding": "zlib"},
            "--encoding 'zlib': unknown; give one that Python knows, such as utf-8, utf-16 or latin-1",
        ),
        (
            {"encoding": "locale"},
            "--encoding 'locale': unknown; give one that Python knows, such as utf-8, utf-16 or latin-1",
        ),
        ({"encoding": ""}, "--encoding '': unknown; give one that Python knows, such as utf-8, utf-16 or latin-1"),
        (
            {"unit": "byte", "nfc": True},
            "--unit byte takes bytes as they are: leave out --nfc and --encoding, or give --unit char",
        ),
        (
            {"unit": "byte", "encoding": "latin-1"},
            "--unit byte takes bytes as they are: leave out --nfc and --encoding, or give --unit char",
        ),
        ({"min_count": 0}, "--min-count 0: must be at least 1"),
        (
            {"split": "0.9/0.1"},
            "--split '0.9/0.1': give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M)",
        ),
        (
            {"split": "1/0/-1"},
            "--split '1/0/-1': give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M)",
        ),
        (
            {"split": "90m/5/5"},
            "--split '90m/5/5': give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M)",
        ),
        ({"split": "0.9/0.05/0.06"}, "--split 0.9/0.05/0.06: fractions must sum to 1, and these sum to 1.01"),
        ({"split": "1/1/1"}, "--split 1/1/1: fractions must sum to 1, and these sum to 3"),
        ({"split": "10/0.5/2"}, "--split 10/0.5/2: sizes must be whole numbers of symbols"),
        (
            {"split": "0/0.5/0.5"},
            "--split 0/0.5/0.5: leaves nothing to train on; the first part must be above 0",
        ),
        ({"split": "0/10/10"}, "--split 0/10/10: leaves nothing to train on; the first part must be above 0"),
    ],
)
def test_options_are_checked_on_construction(options: dict[str, Any], message: str) -> None:
    assert message_of(TextOptions, **options) == message


@pytest.mark.parametrize(
    ("split", "n", "ends"),
    [
        ("0.9/0.05/0.05", 1000, (900, 950, 1000)),
        ("0.9/0.05/0.05", 1_003_854, (903_468, 953_661, 1_003_854)),
        ("1/0/0", 2, (2, 2, 2)),
        ("0.5/0/0.5", 4, (2, 2, 4)),
        (".5/.5/0", 5, (2, 5, 5)),
        ("0.333333333/0.333333333/0.333333333", 9, (3, 6, 9)),
        ("0.6/0.3999999999/0", 1000, (600, 1000, 1000)),
        ("1000/200/100", 1300, (1000, 1200, 1300)),
        ("1000/200/100", 5000, (1000, 1200, 1300)),
        ("1k/0.2K/100", 1300, (1000, 1200, 1300)),
        ("90M/5M/5M", 10**9, (90_000_000, 95_000_000, 100_000_000)),
        ("1.5G/0/2", 2 * 10**9, (1_500_000_000, 1_500_000_000, 1_500_000_002)),
    ],
)
def test_split_offsets(split: str, n: int, ends: tuple[int, int, int]) -> None:
    a, b, c = ends
    assert split_offsets(split, n) == {"train": (0, a), "valid": (a, b), "test": (b, c)}


def test_split_that_does_not_fit_the_text() -> None:
    assert message_of(split_offsets, "0.9/0.05/0.05", 21) == (
        "--split 0.9/0.05/0.05: gives valid 1 of the 21 symbols of the text, and each part needs 2; "
        "give more text or another split, such as 1/0/0"
    )
    assert message_of(split_offsets, "1/0/0", 1).startswith("--split 1/0/0: gives train 1 of the 1 symbols")
    assert message_of(split_offsets, "5/1/2", 9).startswith("--split 5/1/2: gives valid 1 of the 9 symbols")
    assert message_of(split_offsets, "1k/20/0", 1019) == (
        "--split 1k/20/0: asks for 1020 symbols, but the text has 1019; give smaller sizes"
    )


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(40, 10**12))
def test_fractions_share_out_the_whole_text(a: int, b: int, n: int) -> None:
    a, b = sorted((a, b))
    parts = (a, b - a, 1000 - b)
    if parts[0]:
        try:
            offsets = split_offsets("/".join(f"{part / 1000}" for part in parts), n)
        except UserError:
            assert any(0 < part * n < 3000 for part in parts)
            return
        assert offsets["train"][0] == 0
        assert offsets["train"][1] == offsets["valid"][0] == a * n // 1000
        assert offsets["valid"][1] == offsets["test"][0] == b * n // 1000
        assert offsets["test"][1] == n


# --- vocabulary -------------------------------------------------------------------------------------------------------


def vocabulary_of(text: str, unit: str = "char", unknown: bool = False) -> Vocabulary:
    units = text if unit == "char" else text.encode("utf-8", "surrogatepass").decode("latin-1")
    symbols = sorted(set(units)) + ["\ufffd"] * unknown
    return Vocabulary(unit, tuple(symbols), len(symbols) - 1 if unknown else None)


@given(st.one_of(with_surrogates, st.sampled_from(NASTY)), st.booleans())
@example("\ud800\udc00", False)  # two symbols; one if anything joins them
@example("\ufffd", True)
def test_characters_round_trip(text: str, unknown: bool) -> None:
    vocabulary = Vocabulary.from_json(json.loads(json.dumps(vocabulary_of(text, unknown=unknown).to_json())))
    assert vocabulary == vocabulary_of(text, unknown=unknown)
    assert vocabulary.size == len(vocabulary) == len(set(text)) + unknown
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert [vocabulary.symbols[i] for i in ids] == list(text)
    assert vocabulary.unknown not in ids
    assert vocabulary.decode(ids) == text


@given(st.one_of(st.text(min_size=1), st.sampled_from(NASTY)), st.integers(1, 5))
def test_bytes_round_trip_and_decode_in_pieces(text: str, step: int) -> None:
    vocabulary = Vocabulary.from_json(json.loads(json.dumps(vocabulary_of(text, "byte").to_json())))
    ids = vocabulary.encode(text)
    assert bytes(ord(vocabulary.symbols[i]) for i in ids) == text.encode()
    assert vocabulary.decode(ids) == text
    decoder = vocabulary.decoder()
    shown = ""
    for start in range(0, len(ids), step):
        shown += decoder.feed(ids[start : start + step])
        assert text.startswith(shown)
    assert shown + decoder.finish() == text


@given(st.binary(min_size=1))
def test_bytes_that_are_not_utf8_are_shown_as_python_shows_them(data: bytes) -> None:
    vocabulary = Vocabulary("byte", tuple(map(chr, sorted(set(data)))))
    ids = [vocabulary.symbols.index(chr(byte)) for byte in data]
    assert vocabulary.decode(ids) == data.decode("utf-8", "replace")


def test_empty_text_and_unknown_symbol() -> None:
    vocabulary = Vocabulary("char", ("a", "\ufffd"), 1)
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode([0, 1, 0]) == "a\ufffda"
    assert Vocabulary("byte", ("a", "\ufffd"), 1).decode([0, 1, 0]) == "a\ufffda"


@pytest.mark.parametrize(
    ("vocabulary", "prompt", "message"),
    [
        (vocabulary_of("caf"), "café?", "no character 'é' (U+00E9, position 4 of the prompt)"),
        (vocabulary_of("caf", unknown=True), "cé", "no character 'é' (U+00E9, position 2 of the prompt)"),
        (vocabulary_of("a", unknown=True), "a\ufffd", "no character '\ufffd' (U+FFFD, position 2 of the prompt)"),
        (vocabulary_of("a"), "\n", r"no character '\n' (U+000A, position 1 of the prompt)"),
        (vocabulary_of("a"), "a😀", "no character '😀' (U+1F600, position 2 of the prompt)"),
        (vocabulary_of("a"), "\udce9", r"no character '\udce9' (U+DCE9, position 1 of the prompt)"),
        (
            vocabulary_of("aé", "byte"),
            "éaêé",
            "no byte 0xAA of the character 'ê' (U+00EA, position 3 of the prompt)",
        ),
        (
            vocabulary_of("a😀", "byte"),
            "😀éa",
            "no byte 0xC3 of the character 'é' (U+00E9, position 2 of the prompt)",
        ),
        (
            vocabulary_of("aé", "byte"),
            "a\ud800",
            r"no byte 0xED of the character '\ud800' (U+D800, position 2 of the prompt)",
        ),
    ],
)
def test_a_prompt_with_what_the_vocabulary_lacks(vocabulary: Vocabulary, prompt: str, message: str) -> None:
    expected = f"the vocabulary has {message}; leave it out, or train on a text that has it"
    assert message_of(vocabulary.encode, prompt) == expected


@pytest.mark.parametrize(
    "data",
    [
        {"unit": "char", "symbols": ["b", "a"], "unknown": None},
        {"unit": "char", "symbols": ["a", "a"], "unknown": None},
        {"unit": "char", "symbols": [], "unknown": None},
        {"unit": "char", "symbols": ["\ufffd"], "unknown": 0},
        {"unit": "char", "symbols": ["a", "b"], "unknown": 1},
        {"unit": "char", "symbols": ["a", "b", "\ufffd"], "unknown": 1},
        {"unit": "byte", "symbols": ["Ā"], "unknown": None},
        {"unit": "word", "symbols": ["a"], "unknown": None},
        {"unit": "char", "symbols": ["ab"], "unknown": None},
        {"unit": "char", "symbols": [1], "unknown": None},
        {"unit": "char", "symbols": ["a"]},
        ["a"],
    ],
)
def test_damaged_vocabulary(data: Any) -> None:
    assert message_of(Vocabulary.from_json, data).startswith("the vocabulary is damaged: ")


# --- prepare: what goes in comes out ----------------------------------------------------------------------------------


@given(
    any_text, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030", "utf-7"]), piece_sizes
)
def test_prepare_and_open_round_trip(text: str, encoding: str, size: int) -> None:
    text = text.removeprefix("\ufeff") + ".."  # a mark at the very start has tests of its own
    data = text.encode(encoding)
    with pieces_of(size), prepared(data, encoding=encoding) as corpus:
        opened = Corpus.open(corpus.path)
        for one in (corpus, opened):
            assert text_of(one) == text
            assert one.vocabulary == vocabulary_of(text)
            assert dict(zip(one.vocabulary.symbols, one.counts.tolist(), strict=True)) == Counter(text)
            assert (one.vocabulary.encode(text) == one.ids).all()
            assert one.options == TextOptions(encoding=encoding, split=ALL_IN_TRAIN)
            assert one.sources[0].sha256 == hashlib.sha256(data).hexdigest()
            assert one.sources[0].bytes == len(data)
            assert one.unknown_count == one.unused == 0
        assert opened.fingerprint == corpus.fingerprint


@given(st.binary(min_size=2), piece_sizes)
@example(b"\xef\xbb\xbfmark", 2)
@example(bytes(range(256)), 7)
def test_bytes_are_taken_as_they_are(data: bytes, size: int) -> None:
    with pieces_of(size), prepared(data, unit="byte") as corpus:
        assert bytes(ord(corpus.vocabulary.symbols[i]) for i in corpus.ids) == data


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_byte_order_mark_is_dropped_once_from_each_source(encoding: str, size: int) -> None:
    sources = ["\ufefffirst ", "second ", "\ufeff\ufeffthird"]
    expected = "first second \ufeffthird"
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
@example(["e", "\u0301"], 1)  # composes over the seam of two files
@example(["\u0344\u0344"], 1)
@example(["a\u0f71", "\u0f73\u0f72"], 1)  # U+0F73 counts as a starter, and still is reordered
def test_nfc_in_pieces_is_nfc_of_the_whole(texts: list[str], size: int) -> None:
    texts[0] = "ab" + texts[0]
    with pieces_of(size), prepared([t.encode() for t in texts], nfc=True) as corpus:
        assert text_of(corpus) == unicodedata.normalize("NFC", "".join(texts))
        assert corpus.options.nfc


@given(st.text(), st.lists(st.integers(0, 5), min_size=1))
def test_nfc_of_any_text(text: str, lengths: list[int]) -> None:
    pieces = [text[sum(lengths[:i]) : sum(lengths[: i + 1])] for i in range(len(lengths))] + [text[sum(lengths) :]]
    assert "".join(corpus_module._composed(pieces)) == unicodedata.normalize("NFC", text)


def test_every_composition_of_unicode_survives_the_worst_cut() -> None:
    every = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    decomposed = [d for c in every if len(d := unicodedata.normalize("NFD", c)) > 1]
    assert len(decomposed) > 12_000
    for text in decomposed:
        assert "".join(corpus_module._composed(text)) == unicodedata.normalize("NFC", text)


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
    assert corpus.sources[0] == corpus_module.Source(str(source), hashlib.sha256(content).hexdigest(), len(content))


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
        progress=lambda done, total: told.append((done, total)),
    )
    assert text_of(corpus) == "aa sté bb "
    assert [source.name for source in corpus.sources] == [str(tmp_path / "a"), "-", str(tmp_path / "b")]
    assert told == [(3, None), (8, None), (11, None)]
    assert not stdin.closed


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    told: list[int | None] = []
    corpus = prepare(
        [f"/dev/fd/{reading}"],
        tmp_path / "out",
        TextOptions(split="4/2/2"),
        progress=lambda _, total: told.append(total),
    )
    os.close(reading)
    assert text_of(corpus) == "through a pipe"
    assert told == [None]


def test_progress_counts_bytes_on_disk(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "b.gz"
    plain.write_bytes(b"x" * 95)
    packed.write_bytes(gzip.compress(os.urandom(5000).hex().encode()))
    told: list[tuple[int, int | None]] = []
    with pieces_of(10):
        prepare([plain, packed], tmp_path / "out", TextOptions(), progress=lambda *at: told.append(at))
    total = 95 + packed.stat().st_size
    assert told[:10] == [(done, total) for done in (*range(10, 91, 10), 95)]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (total, total)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_min_count_makes_rare_characters_one_unknown_symbol(unit: str) -> None:
    text = "aaa\ufffd\ufffd\ufffdbbbxyyz"
    with prepared(text.encode(), min_count=3, unit=unit) as corpus:
        vocabulary = corpus.vocabulary
        known = ("a", "b", "\ufffd") if unit == "char" else ("a", "b", "\xbd", "\xbf", "\xef")
        assert vocabulary.symbols == (*known, "\ufffd")
        assert vocabulary.unknown == len(known)
        assert corpus.unknown_count == corpus.counts[-1] == 4
        assert corpus.counts.tolist() == [3] * len(known) + [4]
        assert text_of(corpus) == "aaa\ufffd\ufffd\ufffdbbb\ufffd\ufffd\ufffd\ufffd"
        assert corpus.ids.tolist()[-4:] == [vocabulary.unknown] * 4
        assert text_of(Corpus.open(corpus.path)) == text_of(corpus)
        assert "'x'" in message_of(vocabulary.encode, "x")
    with prepared(text.encode(), min_count=1, unit=unit) as corpus:
        assert corpus.vocabulary.unknown is None
    with prepared(b"aabb", min_count=2, unit=unit) as corpus:
        assert corpus.vocabulary.unknown is None


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "u1"), (256, "u1"), (257, "<u2"), (65536, "<u2"), (65537, "<u4"), (70000, "<u4")]
)
def test_ids_are_as_narrow_as_the_vocabulary_allows(size: int, dtype: str) -> None:
    text = "".join(map(chr, range(0xE000, 0xE000 + size))) * 2
    with prepared(text.encode()) as corpus:
        mapped = np.load(corpus.path / "ids.npy", mmap_mode="r")
        assert isinstance(mapped, np.memmap)
        assert mapped.dtype == corpus.ids.dtype == np.dtype(dtype)
        assert type(corpus.ids) is np.ndarray
        assert not corpus.ids.flags.writeable
        assert (mapped == np.tile(np.arange(size), 2)).all()


def test_pieces_of_every_width_in_one_text() -> None:
    text = "plain" + "żółć" + "😀🎉" + "plain" + "é" * 9 + "\U0010ffff" + "漢字" + "z"
    for size in (1, 4, 1000):
        with pieces_of(size), prepared(text.encode()) as corpus:
            assert text_of(corpus) == text


def test_splits_statistics_and_fingerprint() -> None:
    with prepared(b"aaaabbcd" * 10, split="40/20/10") as corpus:
        assert corpus.splits == {"train": (0, 40), "valid": (40, 60), "test": (60, 70)}
        assert corpus.unused == 10
        assert corpus.split("valid").tolist() == corpus.ids[40:60].tolist()
        assert corpus.entropy() == pytest.approx(1.75, rel=1e-15)
        assert corpus.most_common(3) == [("a", 40), ("b", 20), ("c", 10)]
        assert corpus.most_common(9) == [("a", 40), ("b", 20), ("c", 10), ("d", 10)]
        fingerprint = corpus.fingerprint
    with pieces_of(3), prepared([b"aaaabbcd" * 5] * 2) as corpus:
        assert corpus.fingerprint == fingerprint
        assert corpus.splits == {"train": (0, 80), "valid": (80, 80), "test": (80, 80)}
    for other in ({"data": b"aaaabbce" * 10}, {"data": b"aaaabbdc" * 10}, {"data": b"aaaabbcd" * 10, "unit": "byte"}):
        with prepared(**other) as corpus:
            assert corpus.fingerprint != fingerprint
    with prepared(b"one symbol".translate(bytes(256))) as corpus:
        assert corpus.entropy() == 0
        assert math.copysign(1, corpus.entropy()) == 1


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    peaks = []
    for size in (2, 12):
        (tmp_path / "text").write_bytes("漢字かな交じり文。\n".encode() * (size * 2**20 // 28))
        tracemalloc.start()
        prepare([tmp_path / "text"], tmp_path / "out", TextOptions(nfc=True), force=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2**20
    assert peaks[1] < 40 * 2**20


# --- prepare: what goes wrong -----------------------------------------------------------------------------------------

REMEDY = "give the right --encoding, or --unit byte to take bytes as they are"
DAMAGED = "{0!r} is a damaged compressed file"
CUT_OFF = "Compressed file ended before the end-of-stream marker was reached"


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("t.txt", b"", {}, "the text is empty: {0!r}"),
        ("t.txt", b"\xef\xbb\xbf", {}, "the text is empty: {0!r}"),
        ("t.gz", gzip.compress(b"", mtime=0), {}, "the text is empty: {0!r}"),
        (
            "t.txt",
            b"abc",
            {},
            "--split 0.9/0.05/0.05: gives valid 0 of the 3 symbols of the text, and each part needs 2; "
            "give more text or another split, such as 1/0/0",
        ),
        (
            "t.txt",
            b"abc",
            {"split": "3/2/0"},
            "--split 3/2/0: asks for 5 symbols, but the text has 3; give smaller sizes",
        ),
        (
            "t.txt",
            b"aab",
            {"split": "1/0/0", "min_count": 3},
            "--min-count 3: no character occurs so often; the most frequent one occurs 2 times",
        ),
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
            "{0!r} is not valid utf-16 (UTF-16 stream does not start with BOM); "
            "give the right --encoding, or --unit byte",
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
def test_a_text_that_cannot_be_prepared_leaves_nothing(
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
            list(corpus_module._decoded("t", [data[i : i + size] for i in range(0, len(data), size)], encoding))
        assert str(caught.value) == f"'t': {place}{REMEDY}"


def test_sources_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fine.txt").write_text("fine " * 20)
    before = tree(tmp_path)

    def told(*sources: str | Path) -> str:
        return message_of(prepare, sources, tmp_path / "out", TextOptions())

    missing = str(tmp_path / "missing.txt")
    remedy = "give the path of a readable text, or - for standard input"
    assert told(tmp_path / "fine.txt", missing) == f"cannot read {missing!r}: No such file or directory; {remedy}"
    assert told(tmp_path) == f"{str(tmp_path)!r} is a folder; give the text files in it"
    assert told() == "no text was given; give at least one file, or - for standard input"
    assert told("-", "-") == "standard input can be read only once; give - only once"

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(corpus_module, "open", refuse, raising=False)
    fine = str(tmp_path / "fine.txt")
    assert told(fine) == f"cannot read {fine!r}: Permission denied; {remedy}"
    assert tree(tmp_path) == before


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "t" / "below" / "a-file"
    assert message_of(prepare, [tmp_path / "t"], out, TextOptions()) == f"cannot write {str(out)!r}: Not a directory"
    assert list(tree(tmp_path)) == ["t"]


# --- prepare: all or nothing ------------------------------------------------------------------------------------------


def test_an_existing_folder_is_replaced_only_by_force_and_only_if_it_is_ours(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    (tmp_path / "u").write_text("other " * 20)
    out = tmp_path / "out"

    def again(force: bool) -> Corpus:
        return prepare([tmp_path / "u"], out, TextOptions(), force=force)

    out.mkdir()
    refusal = f"{str(out)!r} exists; give --force to prepare it again, or another folder"
    assert message_of(again, False) == refusal
    assert text_of(again(True)) == "other " * 20
    prepare([tmp_path / "t"], out, TextOptions(), force=True)
    before = tree(tmp_path)
    assert sorted(before) == ["out", "out/corpus.json", "out/ids.npy", "t", "u"]
    assert message_of(again, False) == refusal
    assert tree(tmp_path) == before
    (out / "ids.npy").unlink()
    assert text_of(again(True)) == "other " * 20

    not_ours = f"{str(out)!r} is not a prepared corpus, and --force replaces nothing else; move it away"
    (out / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    assert message_of(again, True) == not_ours
    assert tree(tmp_path) == before
    (out / "notes.txt").unlink()
    (out / "corpus.json").write_text("{}")
    assert message_of(again, True) == not_ours
    (out / "corpus.json").unlink()
    (out / "ids.npy").unlink()
    out.rmdir()
    out.write_text("a file")
    assert message_of(again, True) == not_ours
    assert out.read_text() == "a file"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    prepare([tmp_path / "t"], tmp_path / "out", TextOptions(), force=True)
    assert (tmp_path / "out").is_symlink()
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["corpus.json", "ids.npy"]


@pytest.mark.parametrize("interrupted", ["progress", "writing", "first rename", "second rename"])
@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupt_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str, existing: bool
) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "deep" / "out"
    if existing:
        prepare([tmp_path / "t"], out, TextOptions())
    before = tree(tmp_path)
    renames = 0
    rename = Path.rename

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def interrupted_rename(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == (1 if interrupted == "first rename" else 1 + existing):
            raise KeyboardInterrupt
        return rename(self, target)

    if interrupted == "writing":
        monkeypatch.setattr(np.lib.format, "write_array_header_1_0", interrupt)
    elif interrupted != "progress":
        monkeypatch.setattr(Path, "rename", interrupted_rename)
    with pytest.raises(KeyboardInterrupt):
        prepare(
            [tmp_path / "t"],
            out,
            TextOptions(),
            force=True,
            progress=interrupt if interrupted == "progress" else None,
        )
    assert tree(tmp_path) == before


def test_a_file_that_arrives_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    prepare([tmp_path / "t"], out, TextOptions())
    assert "is not a prepared corpus" in message_of(
        prepare,
        [tmp_path / "t"],
        out,
        TextOptions(),
        force=True,
        progress=lambda *_: (out / "notes").write_text("mine"),
    )
    assert sorted(os.listdir(out)) == ["corpus.json", "ids.npy", "notes"]
    assert sorted(os.listdir(tmp_path)) == ["out", "t"]


# --- open is strict ---------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_corpus(tmp_path: Path) -> None:
    message = f"{str(tmp_path)!r} is not a prepared corpus; make one with: rnnbptt prepare TEXT"
    assert message_of(Corpus.open, tmp_path) == message
    for content in ("", "[]", "{}", '{"kind": "recipe"}', "\xff"):
        (tmp_path / "corpus.json").write_bytes(content.encode("latin-1"))
        assert message_of(Corpus.open, tmp_path) == message
    file = tmp_path / "corpus.json"
    assert message_of(Corpus.open, file).startswith(f"{str(file)!r} is not a prepared corpus")
    assert "is not a prepared corpus" in message_of(Corpus.open, str(tmp_path / "missing"))


def _change_json(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = json.loads((folder / "corpus.json").read_text())
        (folder / "corpus.json").write_text(json.dumps(data | changes))

    return change


def _change_ids(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "ids.npy").write_bytes(change((folder / "ids.npy").read_bytes()))

    return write


def _save_ids(array: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "ids.npy", array)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "ids.npy").unlink(),
        _change_ids(lambda data: b""),
        _change_ids(lambda data: data[:50]),
        _change_ids(lambda data: data[:-1]),
        _change_ids(lambda data: data + b"\0"),
        _change_ids(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        _change_ids(lambda data: b"PK\3\4" + data),
        _save_ids(np.zeros(100, np.uint16)),
        _save_ids(np.zeros((10, 10), np.uint8)),
        _save_ids(np.uint8(0)),
        _save_ids(np.array([{}])),
        _change_json(format=0),
        _change_json(format="1"),
        _change_json(counts=[99, 1]),
        _change_json(counts=[20, 20, 20, 41]),
        _change_json(counts=[10**30, 1, 1, 1]),
        _change_json(splits={"train": [0, 100]}),
        _change_json(splits=[]),
        _change_json(options={"unit": "byte"}),
        _change_json(options={"unit": "word"}),
        _change_json(options={"novel": 1}),
        _change_json(options={"split": "90M/5M/5M"}),
        _change_json(vocabulary={"unit": "char", "symbols": [" ", "e", "t", "y"], "unknown": None}),
        _change_json(vocabulary=None),
        _change_json(fingerprint="0"),
        _change_json(sources=[{}]),
    ],
)
def test_damage_is_noticed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    prepare([tmp_path / "t"], out, TextOptions())
    Corpus.open(out)
    damage(out)
    assert message_of(Corpus.open, out) == f"{str(out)!r} is damaged or incomplete; prepare the text again"


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    prepare([tmp_path / "t"], out, TextOptions())
    _change_json(format=2, counts="in another way")(out)
    assert message_of(Corpus.open, out) == (
        f"{str(out)!r} has format 2, and this rnnbptt reads up to 1; update rnnbptt, or prepare the text again"
    )


# --- streams ----------------------------------------------------------------------------------------------------------


def walk(ids: np.ndarray[Any, Any], streams: int, position: int) -> tuple[list[int], list[int], list[bool]]:
    """The oracle: what every lane reads, has to predict and resets at one position, lane by lane."""
    pairs = len(ids) - 1
    x, y, reset = [], [], []
    for lane in range(streams):
        pair = lane * pairs // streams
        wrapped = False
        for _ in range(position):
            pair += 1
            wrapped = pair == pairs
            if wrapped:
                pair = 0
        x.append(int(ids[pair]))
        y.append(int(ids[pair + 1]))
        reset.append(wrapped)
    return x, y, reset


@st.composite
def texts_and_streams(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], int]:
    streams = draw(st.integers(1, 7))
    pairs = draw(st.integers(2 * streams, 60))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.uint32]))
    return np.arange(pairs + 1, dtype=dtype), streams  # all different, so that any wrong place shows


@given(
    texts_and_streams(), st.lists(st.integers(1, 90), min_size=1, max_size=12), st.integers(1, 8), st.integers(0, 150)
)
def test_streams_walk_every_lane(
    given_text: tuple[np.ndarray[Any, Any], int], ks: list[int], ahead: int, position: int
) -> None:
    ids, count = given_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams_module, "_READ_AHEAD", ahead)
        streams = Streams(ids, count, position)
        assert streams.epoch_chars == len(ids) - 1
        for k in ks:
            room = streams.until_wrap()
            x, y, reset = streams.take(k)
            steps = min(k, room)
            assert x.shape == y.shape == (steps, count)
            assert x.dtype == y.dtype == np.int64
            assert reset.shape == (count,)
            assert reset.dtype == np.bool_
            for t in range(steps):
                expected_x, expected_y, expected_reset = walk(ids, count, position + t)
                assert x[t].tolist() == expected_x
                assert y[t].tolist() == expected_y
                # Inside a segment nothing ever needs a reset; at its start, exactly what the walk says.
                assert expected_reset == (reset.tolist() if t == 0 else [False] * count)
            position += steps
            assert streams.position == position
            assert streams.until_wrap() == next(w for w in range(1, 99) if any(walk(ids, count, position + w)[2]))


@given(texts_and_streams(), st.lists(st.integers(1, 50), min_size=1), st.lists(st.integers(1, 50), min_size=1))
def test_any_sequence_of_k_reads_the_same(given_text: Any, first: list[int], second: list[int]) -> None:
    ids, count = given_text
    total = 150

    def read(ks: list[int]) -> tuple[list[Any], dict[int, list[bool]]]:
        streams, rows, resets = Streams(ids, count), [], {}
        while streams.position < total:
            at = streams.position
            x, y, reset = streams.take(min(ks[at % len(ks)], total - at))
            rows += [*zip(x.tolist(), y.tolist(), strict=True)]
            if reset.any():
                resets[at] = reset.tolist()
        return rows, resets

    assert read(first) == read(second)


def test_an_epoch_visits_every_pair_once_in_every_lane_and_resets_only_the_wrapping_lane() -> None:
    streams = Streams(np.arange(11, dtype=np.uint8), 3)
    assert streams.epoch_chars == 10
    first = streams.take(100)
    assert first.x.T.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert first.y.T.tolist() == [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8, 9, 10]]
    assert first.reset.tolist() == [False, False, False]  # the state is zero there anyway
    second = streams.take(100)
    assert second.x.T.tolist() == [[4, 5, 6], [7, 8, 9], [0, 1, 2]]
    assert second.reset.tolist() == [False, False, True]
    third = streams.take(2)
    assert third.x.T.tolist() == [[7, 8], [0, 1], [3, 4]]
    assert third.reset.tolist() == [False, True, False]
    assert streams.take(100).x.T.tolist() == [[9], [2], [5]]
    assert streams.position == streams.epoch_chars
    fourth = streams.take(1)
    assert fourth.x.tolist() == [[0, 3, 6]]
    assert fourth.reset.tolist() == [True, False, False]


def test_restoring_at_a_wrap_resets_as_reading_up_to_it_does() -> None:
    ids = np.arange(11, dtype=np.uint8)
    for position in range(1, 35):
        through = Streams(ids, 3)
        while through.position < position:
            through.take(min(2, position - through.position))
        for a, b in zip(through.take(9), Streams(ids, 3, position).take(9), strict=True):
            assert a.tolist() == b.tolist()


def test_segments_keep_their_content_and_little_is_read_ahead() -> None:
    ids = np.arange(200_000, dtype=np.uint32)
    streams = Streams(ids, 4)
    kept = [streams.take(k) for k in (1, 5, 600, 1, 3000, 7)]
    position = 0
    for segment in kept:  # after everything was read: no buffer is used twice
        for lane, column in enumerate(segment.x.T):
            start = lane * 199_999 // 4 + position
            assert column.tolist() == list(range(start, start + len(column)))
        position += len(segment.x)
    with pytest.MonkeyPatch.context() as patch:
        gathered: list[int] = []
        read = Streams._read
        patch.setattr(Streams, "_read", lambda self, steps: (gathered.append(steps), read(self, steps)))
        narrow = Streams(ids, 32)
        for _ in range(1024):
            narrow.take(1)
        assert len(gathered) == 2
    block = Streams(ids, 2000).take(1).x.base
    assert block is not None
    assert block.nbytes <= 1.1 * 2**20


@pytest.mark.parametrize(
    ("symbols", "streams", "message"),
    [
        (64, 32, "--streams 32: too many for the 64 symbols of the training text, give at most 31"),
        (
            2,
            1,
            "--streams 1: too many for the 2 symbols of the training text, which is too short even for 1; "
            "give more text",
        ),
        (
            0,
            1,
            "--streams 1: too many for the 0 symbols of the training text, which is too short even for 1; "
            "give more text",
        ),
        (64, 0, "--streams 0: must be at least 1"),
    ],
)
def test_streams_that_do_not_fit(symbols: int, streams: int, message: str) -> None:
    assert message_of(Streams, np.zeros(symbols, np.uint8), streams) == message


def test_streams_fit_exactly_and_refuse_nonsense() -> None:
    ids = np.zeros(65, np.uint8)
    assert Streams(ids, 32).take(9).x.shape == (2, 32)
    with pytest.raises(ValueError, match="position must be at least 0, got -1"):
        Streams(ids, 32, -1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        Streams(ids, 32).take(0)
