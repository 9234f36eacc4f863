"""A prepared text, opened: its ids, its split, and how it was made.

A corpus is a folder of two files: `corpus.json`, everything about the text, and `ids.npy`, the text itself as one
unsigned integer a symbol. `prepare` in preparing.py makes it.

n is the number of symbols of the text, V the size of the vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from rnnbptt.errors import UserError, check_file
from rnnbptt.text.options import PARTS, TextOptions, split_offsets, stand_in
from rnnbptt.text.vocabulary import Vocabulary

FORMAT = 2  # of a corpus with a task; without one it is 1
KIND = "rnnbptt corpus"  # what tells our corpus.json from anybody else's
JSON_NAME, IDS_NAME = "corpus.json", "ids.npy"
BLOCK = 1 << 20  # bytes of the ids that are checked at a time

Ids = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Source:
    """One text that went in: its name as given, the SHA-256 and length in bytes of its decompressed content, and the
    part that it is for; "train" also where that was split, which the file leaves out.
    """

    name: str
    sha256: str
    bytes: int
    part: Annotated[str, Meta(pattern=f"^({'|'.join(PARTS)})$")] = "train"


@dataclass(frozen=True)
class Task:
    """The standard problem that a text poses, where it does.

    spec     as it was given, such as copy:20
    seed     that the text was made with; None where it was made of a file
    scored   the symbols that evaluation scores, in order of code point
    optimum  bits per scored character, in the mean, that no model can do better than; None where nobody knows it
    """

    spec: str
    seed: int | None
    scored: str
    optimum: float | None


@dataclass(frozen=True, eq=False)
class Description:
    """What corpus.json says of a text.

    fingerprint  SHA-256 over the vocabulary, what of it is scored where that is not all, and the ids: the same text in
                 the same symbols, however it is split
    splits       name -> (start, stop) into the ids
    counts       how often each symbol occurs, V numbers
    task         None for a text that poses none, which has no such key in the file
    """

    fingerprint: str
    splits: dict[str, tuple[int, int]]
    sources: tuple[Source, ...]
    options: TextOptions
    vocabulary: Vocabulary
    counts: list[int]
    task: Task | None = field(default=None, kw_only=True)

    def to_json(self) -> str:
        """The content of corpus.json. Only ASCII: a lone surrogate, as in a name that is not UTF-8, has no UTF-8."""
        data = {"kind": KIND, "format": FORMAT, **asdict(self)}
        if not self.task:  # as it was written, and is read, by versions that knew no tasks
            del data["task"]
            data["format"] = 1
        for source in data["sources"]:
            if source["part"] == "train":  # as it was written before there were others
                del source["part"]
        return json.dumps(data, indent=1) + "\n"


@dataclass(frozen=True, eq=False)
class Corpus(Description):
    """A prepared text: what corpus.json says of it, `ids` (n,), unsigned, read-only, memory-mapped, and their file as
    it was when it was opened.
    """

    path: Path
    ids: Ids
    file: os.stat_result

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a folder that `prepare` made. Reads the ids once, to be sure that they are what was written.

        UserError for a folder that is not a prepared corpus, a newer format, or damage.
        """
        path = Path(path)
        data = _read_own(path)
        if data is None:
            raise UserError(f"{str(path)!r} is not a prepared corpus; make one with: rnnbptt prepare TEXT")
        version = data.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise UserError(
                f"{str(path)!r} has format {version}, and this rnnbptt reads up to {FORMAT}; "
                "update rnnbptt, or prepare the text again"
            )
        try:
            file, ids = os.stat(path / IDS_NAME), _map_ids(path / IDS_NAME)
            description = msgspec.convert(data, Description)
            if json.loads(description.to_json()) != data:
                raise ValueError("another format, or names that this version does not know")
            corpus = cls(**vars(description), path=path, ids=ids, file=file)
            corpus._verify()
        except (UserError, OSError, EOFError, ValueError, RecursionError) as error:
            # The many ways in which files can be wrong have one remedy.
            raise UserError(f"{str(path)!r} is damaged or incomplete; prepare the text again") from error
        return corpus

    def _verify(self) -> None:
        """ValueError unless everything in the folder agrees."""
        v = len(self.vocabulary)
        if self.ids.dtype != id_dtype(v) or self.ids.ndim != 1 or self.options.unit != self.vocabulary.unit:
            raise ValueError("vocabulary, ids and options")
        if len(self.counts) != v or min(self.counts) < 1 or sum(self.counts) != len(self.ids):
            raise ValueError("counts")
        if self.splits != split_offsets(self.options.split, len(self.ids)):
            raise ValueError("splits")
        if self.task and not _is_of(self.task, self.vocabulary):
            raise ValueError("task")
        digest = start_digest(self.vocabulary, self.task)
        # Read from the file, not through the map, whose pages would count as memory of this process.
        with (self.path / IDS_NAME).open("rb") as file:
            file.seek(-self.ids.nbytes, os.SEEK_END)
            while block := file.read(BLOCK):
                digest.update(block)
                if np.frombuffer(block, self.ids.dtype).max() >= v:
                    raise ValueError("ids")
        if digest.hexdigest() != self.fingerprint:
            raise ValueError("fingerprint")

    def check_unchanged(self) -> None:
        """UserError where the file of the ids is another than it was: to be asked before they are read again.

        A file that has taken its place, as `prepare --force` has it, is no matter: the map is still of the old one.
        """
        try:
            now = os.stat(self.path / IDS_NAME)
        except OSError:
            return
        if os.path.samestat(now, self.file) and (now.st_size, now.st_mtime_ns) != (
            self.file.st_size,
            self.file.st_mtime_ns,
        ):
            raise UserError(f"{str(self.path)!r} has changed since it was opened; prepare the text again")

    @property
    def unknown_count(self) -> int:
        """How many symbols of the text are the unknown one."""
        return 0 if self.vocabulary.unknown is None else self.counts[self.vocabulary.unknown]

    @property
    def unused(self) -> int:
        """Symbols after the end of the test part, which sizes in `--split` may leave over."""
        return len(self.ids) - self.splits["test"][1]

    def task_notes(self) -> list[str]:
        """What to know of figures on it, where it poses a task."""
        task, known = self.task, []
        if task and self.scored is not None:
            known.append(f"only the characters {task.scored!r} are scored")
        if task and task.optimum is not None:
            known.append(f"in the long run no model takes less than {task.optimum:.4f} bits for each")
        return [f"{task.spec}: {', and '.join(known)}."] if task and known else []

    def validation_part(self) -> tuple[str, tuple[int, int]]:
        """The split that validations score, and where it lies: the validation split; where that is empty, what stands
        in for it at the end of the training text.
        """
        start, stop = self.splits["valid"]
        return ("valid", (start, stop)) if start < stop else ("train", stand_in(self.splits))

    @cached_property
    def scored(self) -> NDArray[np.bool_] | None:
        """Whether each symbol is scored by evaluation, (V,); None where all are."""
        if not self.task or len(self.task.scored) == len(self.vocabulary):
            return None
        return np.array([symbol in self.task.scored for symbol in self.vocabulary.symbols])

    def count_scored(self, start: int, stop: int) -> int:
        """How many of ids[start:stop] evaluation scores: not the first character of all, which has no text before it,
        and where only some symbols are scored, none but those.
        """
        return count_scored(self.ids, max(1, start), stop, self.scored)

    def scored_places(self, start: int, stop: int) -> NDArray[np.int64]:
        """Where they are in `ids`, ascending."""
        places = np.arange(max(1, start), stop)
        return places if self.scored is None else places[self.scored[self.ids[places]]]

    def split(self, name: str) -> Ids:
        """The ids of "train", "valid" or "test", a view."""
        start, stop = self.splits[name]
        return self.ids[start:stop]

    def entropy(self) -> float:
        """Bits per symbol of a model that knows only how often each symbol occurs in the whole text (order 0)."""
        p = np.array(self.counts) / len(self.ids)
        return float(abs(np.sum(p * np.log2(p))))  # abs: one symbol alone has 0 bits, not -0

    def most_common(self, n: int) -> list[tuple[str, int]]:
        """The n most frequent symbols with their counts; equally frequent ones in order of code point."""
        return sorted(zip(self.vocabulary.symbols, self.counts, strict=True), key=lambda pair: -pair[1])[:n]


def may_be_replaced(folder: Path) -> bool:
    """Whether the folder holds a prepared corpus and nothing else, or nothing at all."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {""}
    return not names or (names <= {JSON_NAME, IDS_NAME} and _read_own(folder) is not None)


def id_dtype(size: int) -> np.dtype[Any]:
    """The narrowest unsigned integer for ids below `size`, little-endian on disk whatever the machine."""
    return np.min_scalar_type(size - 1).newbyteorder("<")


def count_scored(ids: NDArray[np.integer[Any]], start: int, stop: int, scored: NDArray[np.bool_] | None) -> int:
    """How many of ids[start:stop] are of the symbols that are `scored` (V,), all where that is None."""
    if scored is None:
        return max(0, stop - start)
    return sum(int(scored[ids[at : min(at + BLOCK, stop)]].sum()) for at in range(start, stop, BLOCK))


def start_digest(vocabulary: Vocabulary, task: Task | None = None) -> Any:
    """The SHA-256 of a fingerprint, begun: of the vocabulary, and of what is scored where that is not all of it; the
    bytes of the ids are to follow.
    """
    some = {"scored": task.scored} if task and len(task.scored) < len(vocabulary) else {}
    return hashlib.sha256(json.dumps(asdict(vocabulary) | some).encode("ascii"))


def _is_of(task: Task, vocabulary: Vocabulary) -> bool:
    """Whether it can be that of a text with this vocabulary."""
    scored = "".join(symbol for symbol in vocabulary.symbols if symbol in task.scored)
    possible = task.optimum is None or 0 <= task.optimum < math.inf
    return bool(scored) and task.scored == scored and possible


def _map_ids(path: Path) -> Ids:
    """A plain array on the map: each slice of a memmap costs several times as much. ValueError where it is damaged."""
    check_file(path, str(path), "prepare the text again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ids = np.lib.format.open_memmap(path, mode="r")
        if ids.offset + ids.nbytes != path.stat().st_size:
            raise ValueError("not all of the file")
        return ids.view(np.ndarray)
    except Exception as error:  # the header is read by Python's own parser, which can fail in any way
        raise ValueError("header") from error


def _read_own(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's corpus.json, None unless it is one of ours, of whatever format."""
    try:
        check_file(folder / JSON_NAME, str(folder), "prepare the text again")
        data = json.loads((folder / JSON_NAME).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {str(folder / JSON_NAME)!r}: {error.strerror}") from error
    return data if isinstance(data, dict) and data.get("kind") == KIND else None
