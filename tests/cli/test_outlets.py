"""Standard output and standard error that are closed or full: what they cost, and what they do not.

What the end of Python itself makes of them is tried with commands that load no torch; of others a fork will do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.commands import ROOT, TRAIN
from support.forks import Fork

LOUD = [argument for argument in TRAIN if argument != "--quiet"]
FEW = ["--run", "it", "--chars", "600", "--trunc", "4", "--eval-every", "60"]  # ten lines of progress
REFUSED = "what was to be saved is saved; give it a place that takes the rest"


def in_shell(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell in which "$@" is the command."""
    command = ["bash", "-c", line, "bash", sys.executable, "-m", "rnnbptt", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def last_record(run: str) -> int:
    return int(json.loads(Path(run, "metrics.jsonl").read_text().splitlines()[-1])["chars"])


@pytest.mark.parametrize("redirection", ["2> >(head -1)", "2>&-", "2>/dev/full"])
def test_training_goes_on_when_nobody_reads_its_progress(redirection: str) -> None:
    done = in_shell(f'"$@" {redirection}', *LOUD, *FEW, "--sample-length", "20")
    assert done.returncode == 0
    assert last_record("it") == 600
    assert "bits per character" in done.stdout


def test_training_goes_on_when_nobody_reads_anything() -> None:
    done = in_shell('"$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}', *LOUD, *FEW)
    assert done.returncode == 1, "its last table was lost"
    assert done.stdout.count("\n") == 1
    assert last_record("it") == 600


@contextmanager
def outlet(kind: str) -> Iterator[int | None]:
    """A standard output that takes nothing."""
    if kind == "closed":
        yield None
        return
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    yield full if kind == "full" else writing
    os.close(writing)
    os.close(full)


@pytest.mark.parametrize(
    ("command", "kind", "reason"),
    [
        ("compare", "full", "No space left on device"),
        ("compare", "closed", "Bad file descriptor"),
        ("probe", "full", "No space left on device"),
        ("probe", "unread", "Broken pipe"),
    ],
)
def test_no_result_is_lost_with_standard_output(pair: list[str], command: str, kind: str, reason: str) -> None:
    rest = [*pair, "--sample-length", "0"] if command == "compare" else [pair[0], "--depth", "8", "--check"]
    with outlet(kind) as stdout:
        done = Fork(command, *rest, "--json", "all.json", "--plot", "it.svg", "--threads", "1", stdout=stdout)
        code, _, stderr = done.end()
    assert code == 1
    assert stderr.splitlines()[-1] == f"error: cannot write standard output: {reason}; {REFUSED}"
    assert "Traceback" not in stderr
    assert json.loads(Path("all.json").read_text())
    assert Path("it.svg").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], []])
def test_help_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    for redirection, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        done = in_shell(f'"$@" {redirection}', *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: cannot write standard output: {reason}; {REFUSED}\n"
    done = in_shell('"$@" | head -1', *arguments)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)


@pytest.mark.parametrize("arguments", [["prepare", "text.txt"], [*LOUD, "--chars", "400"]])
def test_what_was_made_stays(arguments: list[str]) -> None:
    with outlet("full") as stdout:
        code, _, stderr = Fork(*arguments, stdout=stdout).end()
    assert code == 1
    assert stderr.splitlines()[-1] == f"error: cannot write standard output: No space left on device; {REFUSED}"
    assert Path("text.corpus/ids.npy").exists() or Path("runs/text-16..64/best.safetensors").exists()


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_reader_who_has_seen_enough_of_a_sample_is_no_error(mine: str, count: str) -> None:
    child = Fork("sample", mine, "--length", "9000", "--count", count)
    assert len(child.stdout.read(5)) == 5
    child.stdout.close()
    assert child.end() == (0, "", "")
    with outlet("full") as stdout:
        code, _, stderr = Fork("sample", mine, "--length", "20", "--count", count, stdout=stdout).end()
    assert (code, stderr) == (1, f"error: cannot write standard output: No space left on device; {REFUSED}\n")
