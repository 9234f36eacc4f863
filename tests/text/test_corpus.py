"""corpus.py: options, the split, what an opened corpus says, and the damage that opening notices."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import Corpus, TextOptions, split_offsets
from rnnbptt.text.preparing import prepare
from support.refusals import message_of
from support.texts import pieces_of, prepared


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
