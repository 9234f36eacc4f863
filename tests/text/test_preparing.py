"""preparing.py: what goes in comes out, in memory that does not grow, and all of it or nothing."""

from __future__ import annotations

import gzip
import hashlib
import os
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import HeldOut, TextOptions
from rnnbptt.text.preparing import prepare, prepare_task
from rnnbptt.text.tasks import parse_task
from rnnbptt.text.vocabulary import Vocabulary
from support.processes import held_elsewhere
from support.refusals import message_of
from support.texts import ALL_IN_TRAIN, NASTY, piece_sizes, pieces_of, prepared, text_of, tree

any_text = st.one_of(st.text(min_size=2), st.sampled_from([text * 2 for text in NASTY]))


@given(
    any_text, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030", "utf-7"]), piece_sizes
)
def test_prepare_and_open_round_trip(text: str, encoding: str, size: int) -> None:
    text = text.removeprefix("\ufeff") + ".."  # a mark at the very start has tests of its own
    data = text.encode(encoding)
    with pieces_of(size), prepared(data, encoding=encoding) as corpus:
        opened = Corpus.open(corpus.path)
        for one in (corpus, opened):
            assert text_of(one) == text
            assert one.vocabulary == Vocabulary("char", tuple(sorted(set(text))))
            assert dict(zip(one.vocabulary.symbols, one.counts, strict=True)) == Counter(text)
            assert (one.vocabulary.encode(text) == one.ids).all()
            assert one.options == TextOptions(encoding=encoding, split=ALL_IN_TRAIN)
            assert one.sources[0].sha256 == hashlib.sha256(data).hexdigest()
            assert one.sources[0].bytes == len(data)
            assert one.unknown_count == one.unused == 0
        assert opened.fingerprint == corpus.fingerprint


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize("parts", ["valid test", "valid", "test"])
def test_texts_of_their_own_are_the_parts_to_the_symbol(tmp_path: Path, unit: str, parts: str) -> None:
    """Nothing comes between them, though no newline is at their ends, and an accent is not composed with the e before
    it. The texts of a part are joined as ever.
    """
    texts = {"a": "aee", "b": "be", "valid": "\u0301vva", "test": "tt\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    held_out = HeldOut(**{part: tmp_path / f"{part}.gz" for part in parts.split()})
    options = TextOptions(unit=unit, nfc=unit == "char")
    files = [tmp_path / "a.gz", tmp_path / "b.gz"]
    corpus = prepare(files, tmp_path / "out", options, held_out=held_out)
    sizes = {"train": 6, "valid": 4 + (unit == "byte"), "test": 3}
    sizes |= {part: 0 for part in ("valid", "test") if part not in parts}
    for one in (corpus, Corpus.open(tmp_path / "out")):
        found = {part: len(one.split(part)) for part in sizes}
        assert found == sizes
        assert one.options == replace(options, split="/".join(map(str, sizes.values())))
        assert [source.part for source in one.sources] == ["train", "train", *parts.split()]
        whole = "aee\nbe" + "".join(texts[part] for part in parts.split())
        assert text_of(one) == whole
        assert one.vocabulary.symbols == tuple(
            sorted(set(whole if unit == "char" else whole.encode().decode("latin-1")))
        )


def test_a_part_without_enough_text_is_named(tmp_path: Path) -> None:
    for name, text in (("a", "aaaa"), ("b", "b"), ("empty", "")):
        (tmp_path / name).write_text(text)
    a, b, empty = (tmp_path / name for name in ("a", "b", "empty"))
    for sources, held_out, short, size in (
        ([a], HeldOut(valid=b), b, 1),
        ([a], HeldOut(a, empty), empty, 0),
        ([empty], HeldOut(test=a), empty, 0),
    ):
        said = message_of(prepare, sources, tmp_path / "out", TextOptions(), held_out=held_out)
        assert said == f"{str(short)!r}: {size} symbols, and a part needs 2; give a longer text"
    twice = "standard input can be read only once; give - only once"
    assert message_of(prepare, ["-"], tmp_path / "out", TextOptions(), held_out=HeldOut(test=Path("-"))) == twice
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_min_count_makes_rare_characters_one_unknown_symbol(unit: str) -> None:
    text = "aaa\ufffd\ufffd\ufffdbbbxyyz"
    with prepared(text.encode(), min_count=3, unit=unit) as corpus:
        vocabulary = corpus.vocabulary
        known = ("a", "b", "\ufffd") if unit == "char" else ("a", "b", "\xbd", "\xbf", "\xef")
        assert vocabulary.symbols == (*known, "\ufffd")
        assert vocabulary.unknown == len(known)
        assert corpus.unknown_count == corpus.counts[-1] == 4
        assert corpus.counts == [3] * len(known) + [4]
        assert text_of(corpus) == "aaa\ufffd\ufffd\ufffdbbb\ufffd\ufffd\ufffd\ufffd"
        assert corpus.ids.tolist()[-4:] == [vocabulary.unknown] * 4
        assert text_of(Corpus.open(corpus.path)) == text_of(corpus)
        assert vocabulary.encode("x").tolist() == [vocabulary.unknown]
    with prepared(text.encode(), min_count=1, unit=unit) as corpus:
        assert corpus.vocabulary.unknown is None
    with prepared(b"aabb", min_count=2, unit=unit) as corpus:
        assert corpus.vocabulary.unknown is None


def test_pieces_of_every_width_in_one_text() -> None:
    text = "plain" + "żółć" + "😀🎉" + "plain" + "é" * 9 + "\U0010ffff" + "漢字" + "z"
    for size in (1, 4, 1000):
        with pieces_of(size), prepared(text.encode()) as corpus:
            assert text_of(corpus) == text


@pytest.mark.parametrize("spec", ["echo:3", "anbn:1", "brackets:2"])
def test_a_task_is_prepared_as_its_text_is(tmp_path: Path, spec: str) -> None:
    told: list[tuple[int, int | None]] = []
    posed = parse_task(spec, 70_001, 5)
    corpus = prepare_task(posed, tmp_path / "out", TextOptions(), tell=lambda *done: told.append(done))
    pieces, sources = posed.text()
    assert text_of(corpus).encode() == b"".join(piece.tobytes() for piece in pieces)
    assert (corpus.task, corpus.sources) == (posed.task, tuple(sources))
    assert told[-1] == (70_001, 70_001)
    (tmp_path / "text").write_text(text_of(corpus))
    again = prepare([tmp_path / "text"], tmp_path / "again", TextOptions())
    assert (again.ids == corpus.ids).all()
    assert (again.fingerprint == corpus.fingerprint) is (corpus.scored is None)


@pytest.mark.parametrize(
    ("spec", "size", "split", "said"),
    [
        (
            "copy:500",
            555,
            "0.9/0.05/0.05",
            "--size 555: copy:500 takes 504 characters to show once what it asks, and the training part has 499;"
            " give a larger --size",
        ),
        ("echo:10", 12, "10/2/0", "--size 12: echo:10 takes 11 characters to show once what it asks, and the training"),
        ("copy:500", 700, "0.9/0.1/0", "--split 0.9/0.1/0: the valid part has no character that is scored; give a"),
        ("copy:500", 700, "0.9/0/0.1", "--split 0.9/0/0.1: the end of the training part has no character that is"),
        ("copy:90", 200, "0.91/0.08/0.01", "--split 0.91/0.08/0.01: the test part has no character that is scored;"),
        ("brackets:2", 5, "0.9/0.05/0.05", "--split 0.9/0.05/0.05: gives valid 0 of the 5 symbols of the text, and"),
    ],
)
def test_a_task_that_a_part_of_the_text_does_not_pose_is_refused(
    tmp_path: Path, spec: str, size: int, split: str, said: str
) -> None:
    found = message_of(prepare_task, parse_task(spec, size, 0), tmp_path / "out", TextOptions(split=split))
    assert found.startswith(said)
    assert tree(tmp_path) == {}


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    peaks = []
    for size in (2, 12):
        (tmp_path / "text").write_bytes("漢字かな交じり文。\n".encode() * (size * 2**20 // 28))
        tracemalloc.start()
        prepare([tmp_path / "text"], tmp_path / "out", TextOptions(nfc=True), force=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2**20
    assert peaks[1] < 40 * 2**20


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("t.txt", b"", {}, "the text is empty: {0!r}"),
        ("t.txt", b"\xef\xbb\xbf", {}, "the text is empty: {0!r}"),
        ("t.gz", gzip.compress(b"", mtime=0), {}, "the text is empty: {0!r}"),
        (
            "t.txt",
            b"abc",
            {},
            "--split 0.9/0.05/0.05: gives valid 0 of the 3 symbols of the text, and each part needs 2; "
            "give more text or another split, such as 1/0/0",
        ),
        (
            "t.txt",
            b"abc",
            {"split": "3/2/0"},
            "--split 3/2/0: asks for 5 symbols, but the text has 3; give smaller sizes",
        ),
        (
            "t.txt",
            b"aab",
            {"split": "1/0/0", "min_count": 3},
            "--min-count 3: no character occurs so often; the most frequent one occurs 2 times",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1 << 18])
def test_a_text_that_cannot_be_prepared_leaves_nothing(
    tmp_path: Path, name: str, data: bytes, options: dict[str, Any], message: str, size: int
) -> None:
    source = tmp_path / name
    source.write_bytes(data)
    with pieces_of(size):
        told = message_of(prepare, [source], tmp_path / "new" / "folder" / "out", TextOptions(**options))
    assert told == message.format(str(source))
    assert tree(tmp_path) == {name: data}


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "t" / "below" / "a-file"
    assert message_of(prepare, [tmp_path / "t"], out, TextOptions()) == f"cannot write {str(out)!r}: Not a directory"
    assert list(tree(tmp_path)) == ["t"]


def test_an_existing_folder_is_replaced_only_by_force_and_only_if_it_is_ours(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    (tmp_path / "u").write_text("other " * 20)
    out = tmp_path / "out"

    def again(force: bool) -> Corpus:
        return prepare([tmp_path / "u"], out, TextOptions(), force=force)

    out.mkdir()
    refusal = f"{str(out)!r} exists; give --force to prepare it again, or another folder"
    assert message_of(again, False) == refusal
    assert text_of(again(True)) == "other " * 20
    prepare([tmp_path / "t"], out, TextOptions(), force=True)
    before = tree(tmp_path)
    assert sorted(before) == ["out", "out/corpus.json", "out/ids.npy", "t", "u"]
    assert message_of(again, False) == refusal
    assert tree(tmp_path) == before
    (out / "ids.npy").unlink()
    assert text_of(again(True)) == "other " * 20

    not_ours = f"{str(out)!r} is not a prepared corpus, and --force replaces nothing else; move it away"
    (out / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    assert message_of(again, True) == not_ours
    assert tree(tmp_path) == before
    (out / "notes.txt").unlink()
    (out / "corpus.json").write_text("{}")
    assert message_of(again, True) == not_ours
    (out / "corpus.json").unlink()
    (out / "ids.npy").unlink()
    out.rmdir()
    out.write_text("a file")
    assert message_of(again, True) == not_ours
    assert out.read_text() == "a file"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    prepare([tmp_path / "t"], tmp_path / "out", TextOptions(), force=True)
    assert (tmp_path / "out").is_symlink()
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["corpus.json", "ids.npy"]


@pytest.mark.parametrize("interrupted", ["reading", "writing", "first rename", "second rename"])
@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupt_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str, existing: bool
) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "deep" / "out"
    if existing:
        prepare([tmp_path / "t"], out, TextOptions())
    before = tree(tmp_path)
    renames = 0
    rename = Path.rename

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def interrupted_rename(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == (1 if interrupted == "first rename" else 1 + existing):
            raise KeyboardInterrupt
        return rename(self, target)

    if interrupted == "writing":
        monkeypatch.setattr(np.lib.format, "write_array_header_1_0", interrupt)
    elif interrupted != "reading":
        monkeypatch.setattr(Path, "rename", interrupted_rename)
    with pytest.raises(KeyboardInterrupt):
        prepare(
            [tmp_path / "t"],
            out,
            TextOptions(),
            force=True,
            tell=interrupt if interrupted == "reading" else None,
        )
    assert tree(tmp_path) == before


def test_a_file_that_arrives_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    prepare([tmp_path / "t"], out, TextOptions())
    assert "is not a prepared corpus" in message_of(
        prepare,
        [tmp_path / "t"],
        out,
        TextOptions(),
        force=True,
        tell=lambda *_: (out / "notes").write_text("mine"),
    )
    assert sorted(os.listdir(out)) == ["corpus.json", "ids.npy", "notes"]
    assert sorted(os.listdir(tmp_path)) == ["out", "t"]


def test_one_process_prepares_a_folder(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    with held_elsewhere(tmp_path / ".rnnbptt.out.lock") as other:
        assert message_of(prepare, [tmp_path / "t"], out, TextOptions()) == (
            f"{str(out)!r}: process {other} is preparing it; wait for it, or give another --out"
        )
        prepare([tmp_path / "t"], tmp_path / "other", TextOptions())
    prepare([tmp_path / "t"], out, TextOptions())
    assert sorted(os.listdir(tmp_path)) == ["other", "out", "t"]
