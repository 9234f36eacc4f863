"""vocabulary.py against Python's own encoding and decoding."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnbptt.text.vocabulary import Vocabulary
from support.refusals import message_of
from support.texts import NASTY

with_surrogates = st.text(alphabet=st.characters(exclude_categories=()), min_size=1)


def vocabulary_of(text: str, unit: str = "char", unknown: bool = False) -> Vocabulary:
    units = text if unit == "char" else text.encode("utf-8", "surrogatepass").decode("latin-1")
    symbols = sorted(set(units)) + ["\ufffd"] * unknown
    return Vocabulary(unit, tuple(symbols), len(symbols) - 1 if unknown else None)


def reread(vocabulary: Vocabulary) -> Vocabulary:
    """The same, by way of the JSON of a document."""
    return msgspec.convert(json.loads(json.dumps(asdict(vocabulary))), Vocabulary)


@given(st.one_of(with_surrogates, st.sampled_from(NASTY)), st.booleans())
@example("\ud800\udc00", False)  # two symbols; one if anything joins them
@example("\ufffd", True)
def test_characters_round_trip(text: str, unknown: bool) -> None:
    vocabulary = reread(vocabulary_of(text, unknown=unknown))
    assert vocabulary == vocabulary_of(text, unknown=unknown)
    assert len(vocabulary) == len(set(text)) + unknown
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert [vocabulary.symbols[i] for i in ids] == list(text)
    assert vocabulary.unknown not in ids
    assert vocabulary.decode(ids) == text


@given(st.one_of(st.text(min_size=1), st.sampled_from(NASTY)), st.integers(1, 5))
def test_bytes_round_trip_and_decode_in_pieces(text: str, step: int) -> None:
    vocabulary = reread(vocabulary_of(text, "byte"))
    ids = vocabulary.encode(text)
    assert bytes(ord(vocabulary.symbols[i]) for i in ids) == text.encode()
    assert vocabulary.decode(ids) == text
    decode = vocabulary.decoder()
    shown = ""
    for start in range(0, len(ids), step):
        shown += decode(ids[start : start + step])
        assert text.startswith(shown)
    assert shown + decode([], final=True) == text


@given(st.binary(min_size=1))
def test_bytes_that_are_not_utf8_are_given_as_python_gives_those_of_a_file_name(data: bytes) -> None:
    vocabulary = Vocabulary("byte", tuple(map(chr, sorted(set(data)))))
    ids = [vocabulary.symbols.index(chr(byte)) for byte in data]
    text = vocabulary.decode(ids)
    assert ascii(text) == ascii(data.decode("utf-8", "surrogateescape"))
    assert vocabulary.encode(text).tolist() == ids


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
        (vocabulary_of("aé", "byte"), "é\udcffa", "no byte 0xFF (position 2 of the prompt)"),
    ],
)
def test_a_prompt_with_what_the_vocabulary_lacks(vocabulary: Vocabulary, prompt: str, message: str) -> None:
    expected = f"the vocabulary has {message}; leave it out, or train on a text that has it"
    assert message_of(vocabulary.encode, prompt) == expected


def test_half_a_character_has_no_bytes() -> None:
    assert message_of(vocabulary_of("aé", "byte").encode, "a\ud800") == (
        r"'\ud800' (character 2) is half a character, which has no UTF-8; leave it out"
    )


def test_what_is_lacking_is_the_unknown_symbol_where_there_is_one() -> None:
    vocabulary = vocabulary_of("cfé", unknown=True)
    assert vocabulary.encode("caf\ufffdé").tolist() == [0, 3, 1, 3, 2]
    assert vocabulary.lacking("caf\ufffdé") == [1, 3]
    of_bytes = vocabulary_of("aé", "byte", unknown=True)
    assert of_bytes.encode("aêé\udcff").tolist() == [0, 2, 3, 2, 1, 3]
    assert of_bytes.lacking("aêé\udcff") == [1, 3]
    assert vocabulary_of("aé", "byte").lacking("aé") == []


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
    ],
)
def test_damaged_vocabulary(data: Any) -> None:
    assert message_of(msgspec.convert, data, Vocabulary).startswith("the vocabulary is damaged: ")


@pytest.mark.parametrize(
    "data",
    [
        {"unit": "char", "symbols": ["ab"], "unknown": None},
        {"unit": "char", "symbols": [1], "unknown": None},
        {"unit": "char"},
        ["a"],
    ],
)
def test_what_is_no_vocabulary(data: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected `|missing required|expected a character"):
        msgspec.convert(data, Vocabulary)


def test_ids_of_leaves_open_what_is_lacking() -> None:
    codes = np.array([ord(char) for char in "xbya\ufffd\U0010ffff"])
    assert Vocabulary("char", ("a", "b", "\ufffd"), unknown=2).ids_of(codes).tolist() == [-1, 1, -1, 0, -1, -1]
    assert Vocabulary("char", ("a", "b", "\ufffd")).ids_of(codes).tolist() == [-1, 1, -1, 0, 2, -1]
