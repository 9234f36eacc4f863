"""Texts, and the corpora made of them, that the tests of the way from bytes to ids share."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from rnnbptt.text import reading
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare, prepare_task
from rnnbptt.text.tasks import parse_task

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

piece_sizes = st.integers(1, 9)


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    """Read that many bytes of a text at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", size)
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


PHRASE = "the quick brown fox jumps over a lazy dog and is not at all sorry for what it did to him by that time of day"


def prose(length: int, seed: int = 0) -> str:
    """That many characters of words at random."""
    rng = random.Random(seed)
    words = [rng.choice(PHRASE.split()) + rng.choice([" ", " ", " ", ", ", ".\n"]) for _ in range(length)]
    return "".join(words)[:length]


def task_corpus(folder: Path, spec: str, size: int = 2000, split: str = "0.8/0.1/0.1", seed: int = 0) -> Corpus:
    """A text that poses a task, prepared below `folder`."""
    return prepare_task(parse_task(spec, size, seed), folder / "task.corpus", TextOptions(split=split))


def make_corpus(folder: Path, text: str, split: str = "0.9/0.05/0.05") -> Corpus:
    """The text, prepared below `folder`."""
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8", newline="")
    return prepare([source], folder / "prepared", TextOptions(split=split))
