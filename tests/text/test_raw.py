"""raw.py: any bytes are a text, and come back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.text.raw import bytes_of, readable, text_of
from support.refusals import message_of


@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    assert bytes_of(text_of(data)) == data


def test_only_what_is_no_part_of_a_character_is_replaced() -> None:
    assert readable(text_of("é😀\ufffd\x1b".encode() + b"\xe2\x82a\xff")) == "é😀\ufffd\x1b\ufffd\ufffda\ufffd"


def test_half_a_character_is_no_byte() -> None:
    assert message_of(bytes_of, "aé\ude00") == (
        r"'\ude00' (character 3) is half a character, which has no UTF-8; leave it out"
    )
