"""What checkpoints are compared on: the splits of the corpus that all were trained on, or a text that all can read.

`open_splits` and `open_text` give the `Passage`s, and what a reader has to be told about them; or they refuse, where
the figures of different checkpoints would not be of the same task.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError, check_file
from rnnbptt.inference.evaluation import character_nats
from rnnbptt.study.entries import Entry, find_corpora
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.reading import Reader, composed, decoded
from rnnbptt.text.vocabulary import Vocabulary, code_points
from rnnbptt.training.checkpoint import Checkpoint

Nats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Split:
    """A split of the corpus that all checkpoints were trained on: ids[start:stop] of it."""

    name: str
    corpus: Corpus
    start: int
    stop: int

    @property
    def characters(self) -> int:
        """How many are scored: all that the corpus scores, but the first of it, which has no text before it."""
        return self.corpus.count_scored(self.start, self.stop)

    @property
    def places(self) -> NDArray[np.int64]:
        """Which they are, (characters,), counted from the first that has text before it."""
        return self.corpus.scored_places(self.start, self.stop) - max(1, self.start)

    def nats(self, checkpoint: Checkpoint) -> tuple[Nats, bool]:
        """The negative log-likelihood of each of them, (characters,), given all the text before it in the corpus; and
        whether they are settled, see `Reading`. UserError where the text is not what it was any more.
        """
        self.corpus.check_unchanged()
        model, scored = checkpoint.build_model("float32"), self.corpus.scored
        return character_nats(model, self.corpus.ids, self.start, self.stop, scored=scored)


@dataclass(frozen=True)
class Text:
    """A text file. Each checkpoint reads it with its own vocabulary, and every loss is that of a whole character.

    content  the text; for unit "byte" each byte is the character of the same number, as in the vocabularies
    unit     "byte" when all checkpoints have that unit, otherwise "char"
    """

    path: Path
    content: str
    unit: str
    name: str = "text"

    @property
    def characters(self) -> int:
        """How many are scored: all but the first, which has no text before it."""
        return len(self.content) - 1

    @property
    def places(self) -> NDArray[np.int64]:
        """Which they are, (characters,), counted from the second."""
        return np.arange(self.characters)

    def nats(self, checkpoint: Checkpoint) -> tuple[Nats, bool]:
        """The negative log-likelihood of each of them, (characters,): the sum over what the model reads it as; and
        whether they are settled.
        """
        vocabulary = checkpoint.vocabulary
        codes, starts = self.units(vocabulary)
        ids = vocabulary.ids_of(codes)
        if vocabulary.unknown is not None:
            ids[ids < 0] = vocabulary.unknown
        nats, settled = character_nats(checkpoint.build_model("float32"), ids, 0, len(ids))
        # Unit 0 is not scored, so unit u has nats[u - 1]; what its character has beyond it is no character of its own.
        return (nats if len(codes) == len(starts) else np.add.reduceat(nats, starts[1:] - 1)), settled

    def units(self, vocabulary: Vocabulary) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The code of each unit that a model reads, and at which unit each character of the text starts."""
        if vocabulary.unit == self.unit:
            return code_points(self.content), np.arange(len(self.content))
        utf8 = np.frombuffer(self.content.encode("utf-8"), np.uint8)
        return utf8, np.flatnonzero((utf8 & 0xC0) != 0x80)  # all but continuation bytes

    def lacking(self, vocabulary: Vocabulary) -> NDArray[np.int64]:
        """The positions of characters that the vocabulary does not have, ascending."""
        codes, starts = self.units(vocabulary)
        lacking = np.flatnonzero(vocabulary.ids_of(codes) < 0)
        return np.unique(np.searchsorted(starts, lacking, side="right") - 1)

    def without(self, positions: Sequence[NDArray[np.int64]]) -> "Text":
        """The text without the characters at these positions."""
        kept = np.ones(len(self.content), dtype=bool)
        for some in positions:
            kept[some] = False
        return replace(self, content="".join(compress(self.content, kept)))


Passage = Split | Text  # something to evaluate on


def open_splits(entries: Sequence[Entry]) -> tuple[list[Passage], list[str]]:
    """The validation and the test split that all checkpoints share, and what is to be said about them."""
    first = entries[0]
    splits = first.corpus.splits
    for entry in entries[1:]:
        for what, key in (("corpora", "fingerprint"), ("splits of the same corpus", "splits")):
            if getattr(entry.corpus, key) != getattr(first.corpus, key):
                raise UserError(
                    f"{first.name} and {entry.name} were trained on different {what}; give a text to compare them on, "
                    "one that neither was trained on: --text FILE"
                )
    filled = {name: (start, stop) for name, (start, stop) in splits.items() if name != "train" and stop > start}
    if not filled:
        raise UserError(
            f"the validation and the test split of {first.corpus.path} are empty; "
            "give a text to compare on that was not trained on: --text FILE"
        )
    corpus = next(filter(None, find_corpora(entries)), None)
    if corpus is None:
        raise UserError(
            f"{first.corpus.path}: the corpus that {first.name} was trained on is no longer there; "
            "put it back, or give a text to compare on: --text FILE"
        )
    corpus = replace(corpus, splits=splits)  # the folder may have been split anew since
    notes = [f"The {name} split is empty and left out." for name in ("valid", "test") if name not in filled]
    if "valid" in filled:
        advice = "quote the test split" if "test" in filled else "quote a text that was not used: --text FILE"
        notes.append(f"The validation split chose the best checkpoint of each run, which flatters it: {advice}.")
    notes += corpus.task_notes()
    return [Split(name, corpus, start, stop) for name, (start, stop) in filled.items()], notes


def open_text(path: Path, entries: Sequence[Entry], skip_unknown: bool = False) -> tuple[list[Passage], list[str]]:
    """The text as all checkpoints read it, and what is to be said about that.

    It is unpacked as `prepare` does. With `skip_unknown` what one of them has no symbol for is left out for all.
    """
    check_file(path, f"--text {path}", "give a text file")
    reader = Reader([str(path)])
    data = b"".join(reader.pieces(str(path)))
    text, how = _decode(path, data, [entry.corpus.options for entry in entries])
    notes = [how, *_trained_on(reader.finished[0].sha256, entries)]
    if skip_unknown:
        whole = len(text.content)
        text = text.without([text.lacking(entry.checkpoint.vocabulary) for entry in entries])
        left_out = f"{whole - len(text.content):,} of the {whole:,} characters of the text"
        notes.append(f"Left out, as not all checkpoints have symbols for them: {left_out}.")
    if text.characters < 1:
        raise UserError(
            f"{path}: {len(text.content)} characters are too few to evaluate on; give a longer text: --text FILE"
        )
    return [text], [*notes, *_lacking(text, entries)]


def _decode(path: Path, data: bytes, options: Sequence[TextOptions]) -> tuple[Text, str]:
    """The text of `data`, made of it as the corpora with these options were made: UTF-8 where they do not agree."""
    encodings = {each.encoding for each in options if each.unit == "char"}
    if not encodings:
        return Text(path, data.decode("latin-1"), "byte"), "A character is a byte here, as in the checkpoints."
    encoding = encodings.pop() if len(encodings) == 1 else "utf-8"
    nfc = any(each.nfc for each in options)
    texts = decoded(str(path), [data], encoding, "give it in that encoding: --text FILE")
    content = "".join(composed(texts) if nfc else texts)
    how = f"The text is read as {encoding}{', in normalization form C' if nfc else ''}."
    return Text(path, content, "char"), how


def _trained_on(digest: str, entries: Sequence[Entry]) -> list[str]:
    """Which checkpoints were trained on the text with this SHA-256, as far as their corpora are there to tell."""
    return [
        f"{entry.name} was trained on this very text: its figures say nothing of how it does on others."
        for entry, corpus in zip(entries, find_corpora(entries), strict=True)
        if corpus and digest in {source.sha256 for source in corpus.sources if source.part == "train"}
    ]


def _lacking(text: Text, entries: Sequence[Entry]) -> list[str]:
    """How vocabularies that differ, or lack characters of the text, read it; UserError where one cannot."""
    vocabularies = [entry.checkpoint.vocabulary for entry in entries]
    first = vocabularies[0]
    same = all(vocabulary == first for vocabulary in vocabularies)
    if same and first.unknown is not None:
        # The unknown symbol is the same to all. With two vocabularies, the poorer would have the easier task.
        count = text.lacking(first).size
        note = f"{count:,} characters of the text are read as the unknown symbol of the vocabulary."
        return [note] if count else []
    for entry, vocabulary in zip(entries, vocabularies, strict=True):
        if (lacking := text.lacking(vocabulary)).size:
            position = int(lacking[0])
            char = text.content[position]
            of_bytes, of_chars = f"the byte 0x{ord(char):02X}, byte", f"{char!r} (U+{ord(char):04X}), character"
            raise UserError(
                f"{text.path}: {entry.name} cannot read {of_bytes if text.unit == 'byte' else of_chars}"
                f" {position + 1:,} of the text, which its vocabulary lacks;"
                " give --skip-unknown to leave such characters out, or leave that checkpoint out"
            )
    return [] if same else ["The checkpoints have different vocabularies: each reads the text in its own symbols."]
