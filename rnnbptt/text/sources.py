"""Which files a text is made of: those that are named, and those in folders that are named."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import JSON_NAME
from rnnbptt.text.options import HeldOut
from rnnbptt.text.raw import SURROGATE

COMPRESSED = (".gz", ".bz2", ".xz")
LONGEST_NAME = 100  # bytes: file systems bear 255, of which suffixes take some


def is_prepared(source: str | Path) -> bool:
    """Whether it is the folder of a corpus, or what is left of one, rather than of texts."""
    return Path(source, JSON_NAME).exists()


def text_files(sources: Sequence[str | Path]) -> list[str]:
    """The files in order. A folder stands for the files in it and below it, by name, the hidden ones left out.

    UserError for a folder without any, and for a prepared corpus.
    """
    return [file for source in sources for file in _files(str(source))]


def files_by_part(sources: Sequence[str | Path], held_out: HeldOut) -> dict[str, list[str]]:
    """The same for "train" and, where they have texts of their own, "valid" and "test", in this order."""
    own = {part: text_files([text]) for part, text in vars(held_out).items() if text}
    return {"train": text_files(sources), **own}


def _files(source: str) -> Iterator[str]:
    if source == "-" or not os.path.isdir(source):
        yield source
        return
    if is_prepared(source):
        raise UserError(f"{source!r} is a prepared corpus, not a text; train on it alone, or give the texts it is of")
    if any(Path(source).glob("*.safetensors")):
        raise UserError(f"{source!r} is a run, not a text; go on with it by --resume {source}")
    paths = sorted(path for path in Path(source).rglob("*") if path.is_file())
    texts = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(source).parts)]
    if not texts:
        raise UserError(f"{source!r} is a folder without a file in it; give text files, or a folder of them")
    yield from map(str, texts)


def name_of(sources: Sequence[str | Path]) -> str:
    """The name of a text without folders and suffixes: data/shakespeare.txt.gz -> shakespeare; of two or three all
    their names.
    """
    names = [_name(str(source)) for source in sources]
    shown = names if len(names) <= 3 else [names[0], f"{len(names) - 1}more"]
    return "+".join(shown).encode("utf-8")[:LONGEST_NAME].decode("utf-8", "ignore")


def _name(source: str) -> str:
    path = Path(source).resolve()
    if path.suffix in COMPRESSED:
        path = path.with_suffix("")
    stem = path.name if path.is_dir() and not is_prepared(path) else path.stem
    named = re.sub(SURROGATE, "_", stem.lstrip("."))  # such as a name that is not UTF-8 has
    return "stdin" if source == "-" else named or "text"
