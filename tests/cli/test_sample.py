"""`sample`: the text it writes, and how it ends."""

from __future__ import annotations

import signal
from pathlib import Path

from support.commands import misuse, refusal, run, shell, succeed


def test_sample_writes_the_text_and_nothing_else(mine: str) -> None:
    result = run("sample", mine, "--prompt", "the ", "--length", "40")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout) == len("the ") + 40 + 1
    assert result.stdout.startswith("the ")
    assert run("sample", mine, "--prompt", "the ", "--length", "40").stdout == result.stdout
    Path("prompt.txt").write_text("the ", encoding="utf-8")
    assert run("sample", mine, "--prompt-file", "prompt.txt", "--length", "40").stdout == result.stdout


def test_sample_makes_several(mine: str) -> None:
    text = succeed("sample", mine, "--count", "3", "--length", "10", "--top-k", "2", "--prompt", "a")
    assert len(text) == 3 * 11 + 2 * 2 + 1


def test_sample_refuses(mine: str) -> None:
    assert refusal("sample", "nowhere") == (
        "nowhere: no such checkpoint; give a run folder (such as runs/NAME) or a .safetensors file"
    )
    assert "'é' (U+00E9" in refusal("sample", mine, "--prompt", "café")
    assert refusal("sample", mine, "--temperature", "-1") == "--temperature -1: must be 0 or more"
    assert "would take" in refusal("sample", mine, "--count", "1000000000000")
    assert "--prompt and --prompt-file both give a prompt" in misuse(
        "sample", "x", "--prompt", "a", "--prompt-file", "b"
    )


def test_sample_ends_quietly_when_the_pipe_closes(mine: str) -> None:
    child = shell("sample", mine, "--length", "0")
    assert child.stdout
    assert child.stderr
    assert len(child.stdout.read(50)) == 50
    child.stdout.close()
    assert child.wait(timeout=60) == 0
    assert child.stderr.read() == ""
    child.stderr.close()


def test_sample_ends_with_130_when_interrupted(mine: str) -> None:
    child = shell("sample", mine, "--length", "0")
    assert child.stdout
    child.stdout.read(50)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (130, "")
