"""`info`: what runs, corpora and checkpoints are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from support.commands import SMALL, refusal, run, succeed


def test_a_run_is_described(mine: str) -> None:
    shown = succeed("info", mine)
    lines = shown.splitlines()
    assert lines[0] == "mine"
    assert "  trained   100% of 2,000 characters with truncation 16..64" in lines
    assert "  options   --streams 4 --hidden 12" in lines
    assert re.search(r"^  best      \d\.\d{4} bits per character \(\d\.\d{4} nats\) at 2,000$", shown, re.MULTILINE)
    assert re.search(r"^  model     lstm of 12: [\d,]+ parameters$", shown, re.MULTILINE)
    assert re.search(r"^  made by   rnnbptt .*, torch .*, the (torch|compiled) engine$", shown, re.MULTILINE)
    for name in ("best.safetensors", "corpus/", "last.safetensors", "metrics.jsonl"):
        assert re.search(rf"  {re.escape(name)}, \d+\.\d kB$", shown, re.MULTILINE), name


def test_a_checkpoint_and_a_corpus_are_described() -> None:
    options = ["--nfc", "--split", "0.8/0.1/0.1"]
    succeed("prepare", "text.txt", *options)
    succeed("train", "text.corpus", *SMALL, "--chars", "200", "--run", "it")
    succeed("train", "text.corpus", *SMALL[2:], "--chars", "8", "--init-from", "it", "--run", "next")
    trained, prepared = succeed("info", "next/best.safetensors", "text.corpus").split("\n\n")
    assert f"  initial   the weights of {Path('it/best.safetensors').resolve()}\n" in trained
    assert "files" not in trained
    assert prepared.startswith("text.corpus\ncharacters  3,000\n")
    assert "\noptions          --nfc --split 0.8/0.1/0.1\n" in prepared
    assert re.search(r"\nmade of          text\.txt: 3,000 bytes, sha256 [0-9a-f]{12}\n", prepared)


def test_without_an_argument_the_runs_are_listed(pair: list[str]) -> None:
    shutil.copytree(pair[0], "runs/broken")
    Path("runs/broken/last.safetensors").write_bytes(b"nothing")
    Path("runs/empty").mkdir()
    result = run("info")
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["in", "runs/", "truncation", "model", "done", "best,", "bpc", "saved"]
    assert [line.split()[:5] for line in lines] == [[f"long-{k}", k, "lstm", "12", "100%"] for k in ("1", "8")]
    assert result.stderr.startswith("warning: runs/broken/last.safetensors: no checkpoint, or a damaged one")


def test_what_is_none_of_these_is_said() -> None:
    assert run("info").stderr == "note: no run is in runs/ yet; begin one with: rnnbptt train TEXT\n"
    assert refusal("info", "text.txt").startswith("text.txt: no checkpoint, or a damaged one")
    assert refusal("info", "nowhere") == ("nowhere: no such run or checkpoint; rnnbptt info lists those in runs/")
