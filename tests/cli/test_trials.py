"""Trials: whatever is wrong with a file or a command line, the command works or ends with one line.

RNNBPTT_TRIALS=2000 makes so many of each. A trial depends on its number alone, so that one that fails comes again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.commands import run, succeed

TRIALS = int(os.environ.get("RNNBPTT_TRIALS", "0"))
VALUES = [
    None,
    True,
    0,
    -1,
    1,
    3,
    10**6,
    2**63,
    10**30,
    0.5,
    -1e300,
    "",
    "x",
    "16..64",
    "\x1b[2J\n[/x]",
    [],
    [1, 2],
    {},
]
VALUES += [float("nan"), float("inf"), {"a": [None]}, ["a"] * 3, [[]], [0, 10**9], "shuffle(shuffle(1..4))", "utf-16"]
WORDS = [
    "",
    "-",
    "--",
    "-1",
    "0",
    "1e999",
    "nan",
    "x" * 300,
    "\x1b[2J",
    "[/x]",
    "\n",
    "text.txt",
    "mine",
    "text.corpus",
]
WORDS += ["/dev/zero", "..", "16..64", "full", "rtrl:5", "rnn", "window:3", "99999999999999999999", "é", "\udcff"]


def works_or_ends_with_one_line(*arguments: str) -> None:
    """0, or 1 and one line, or 2 for a misuse; never a traceback, never a control character."""
    result = run(*arguments)
    told = f"{arguments!r}: {result.exit_code}, {result.stderr[-2000:]!r}, {result.exception!r}"
    assert result.exception is None or isinstance(result.exception, SystemExit), told
    assert result.exit_code in (0, 1, 2), told
    if result.exit_code == 1:
        assert result.stderr.splitlines()[-1].startswith("error: "), told
        assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1, told
    assert "\x1b" not in result.stderr, told


def flip(data: bytes, rng: random.Random) -> bytes:
    """One to eight bytes are others, most of them near the front, where the header is."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[int(len(data) * rng.random() ** rng.choice([1, 4]))] ^= rng.randint(1, 255)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end, or a piece in the middle, is missing, or there twice."""
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice([data[:start], data[:start] + data[stop:], data[:stop] + data[start:]])


def replace_a_value(data: Any, rng: random.Random) -> None:
    """Somewhere in it, a value is replaced by another, of any type, or left out."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        key = rng.choice(keys)
        if isinstance(data[key], dict | list) and data[key] and rng.random() < 0.8:
            data = data[key]
        elif isinstance(data, dict) and rng.random() < 0.1:
            del data[key]
            return
        else:
            data[key] = rng.choice(VALUES)
            return


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Of a corpus.json."""
    content = json.loads(data)
    for _ in range(rng.randint(1, 2)):
        replace_a_value(content, rng)
    return json.dumps(content).encode()


def change_document(data: bytes, rng: random.Random) -> bytes:
    """Of a checkpoint: the document in its metadata, or what it says of its tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.8:
        document = json.loads(header["__metadata__"]["rnnbptt"])
        replace_a_value(document, rng)
        header["__metadata__"]["rnnbptt"] = json.dumps(document)
    else:
        replace_a_value(header, rng)
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data[8 + length :]


def change_file(path: Path, kinds: list[Callable[[bytes, random.Random], bytes]], rng: random.Random) -> None:
    path.write_bytes(rng.choice(kinds)(path.read_bytes(), rng))


@pytest.mark.parametrize("trial", range(TRIALS or 60))
def test_a_changed_checkpoint(trained: Path, trial: int) -> None:
    """Sampled from and resumed, and now and then compared and probed."""
    rng = random.Random(trial)
    shutil.copytree(trained / "mine", "mine")
    change_file(Path("mine/last.safetensors"), [flip, cut, change_document, change_document, change_document], rng)
    works_or_ends_with_one_line("sample", "mine/last.safetensors", "--length", "5", "--threads", "1")
    if trial % 5 == 0:
        works_or_ends_with_one_line("compare", "mine", "mine/last.safetensors", "--sample-length", "5")
    if trial % 5 == 1:
        works_or_ends_with_one_line("probe", "mine/last.safetensors", "--depth", "4", "--streams", "2")
    resumed = ("--resume", "mine", "--updates", "22", "--quiet", "--threads", "1")
    works_or_ends_with_one_line("train", "text.txt", *resumed)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> list[Path]:
    """A corpus of a short text, and one that poses a task."""
    folder = tmp_path_factory.mktemp("prepared")
    succeed("prepare", str(trained / "text.txt"), "--out", str(folder / "text"))
    succeed("prepare", "--task", "copy:9", "--size", "3k", "--out", str(folder / "task"))
    return [folder / "text", folder / "task"]


@pytest.mark.parametrize("trial", range(TRIALS or 60))
def test_a_changed_corpus(prepared: list[Path], trial: int) -> None:
    rng = random.Random(trial)
    shutil.copytree(prepared[trial % 2], "text.corpus")
    if rng.random() < 0.7:
        change_file(Path("text.corpus/corpus.json"), [flip, cut, change_json, change_json], rng)
    else:
        change_file(Path("text.corpus/ids.npy"), [flip, cut], rng)
    small = ("--hidden", "4", "--streams", "2", "--trunc", "4", "--chars", "16", "--quiet", "--threads", "1")
    works_or_ends_with_one_line("train", "text.corpus", *small)


OPTIONS = {
    "prepare": ["--out", "--unit", "--encoding", "--min-count", "--split", "--task", "--size", "--seed"],
    "sample": ["--prompt", "--prompt-file", "--temperature", "--top-k", "--top-p", "--stop", "--count", "--seed"],
    "train": [
        *("--trunc", "--run", "--cell", "--hidden", "--layers", "--dropout", "--streams", "--optimizer", "--lr"),
        *("--warmup", "--beta2", "--clip", "--seed", "--eval-every", "--precision", "--device", "--split", "--resume"),
    ],
    "compare": ["--text", "--plot", "--json", "--prompt", "--seed"],
    "probe": ["--depth", "--streams", "--trunc", "--plot", "--json"],
}
SHORT = {
    "train": ["--updates", "2", "--streams", "2", "--hidden", "4", "--quiet", "--threads", "1"],
    "sample": ["--length", "5"],
    "compare": ["mine", "--sample-length", "5"],
    "probe": ["--depth", "4", "--streams", "2"],
}


@pytest.mark.parametrize("trial", range(TRIALS or 40))
def test_a_bad_command_line(mine: str, trial: int) -> None:
    rng = random.Random(trial)
    command = rng.choice(list(OPTIONS))
    first = rng.choice(WORDS) if rng.random() < 0.2 else {"prepare": "text.txt", "train": "text.txt"}.get(command, mine)
    wrong = [word for _ in range(rng.randint(1, 2)) for word in (rng.choice(OPTIONS[command]), rng.choice(WORDS))]
    works_or_ends_with_one_line(command, first, *SHORT.get(command, ()), *wrong)
