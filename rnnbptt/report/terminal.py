"""What comes from files, options and models, made fit for a terminal: nothing in it can steer the terminal."""

import math
import shutil
import sys
import textwrap
import unicodedata
from typing import Protocol

from rnnbptt.text.raw import readable


def escaped(text: str) -> str:
    """On one line, and as Python would write it: a newline as \\n, an escape as \\x1b, a lone surrogate as \\udc80."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shown(text: str) -> str:
    """`escaped` for standard output, what its encoding does not have too."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return escaped(text).encode(encoding, "backslashreplace").decode(encoding)


def visible(text: str) -> str:
    """Control characters as symbols that can be seen, but for newlines and tabs; `readable`, too."""
    return "".join(map(_symbol, readable(text)))


def _symbol(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) != "Cc":
        return char
    return chr(0x2400 + ord(char)) if char < " " else "\u2421" if char == "\x7f" else "\u2426"


class Place(Protocol):
    """Where text goes."""

    def isatty(self) -> bool:
        """Whether somebody looks at it."""


def as_read(text: str, file: Place) -> str:
    """Text for a file: `readable`, and `visible` for a person at a terminal."""
    return visible(text) if file.isatty() else readable(text)


def wrapped(line: str, file: Place, indent: str = "  ") -> str:
    """Broken between words where somebody looks at it on a terminal; elsewhere it stays one line."""
    if not file.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)


def counted(number: int, thing: str) -> str:
    """So many of a thing, 1 of it in the singular."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """So long, in minutes or seconds."""
    return counted(round(seconds / 60), "minute") if seconds >= 100 else counted(math.ceil(seconds), "second")
