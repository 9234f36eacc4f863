"""SIGKILL at random moments of a run: what is resumed ends bit for bit as if nothing had happened.

Three kills; RNNBPTT_TRIALS=100 makes it a hundred.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.folder import FILES, RunFolder
from support.commands import SMALL, succeed
from support.forks import Fork
from support.runs import assert_same, without_time

OPTIONS = [*SMALL, "--chars", "3000", "--trunc", "1..4", "--dropout", "0.2"]


def goes_on(name: str) -> list[str]:
    """What a user types after a kill."""
    if RunFolder(Path(name)).checkpoint:
        return ["train", "--resume", name, "--quiet", "--threads", "1"]
    return ["train", "text.txt", "--run", name, *OPTIONS]


def killed(name: str, after: float) -> bool:
    """Go on with a run, and kill it so many seconds after it has begun; False where it ended before."""
    began, lock = time.monotonic(), RunFolder(Path(name)).lock
    lock.unlink(missing_ok=True)  # of the one killed before: this one's is waited for
    child = Fork(*goes_on(name))
    while child.running() and not lock.exists() and time.monotonic() < began + 120:
        time.sleep(0.002)
    time.sleep(after)
    child.send(signal.SIGKILL)
    code, _, stderr = child.end()
    assert code in (0, -9), stderr
    return code != 0


def assert_as_undisturbed(name: str) -> None:
    """The run is that of `whole`, and nothing but its files is there."""
    succeed(*goes_on(name))
    assert {path.name for path in Path(name).iterdir()} == {*FILES, "corpus"}
    for file in ("last.safetensors", "best.safetensors"):
        whole, parts = (load_checkpoint(Path(run, file)) for run in ("whole", name))
        corpus = replace(parts.document.corpus, path=whole.document.corpus.path)
        assert_same(whole, replace(parts, document=replace(parts.document, corpus=corpus)))
    records = (Path(run, "metrics.jsonl").read_text().splitlines() for run in ("whole", name))
    undisturbed, ours = ([without_time(json.loads(line)) for line in lines] for lines in records)
    assert undisturbed == ours


def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_happened() -> None:
    began = time.monotonic()
    succeed("train", "text.txt", "--run", "whole", *OPTIONS)
    lasts, moments = time.monotonic() - began, random.Random(0)
    for _ in range(int(os.environ.get("RNNBPTT_TRIALS", "3"))):
        if not killed("it", moments.uniform(0, lasts / 2)):
            assert_as_undisturbed("it")
            shutil.rmtree("it")
    assert_as_undisturbed("it")
