"""Bytes in a text: each that is no part of UTF-8 is a lone surrogate, U+DC80 to U+DCFF, as in Python's names of files.

So any bytes are a text, which can be searched, shown, and turned into the same bytes again (PEP 383).
"""

import re

from rnnbptt.errors import UserError

SURROGATE = re.compile("[\ud800-\udfff]")


def text_of(data: bytes) -> str:
    """The text of any bytes."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The inverse. UserError for a surrogate that stands for no byte."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{text[error.start]!a} (character {error.start + 1}) is half a character, which has no UTF-8; leave it out"
        ) from None


def readable(text: str) -> str:
    """Fit to be read: U+FFFD for each byte that is no part of a character."""
    return SURROGATE.sub("\ufffd", text)
