"""What an opened corpus says, and the damage that opening notices."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import Corpus, start_digest
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare
from support.refusals import message_of
from support.texts import make_corpus, pieces_of, prepared, task_corpus, text_of


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "u1"), (256, "u1"), (257, "<u2"), (65536, "<u2"), (65537, "<u4"), (70000, "<u4")]
)
def test_ids_are_as_narrow_as_the_vocabulary_allows(size: int, dtype: str) -> None:
    text = "".join(map(chr, range(0xE000, 0xE000 + size))) * 2
    with prepared(text.encode()) as corpus:
        mapped = np.load(corpus.path / "ids.npy", mmap_mode="r")
        assert isinstance(mapped, np.memmap)
        assert mapped.dtype == corpus.ids.dtype == np.dtype(dtype)
        assert type(corpus.ids) is np.ndarray
        assert not corpus.ids.flags.writeable
        assert (mapped == np.tile(np.arange(size), 2)).all()


def test_splits_statistics_and_fingerprint() -> None:
    with prepared(b"aaaabbcd" * 10, split="40/20/10") as corpus:
        assert corpus.splits == {"train": (0, 40), "valid": (40, 60), "test": (60, 70)}
        assert corpus.unused == 10
        assert corpus.split("valid").tolist() == corpus.ids[40:60].tolist()
        assert corpus.entropy() == pytest.approx(1.75, rel=1e-15)
        assert corpus.most_common(3) == [("a", 40), ("b", 20), ("c", 10)]
        assert corpus.most_common(9) == [("a", 40), ("b", 20), ("c", 10), ("d", 10)]
        fingerprint = corpus.fingerprint
    with pieces_of(3), prepared(b"aaaabbcd" * 10) as corpus:
        assert corpus.fingerprint == fingerprint
        assert corpus.splits == {"train": (0, 80), "valid": (80, 80), "test": (80, 80)}
    for other in ({"data": b"aaaabbce" * 10}, {"data": b"aaaabbdc" * 10}, {"data": b"aaaabbcd" * 10, "unit": "byte"}):
        with prepared(**other) as corpus:
            assert corpus.fingerprint != fingerprint
    with prepared(b"one symbol".translate(bytes(256))) as corpus:
        assert corpus.entropy() == 0
        assert math.copysign(1, corpus.entropy()) == 1


def test_a_folder_that_is_no_corpus(tmp_path: Path) -> None:
    message = f"{str(tmp_path)!r} is not a prepared corpus; make one with: rnnbptt prepare TEXT"
    assert message_of(Corpus.open, tmp_path) == message
    for content in ("[" * 100_000, "", "[]", "{}", '{"kind": "recipe"}', "\xff"):
        (tmp_path / "corpus.json").write_bytes(content.encode("latin-1"))
        assert message_of(Corpus.open, tmp_path) == message
    file = tmp_path / "corpus.json"
    assert message_of(Corpus.open, file).startswith(f"{str(file)!r} is not a prepared corpus")
    assert "is not a prepared corpus" in message_of(Corpus.open, str(tmp_path / "missing"))


def _change_json(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = json.loads((folder / "corpus.json").read_text())
        (folder / "corpus.json").write_text(json.dumps(data | changes))

    return change


def _change_ids(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "ids.npy").write_bytes(change((folder / "ids.npy").read_bytes()))

    return write


def _save_ids(array: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "ids.npy", array)


DEEP = ',"more":' + "[" * 900 + "]" * 900 + "}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "ids.npy").unlink(),
        _change_ids(lambda data: b""),
        _change_ids(lambda data: data[:50]),
        _change_ids(lambda data: data.replace(b"(100,)", b"(9" + 4 * b"9")),
        _change_ids(lambda data: data[:-1]),
        _change_ids(lambda data: data + b"\0"),
        _change_ids(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        _change_ids(lambda data: b"PK\3\4" + data),
        _save_ids(np.zeros(100, np.uint16)),
        _save_ids(np.zeros((10, 10), np.uint8)),
        _save_ids(np.uint8(0)),
        _save_ids(np.array([{}])),
        _change_json(format=0),
        _change_json(format="1"),
        _change_json(counts=[99, 1]),
        _change_json(counts=[20, 20, 20, 41]),
        _change_json(counts=[10**30, 1, 1, 1]),
        _change_json(splits={"train": [0, 100]}),
        _change_json(splits=[]),
        _change_json(options={"unit": "byte"}),
        _change_json(options={"unit": "word"}),
        _change_json(options={"novel": 1}),
        _change_json(options={"split": "90M/5M/5M"}),
        _change_json(vocabulary={"unit": "char", "symbols": [" ", "e", "t", "y"], "unknown": None}),
        _change_json(vocabulary=None),
        lambda folder: (folder / "corpus.json").write_text((folder / "corpus.json").read_text()[:-2] + DEEP),
        _change_json(fingerprint="0"),
        _change_json(sources=[{}]),
    ],
)
def test_damage_is_noticed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    prepare([tmp_path / "t"], out, TextOptions())
    Corpus.open(out)
    damage(out)
    assert message_of(Corpus.open, out) == f"{str(out)!r} is damaged or incomplete; prepare the text again"


def _change_task(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = json.loads((folder / "corpus.json").read_text())
        (folder / "corpus.json").write_text(json.dumps(data | {"task": data["task"] | changes}))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        *(_change_json(format=1), _change_json(task=None), _change_json(task={}), _change_json(task="copy:2")),
        *(_change_task(scored=scored) for scored in ("", "x", "HGFEDCBA", "ABCDEFG", "ABCDEFGHa", None)),
        *(_change_task(optimum=optimum) for optimum in (-1, float("nan"), float("inf"), "0")),
        *(_change_task(spec=3), _change_task(seed="0"), _change_task(novel=1)),
    ],
)
def test_damage_to_a_task_is_noticed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    out = task_corpus(tmp_path, "copy:2").path
    damage(out)
    assert message_of(Corpus.open, out) == f"{str(out)!r} is damaged or incomplete; prepare the text again"


def test_only_a_corpus_with_a_task_is_of_format_2(tmp_path: Path) -> None:
    """Which an older version does not read; any other it does, as it always did."""
    corpus = task_corpus(tmp_path, "copy:2", split="0.9/0.05/0.05")
    plain = make_corpus(tmp_path, text_of(corpus))
    before, now = (json.loads((each.path / "corpus.json").read_text()) for each in (plain, corpus))
    names = ["kind", "format", "fingerprint", "splits", "sources", "options", "vocabulary", "counts"]
    assert (list(before), before["format"]) == (names, 1)
    assert (list(now), now["format"]) == ([*names, "task"], 2)
    assert now["task"] == {"spec": "copy:2", "seed": 0, "scored": "ABCDEFGH", "optimum": 0.0}
    assert before["fingerprint"] != now["fingerprint"], "the same text, but another loss"
    assert [each for each in names if before[each] != now[each]] == ["format", "fingerprint", "sources"]


def test_what_is_scored(tmp_path: Path, text_corpus: Corpus) -> None:
    corpus, text = task_corpus(tmp_path, "brackets:3"), text_corpus
    places = [at for at, char in enumerate(text_of(corpus)) if char in ")]"]
    assert corpus.scored_places(0, 2000).tolist() == places
    assert corpus.count_scored(100, 1000) == sum(100 <= place < 1000 for place in places)
    assert text.scored is None
    assert text.scored_places(0, 5).tolist() == [1, 2, 3, 4], "the first has no text before it"
    assert (text.count_scored(0, 5), text.count_scored(3, 5), text.count_scored(0, 0)) == (4, 2, 0)


def test_a_flipped_byte_in_the_header_of_the_ids_is_damage_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    ids = prepare([tmp_path / "t"], out, TextOptions()).ids.tolist()
    data = (out / "ids.npy").read_bytes()
    for at in range(128):
        for bits in (1, 24, 128):
            (out / "ids.npy").write_bytes(data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :])
            with suppress(UserError):
                assert Corpus.open(out).ids.tolist() == ids


def test_ids_that_the_vocabulary_lacks_are_noticed_even_with_their_own_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    digest = start_digest(prepare([tmp_path / "t"], out, TextOptions()).vocabulary)
    ids = np.load(out / "ids.npy")
    ids[50] = 4  # of 4 symbols
    np.save(out / "ids.npy", ids)
    digest.update(ids.data)
    _change_json(fingerprint=digest.hexdigest())(out)
    assert message_of(Corpus.open, out) == f"{str(out)!r} is damaged or incomplete; prepare the text again"


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("text " * 20)
    out = tmp_path / "out"
    prepare([tmp_path / "t"], out, TextOptions())
    _change_json(format=3, counts="in another way")(out)
    assert message_of(Corpus.open, out) == (
        f"{str(out)!r} has format 3, and this rnnbptt reads up to 2; update rnnbptt, or prepare the text again"
    )
