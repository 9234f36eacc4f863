"""What the options of a text refuse, and where they split it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.errors import UserError
from rnnbptt.text.options import TextOptions, parse_size, split_offsets
from support.refusals import message_of


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
            "--split '0.9/0.1': give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M), or"
            " text8 or enwik8",
        ),
        (
            {"split": "1/0/-1"},
            "--split '1/0/-1': give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M), or"
            " text8 or enwik8",
        ),
        (
            {"split": "90m/5/5"},
            "--split '90m/5/5': give train/valid/test as three fractions (0.9/0.05/0.05) or three sizes (90M/5M/5M), or"
            " text8 or enwik8",
        ),
        ({"split": "enwik8"}, "--split enwik8: counts bytes; give --unit byte"),
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
        ("text8", 10**8, (90_000_000, 95_000_000, 100_000_000)),
        ("enwik8", 10**9, (90_000_000, 95_000_000, 100_000_000)),
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
    assert message_of(split_offsets, "text8", 1019) == (
        "--split text8: asks for 100000000 symbols, but the text has 1019; give smaller sizes"
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


def test_a_size_is_written_as_those_of_a_split() -> None:
    assert [parse_size(size) for size in ("1", "300k", "1.5K", "1M", "2G")] == [1, 300_000, 1500, 10**6, 2 * 10**9]
    for size in ("", "0", "0.5", "1.0001k", "-3", "1m", "1e6", "nan", "M"):
        said = "must be a whole number of characters, 1 or more, such as 300k or 1M"
        assert message_of(parse_size, size) == f"--size {size!r}: {said}"
