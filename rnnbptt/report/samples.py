"""Samples, on standard output."""

import sys
from collections.abc import Callable, Iterable
from itertools import chain

from rnnbptt.report.outlets import printing
from rnnbptt.report.terminal import shown, visible
from rnnbptt.text.raw import bytes_of, readable


@printing
def stream(prompt: str, pieces: Iterable[str], unit: str, raw: bool) -> None:
    """Write the sample of a model of this unit as it is made. See `_writer`."""
    write = _writer(unit, raw)
    for piece in chain([prompt], pieces, ["\n"]):
        write(piece)


@printing
def show_samples(prompt: str, texts: list[str], unit: str, raw: bool) -> None:
    """Write several samples, a blank line between them."""
    _writer(unit, raw)("\n\n".join(prompt + text for text in texts) + "\n")


@printing
def show_sample(title: str, prompt: str, pieces: Iterable[str]) -> None:
    """Write a sample below its title, to be read whatever the unit of its model."""
    print(f"\n--- {shown(title)}")
    write = _writer("char", raw=False)
    for piece in chain([prompt], pieces, ["\n"]):
        write(readable(piece))


def _writer(unit: str, raw: bool) -> Callable[[str], None]:
    """What writes a text at once: `visible` for a person at a terminal who does not want it `raw`; otherwise as it is,
    which of unit byte means the bytes.
    """
    looked_at = sys.stdout.isatty() and not raw

    def write(text: str) -> None:
        if looked_at:
            sys.stdout.write(visible(text))
        elif unit == "byte":
            sys.stdout.buffer.write(bytes_of(text))
        else:
            sys.stdout.write(text)
        sys.stdout.flush()

    return write
