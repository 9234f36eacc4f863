"""Text that was typed, as a model reads it: characters, or bytes that are any."""

import os
import sys

from rnnbptt.errors import UserError
from rnnbptt.text.raw import SURROGATE, text_of


def typed(option: str, text: str, unit: str, another_way: str = "") -> str:
    """The value of an option: for unit byte the bytes that were typed, as raw.py has them.

    UserError, which also tells of `another_way` to give it, for unit char where the locale could not decode the bytes.
    """
    if unit == "byte":
        return text_of(os.fsencode(text))
    if found := SURROGATE.search(text):
        byte, encoding = os.fsencode(found.group())[0], sys.getfilesystemencoding()
        advice = "give it in UTF-8" if encoding == "utf-8" else "set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        advice += another_way and f", or {another_way}"
        raise UserError(
            f"{option} {text!r}: the byte 0x{byte:02X} (character {found.start() + 1}) is not valid {encoding}, "
            f"the encoding of this locale; {advice}"
        )
    return text
