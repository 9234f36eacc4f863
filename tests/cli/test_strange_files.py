"""What is no file where one is wanted: one line at once, never a hang, and nothing is replaced."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.commands import TRAIN, refusal, succeed

LONG = "n" * 300
NOT_UTF8 = os.fsdecode(b"bad\xff")


@pytest.fixture(params=["fifo", "zero", "loop", LONG, f"{LONG}/a", NOT_UTF8, "text.txt/a"])
def strange(request: pytest.FixtureRequest, workplace: Path) -> str:
    """A path at which there is no file, or something that is none."""
    os.mkfifo("fifo")
    Path("zero").symlink_to("/dev/zero")
    Path("loop").symlink_to("loop")
    return str(request.param)


def test_what_is_no_file_is_refused_at_once(strange: str, mine: str) -> None:
    for arguments in (
        ["sample", strange],
        ["probe", strange],
        ["compare", mine, strange],
        ["compare", mine, mine, "--text", strange],
        ["sample", mine, "--prompt-file", strange],
        ["train", "text.txt", "--resume", strange],
        *([["prepare", strange], ["train", strange]] if strange != "fifo" else []),  # what a pipe holds may be a text
    ):
        refusal(*arguments)


def test_what_cannot_be_written_is_refused_before_the_work(strange: str, mine: str) -> None:
    if strange == NOT_UTF8:  # which can
        return
    before = what_is_at(strange)
    refusal("prepare", "text.txt", "--out", strange, "--force")
    refusal(*TRAIN, "--run", strange)
    refusal("compare", mine, mine, "--json", strange)
    refusal("compare", mine, mine, "--csv", strange)
    refusal("probe", mine, "--plot", strange)
    assert what_is_at(strange) == before


def what_is_at(path: str) -> tuple[int, ...]:
    """Its number, kind, size and last change; nothing where nothing is there."""
    if not os.path.lexists(path):
        return ()
    found = os.lstat(path)
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


def test_a_pipe_in_the_place_of_a_part_is_refused(mine: str) -> None:
    succeed("prepare", "text.txt")
    for name in ("corpus.json", "ids.npy"):
        shutil.copytree("text.corpus", name + ".corpus")
        Path(name + ".corpus", name).unlink()
        os.mkfifo(Path(name + ".corpus", name))
        refusal("train", name + ".corpus")
    Path(mine, "metrics.jsonl").unlink()
    os.mkfifo(Path(mine, "metrics.jsonl"))
    succeed("compare", mine, mine, "--sample-length", "0")


def test_a_text_may_have_a_name_that_is_not_utf8_and_a_checkpoint_not(mine: str) -> None:
    """safetensors does not open one."""
    Path("text.txt").rename(NOT_UTF8)
    options = ["--chars", "400", "--hidden", "4", "--streams", "2", "--quiet"]
    succeed("train", NOT_UTF8, *options)
    assert Path("runs/bad_-16..64/last.safetensors").exists()
    assert "bad_.corpus" in succeed("prepare", NOT_UTF8)
    assert refusal("train", NOT_UTF8, *options, "--run", NOT_UTF8 + "run") == (
        r"bad\udcffrun: the name is not UTF-8, as safetensors wants it; give the folder another name"
    )
    assert not Path(NOT_UTF8 + "run").exists()
    Path(mine).rename(NOT_UTF8 + "run")
    assert refusal("sample", NOT_UTF8 + "run") == (
        r"bad\udcffrun/best.safetensors: the name is not UTF-8, as safetensors wants it; give the folder another name"
    )


def test_shuffles_of_shuffles_without_end_are_refused() -> None:
    trunc = "shuffle(" * 3000 + "1..4" + ")" * 3000
    assert refusal(*TRAIN, "--trunc", trunc).endswith("can be shuffled; give shuffle(A..B)")
