"""passages.py on models that nobody trained: which text is scored, how each checkpoint reads it, what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnbptt.errors import UserError
from rnnbptt.inference.evaluation import character_nats
from rnnbptt.study.entries import Entry
from rnnbptt.study.passages import Split, Text, open_splits, open_text
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import HeldOut, TextOptions
from rnnbptt.text.preparing import prepare
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.loop import Trainer
from rnnbptt.training.state import snapshot
from support.networks import make_model
from support.refusals import message_of
from support.texts import make_corpus, prose, task_corpus


def make_entry(corpus: Corpus, name: str = "one", **changes: Any) -> Entry:
    """A checkpoint of a model at random, with `changes` to what it knows of its corpus."""
    model = make_model("gru", vocabulary=len(corpus.vocabulary), precision="float32")
    tensors, document = snapshot(Trainer(model, corpus, TrainConfig(streams=2)))
    document = replace(document, corpus=replace(document.corpus, **changes))
    return Entry(name, Checkpoint(Path(name), tensors, document))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def corpus_of(folder: Path, text: str, **options: Any) -> Corpus:
    folder.mkdir(exist_ok=True)
    source = write(folder / "source.txt", text, options.get("encoding", "utf-8"))
    return prepare([source], folder / "corpus", TextOptions(**options))


@pytest.fixture
def entry(corpus: Corpus) -> Entry:
    """Its corpus has 1,800 characters to train on, 100 to validate, 100 to test."""
    return make_entry(corpus)


# --- the splits of a corpus -------------------------------------------------------------------------------------------


def test_the_validation_and_the_test_split(entry: Entry, corpus: Corpus) -> None:
    passages, notes = open_splits([entry, make_entry(corpus, "two")])
    assert [(passage.name, passage.characters) for passage in passages] == [("valid", 100), ("test", 100)]
    model = entry.checkpoint.build_model()
    for passage in passages:
        expected, _ = character_nats(model, corpus.ids, *corpus.splits[passage.name])
        np.testing.assert_array_equal(passage.nats(entry.checkpoint)[0], expected)
    assert notes == [
        "The validation split chose the best checkpoint of each run, which flatters it: quote the test split."
    ]


def test_of_a_task_only_what_is_scored(tmp_path: Path) -> None:
    corpus = task_corpus(tmp_path, "recall:4")
    entry = make_entry(corpus)
    passages, notes = open_splits([entry, make_entry(corpus, "two")])
    assert notes[-1] == (
        "recall:4: only the characters 'ABCDEFGH' are scored, and in the long run no model takes less than 0.0000 bits"
        " for each."
    )
    for passage in passages:
        start, stop = corpus.splits[passage.name]
        losses, _ = character_nats(entry.checkpoint.build_model("float32"), corpus.ids, start, stop)
        places = [at - start for at in range(start, stop) if corpus.vocabulary.symbols[corpus.ids[at]] in "ABCDEFGH"]
        assert passage.characters == len(places) > 30
        assert passage.places.tolist() == places
        np.testing.assert_array_equal(passage.nats(entry.checkpoint)[0], losses[places])


def test_the_first_character_of_the_corpus_is_not_scored(entry: Entry, corpus: Corpus) -> None:
    split = Split("valid", corpus, 0, 100)
    assert split.nats(entry.checkpoint)[0].shape == (split.characters,) == (99,)


def test_a_split_that_is_cut_meanwhile_is_refused(tmp_path: Path) -> None:
    """Reading what is no longer there would kill the process."""
    corpus = corpus_of(tmp_path, prose(20_000))
    entry = make_entry(corpus)
    (valid, _), _ = open_splits([entry, entry])
    assert len(valid.nats(entry.checkpoint)[0]) == 1000
    os.truncate(corpus.path / "ids.npy", 4096)
    assert message_of(valid.nats, entry.checkpoint) == (
        f"{str(corpus.path)!r} has changed since it was opened; prepare the text again"
    )


def test_the_corpus_is_known_again_wherever_it_lies(entry: Entry, corpus: Corpus, tmp_path: Path) -> None:
    gone = make_entry(corpus, "gone", path=str(tmp_path / "nowhere"))
    assert len(open_splits([gone, entry])[0]) == 2
    assert message_of(open_splits, [gone, gone]) == (
        f"{tmp_path / 'nowhere'}: the corpus that gone was trained on is no longer there; "
        "put it back, or give a text to compare on: --text FILE"
    )
    other = make_corpus(tmp_path, prose(2000, seed=3))
    gone = make_entry(corpus, "gone", path=str(other.path))  # there is a corpus, but not that one
    assert "is no longer there" in message_of(open_splits, [gone, gone])


def test_a_run_folder_that_has_moved_still_finds_its_corpus(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "run", prose(2000))
    made = make_entry(corpus)
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="is no longer there"):
        open_splits([made, made])
    entry = Entry("one", replace(made.checkpoint, path=tmp_path / "moved" / "best.safetensors"))
    passages, _ = open_splits([entry, entry])
    assert [(passage.name, passage.characters) for passage in passages] == [("valid", 100), ("test", 100)]
    note = "one was trained on this very text: its figures say nothing of how it does on others."
    assert note in open_text(tmp_path / "moved" / "source.txt", [entry, entry])[1]


def test_an_empty_split_is_left_out_and_two_are_refused(corpus: Corpus) -> None:
    splits = corpus.splits | {"test": (2000, 2000)}
    passages, notes = open_splits([make_entry(corpus, splits=splits)] * 2)
    assert [passage.name for passage in passages] == ["valid"]
    assert notes[0] == "The test split is empty and left out."
    assert notes[1].endswith("quote a text that was not used: --text FILE.")
    splits |= {"valid": (2000, 2000)}
    assert message_of(open_splits, [make_entry(corpus, splits=splits)] * 2) == (
        f"the validation and the test split of {corpus.path} are empty; "
        "give a text to compare on that was not trained on: --text FILE"
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"fingerprint": "0" * 64}, "corpora"),
        ({"splits": {"train": [0, 1700], "valid": [1800, 1900], "test": [1900, 2000]}}, "splits of the same corpus"),
    ],
)
def test_different_corpora_and_splits_need_a_text(
    entry: Entry, corpus: Corpus, changes: dict[str, Any], what: str
) -> None:
    assert message_of(open_splits, [entry, make_entry(corpus, "other", **changes)]) == (
        f"one and other were trained on different {what}; give a text to compare them on, "
        "one that neither was trained on: --text FILE"
    )


# --- a text -----------------------------------------------------------------------------------------------------------


def test_a_text_without_its_byte_order_mark(entry: Entry, tmp_path: Path) -> None:
    content = prose(3000, seed=5)
    (text,), notes = open_text(write(tmp_path / "text.txt", "\ufeff" + content), [entry, entry])
    assert (text.name, text.characters) == ("text", 2999)
    assert notes == ["The text is read as utf-8."]
    ids = entry.checkpoint.vocabulary.encode(content)
    expected, _ = character_nats(entry.checkpoint.build_model(), ids, 0, len(ids))
    np.testing.assert_array_equal(text.nats(entry.checkpoint)[0], expected)


def test_a_text_is_read_as_the_corpora_were_even_if_they_are_gone(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, "a café, a naïve café. " * 50, encoding="utf-16", nfc=True)
    entry = make_entry(corpus)
    shutil.rmtree(corpus.path)
    decomposed = "a cafe\u0301, a nai\u0308ve cafe\u0301. " * 20
    (text,), notes = open_text(write(tmp_path / "text.txt", decomposed, "utf-16"), [entry, entry])
    assert notes == ["The text is read as utf-16, in normalization form C."]
    assert text.characters == 22 * 20 - 1
    odd = tmp_path / "odd.txt"
    odd.write_bytes(b"\xff\xfea")
    assert message_of(open_text, odd, [entry, entry]) == (
        f"{str(odd)!r}: byte 0x61 at offset 2 (line 1) is not valid utf-16; give it in that encoding: --text FILE"
    )


def test_a_text_is_utf_8_where_the_corpora_do_not_agree(tmp_path: Path) -> None:
    entries = [
        make_entry(corpus_of(tmp_path / encoding, "a café " * 50, encoding=encoding, split="1/0/0"))
        for encoding in ("utf-16", "latin-1")
    ]
    (text,), notes = open_text(write(tmp_path / "text.txt", "café"), entries)
    assert text.characters == 3
    assert notes == ["The text is read as utf-8."]


def test_different_vocabularies_read_a_text_by_the_character(tmp_path: Path) -> None:
    """A model of bytes gives a character the product of the probabilities of its bytes."""
    special = "naïve 😀 café "
    chars, of_bytes = (
        make_entry(corpus_of(tmp_path / unit, prose(3000) + special * 20, unit=unit)) for unit in ("char", "byte")
    )
    content = special * 3 + prose(3000, seed=4) + special
    (text,), notes = open_text(write(tmp_path / "text.txt", content), [chars, of_bytes])
    assert notes[1:] == ["The checkpoints have different vocabularies: each reads the text in its own symbols."]
    ids = of_bytes.checkpoint.vocabulary.encode(content)
    nats = iter(character_nats(of_bytes.checkpoint.build_model(), ids, 0, len(ids))[0])
    by_hand = [sum(next(nats) for _ in char.encode()) for char in content[1:]]
    np.testing.assert_allclose(text.nats(of_bytes.checkpoint)[0], by_hand, rtol=1e-12)
    assert len(text.nats(chars.checkpoint)[0]) == text.characters == len(by_hand)


def test_the_rest_of_a_first_character_of_several_bytes_is_not_scored(tmp_path: Path) -> None:
    entry = make_entry(corpus_of(tmp_path, "naïve café 😀" * 20, unit="byte"))
    nats, _ = character_nats(entry.checkpoint.build_model(), entry.checkpoint.vocabulary.encode("😀é"), 0, 6)
    np.testing.assert_allclose(Text(tmp_path, "😀é", "char").nats(entry.checkpoint)[0], [nats[3:].sum()], rtol=1e-12)


def test_models_of_bytes_read_bytes(tmp_path: Path) -> None:
    source = tmp_path / "latin.txt"
    source.write_bytes("café au lait, ".encode("latin-1") * 30)
    entries = [make_entry(prepare([source], tmp_path / "corpus", TextOptions(unit="byte")), "bytes")] * 2
    (text,), notes = open_text(source, entries)
    assert text.characters == 14 * 30 - 1
    assert notes[0] == "A character is a byte here, as in the checkpoints."
    path = write(tmp_path / "text.txt", "café")
    assert message_of(open_text, path, entries) == (
        f"{path}: bytes cannot read the byte 0xC3, byte 4 of the text, which its vocabulary lacks; "
        "give --skip-unknown to leave such characters out, or leave that checkpoint out"
    )


def test_a_text_that_was_trained_on_is_named(entry: Entry, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, prose(3000, seed=1))
    entries = [entry, make_entry(corpus, "two")]
    apart = prepare(
        [corpus.sources[0].name], tmp_path / "apart", TextOptions(), held_out=HeldOut(valid=write(tmp_path / "v", "vv"))
    )
    assert not any("trained on" in note for note in open_text(tmp_path / "v", [make_entry(apart)], True)[1])
    note = "two was trained on this very text: its figures say nothing of how it does on others."
    assert open_text(tmp_path / "source.txt", entries)[1] == ["The text is read as utf-8.", note]
    shutil.rmtree(corpus.path)
    assert open_text(tmp_path / "source.txt", entries)[1] == ["The text is read as utf-8."]


def test_a_text_that_not_all_can_read_is_refused(entry: Entry, tmp_path: Path) -> None:
    content = prose(3000) + "é" * 50
    wider = make_entry(corpus_of(tmp_path / "wider", content), "wider")
    path = write(tmp_path / "text.txt", "a café")
    assert message_of(open_text, path, [wider, entry]) == (
        f"{path}: one cannot read 'é' (U+00E9), character 6 of the text, which its vocabulary lacks; "
        "give --skip-unknown to leave such characters out, or leave that checkpoint out"
    )
    of_bytes = make_entry(corpus_of(tmp_path / "bytes", content, unit="byte"), "bytes")
    assert open_text(path, [wider, of_bytes])[0][0].characters == 5
    write(path, "a café à")
    assert "bytes cannot read 'à' (U+00E0), character 8" in message_of(open_text, path, [of_bytes, wider])


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_a_text_is_unpacked(suffix: str, compress: Callable[[bytes], bytes], entry: Entry, tmp_path: Path) -> None:
    content = prose(3000, seed=5)
    packed = tmp_path / f"text{suffix}"
    packed.write_bytes(compress(content.encode()))
    (text,), notes = open_text(packed, [entry, entry])
    assert isinstance(text, Text)
    assert text.content == content
    assert notes == ["The text is read as utf-8."]
    packed.write_bytes(compress(prose(2000).encode()))  # what the corpus was made of
    note = "one was trained on this very text: its figures say nothing of how it does on others."
    assert open_text(packed, [entry, entry])[1] == ["The text is read as utf-8.", note, note]


def test_what_not_all_can_read_is_left_out_for_all(entry: Entry, tmp_path: Path) -> None:
    known = prose(500, seed=2)
    wider = make_entry(corpus_of(tmp_path / "wider", prose(3000) + "é" * 50), "wider")
    of_bytes = make_entry(corpus_of(tmp_path / "bytes", prose(3000) + "à" * 50, unit="byte"), "bytes")
    rare = make_entry(corpus_of(tmp_path / "rare", prose(3000) + "é", min_count=2), "rare")
    path = write(tmp_path / "text.txt", "é à" + known + "漢")
    for entries, left, units in (
        ([wider, entry], " " + known, 504),
        ([wider, wider], "é " + known, 504),
        ([wider, of_bytes], " " + known, 504),
        ([rare, rare], " " + known, 504),
        ([of_bytes, of_bytes], "\xc3 \xc3\xa0" + known, 508),  # of é and 漢 the bytes that there are not
    ):
        (text,), notes = open_text(path, entries, skip_unknown=True)
        assert isinstance(text, Text)
        assert text.content == left
        told = f"{units - len(left)} of the {units} characters of the text."
        assert f"Left out, as not all checkpoints have symbols for them: {told}" in notes
        assert not any("unknown symbol" in note for note in notes)
    assert "0 characters are too few" in message_of(open_text, write(path, "漢字"), [wider, entry], skip_unknown=True)


def test_rare_characters_are_the_unknown_symbol_where_it_is_the_same_to_all(entry: Entry, tmp_path: Path) -> None:
    rare = make_entry(corpus_of(tmp_path, prose(3000) + "é", min_count=2), "rare")
    path = write(tmp_path / "text.txt", "a é b à" + (known := prose(500)))
    (text,), notes = open_text(path, [rare, rare])
    assert notes[1:] == ["2 characters of the text are read as the unknown symbol of the vocabulary."]
    ids = rare.checkpoint.vocabulary.encode("a a b a" + known)
    ids[[2, 6]] = len(rare.checkpoint.vocabulary) - 1
    expected, _ = character_nats(rare.checkpoint.build_model(), ids, 0, len(ids))
    np.testing.assert_array_equal(text.nats(rare.checkpoint)[0], expected)
    assert len(open_text(write(tmp_path / "known.txt", known), [rare, rare])[1]) == 1
    assert "rare cannot read 'é' (U+00E9), character 3" in message_of(open_text, path, [rare, entry])


def test_no_text_and_too_short_a_one_are_refused(entry: Entry, tmp_path: Path) -> None:
    missing = tmp_path / "missing.txt"
    assert message_of(open_text, missing, [entry, entry]) == (
        f"cannot read {str(missing)!r}: No such file or directory; "
        "give the path of a readable text, or - for standard input"
    )
    short = write(tmp_path / "short.txt", "a")
    assert message_of(open_text, short, [entry, entry]) == (
        f"{short}: 1 characters are too few to evaluate on; give a longer text: --text FILE"
    )
