"""`sample`: the text it writes, and how it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.commands import SMALL, misuse, refusal, run, shell, succeed
from support.forks import Fork

LOCALE_OF_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs: `bytes` on bytes many of which are no UTF-8, `rare` on composed characters, one rare."""
    folder = tmp_path_factory.mktemp("odd")
    Path(folder, "b").write_bytes(b"a \xff\xc3 \xc3\xa9\x1b" * 40)
    Path(folder, "c").write_text("un café " * 40 + "Ω", encoding="utf-8")
    small = [*SMALL, "--chars", "200", "--run"]
    succeed("train", str(folder / "b"), "--unit", "byte", *small, str(folder / "bytes"))
    succeed("train", str(folder / "c"), "--nfc", "--min-count", "2", *small, str(folder / "rare"))
    return folder


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
    assert refusal("sample", "nowhere") == ("nowhere: no such run or checkpoint; rnnbptt info lists those in runs/")
    assert "'é' (U+00E9" in refusal("sample", mine, "--prompt", "café")
    Path("bad.txt").write_bytes(b"the \xff")
    assert refusal("sample", mine, "--prompt-file", "bad.txt") == (
        "--prompt-file bad.txt: not UTF-8 (byte 4); give a readable UTF-8 text"
    )
    assert refusal("sample", mine, "--prompt-file", "none") == (
        "cannot read 'none': No such file or directory; give the path of a readable text, or - for standard input"
    )
    assert refusal("sample", mine, "--temperature", "-1") == "--temperature -1: must be 0 or more"
    assert "would take" in refusal("sample", mine, "--count", "1000000000000")
    assert "--prompt and --prompt-file both give a prompt" in misuse(
        "sample", "x", "--prompt", "a", "--prompt-file", "b"
    )


def test_bytes_go_in_and_come_out(odd: Path) -> None:
    model, given = str(odd / "bytes"), b"\xff\xc3\xa9"
    written = run("sample", model, "--prompt", os.fsdecode(given), "--length", "60").stdout_bytes
    assert written.startswith(given)
    made = written[len(given) : -1].decode("utf-8", "surrogateescape")
    assert len(made) == 60
    assert {*"aé"} < {*made}
    assert any("\udc80" <= char <= "\udcff" for char in made)
    assert written.endswith(b"\n")
    Path("prompt").write_bytes(given)
    assert run("sample", model, "--prompt-file", "prompt", "--length", "60", "--raw").stdout_bytes == written
    stopped = run("sample", model, "--prompt-file", "prompt", "--length", "60", "--stop", "\udca9").stdout_bytes
    assert stopped == given + written[len(given) :].partition(b"\xa9")[0] + b"\n"
    several = run("sample", model, "--prompt-file", "prompt", "--length", "9", "--count", "3").stdout_bytes
    assert several.count(given) >= 3
    assert len(several[:-1].decode("utf-8", "surrogateescape")) == 3 * (2 + 9) + 2 * 2


def test_a_prompt_from_standard_input(odd: Path, mine: str) -> None:
    for model, given in ((str(odd / "bytes"), b"\xffa"), (mine, b"the\n")):
        Path("prompt").write_bytes(given)
        expected = run("sample", model, "--prompt-file", "prompt", "--length", "9").stdout_bytes
        arguments = ["sample", model, "--prompt-file", "-", "--length", "9"]
        assert run(*arguments, stdin=given).stdout_bytes == expected
        assert expected.startswith(given)


def test_a_prompt_is_treated_as_the_text_was_and_echoed_as_it_was_given(odd: Path) -> None:
    model, composed = str(odd / "rare"), "caf\u00e9"
    expected = succeed("sample", model, "--prompt", composed, "--length", "20").removeprefix(composed)
    given = "\ufeffcafe\u0301"
    result = run("sample", model, "--prompt", given, "--length", "20")
    assert (result.exit_code, result.stdout, result.stderr) == (0, given + expected, "")
    result = run("sample", model, "--prompt", "un Ω ☃Ω", "--length", "20")
    assert (result.exit_code, result.stdout[:7], len(result.stdout)) == (0, "un Ω ☃Ω", 28)
    assert result.stderr == (
        "note: 3 characters of the prompt are read as the unknown symbol of the vocabulary: 'Ω', '☃'.\n"
    )
    whole = succeed("sample", model, "--length", "50")
    assert (
        succeed("sample", model, "--length", "50", "--stop", "e\u0301") == whole.partition("é")[0].rstrip("\n") + "\n"
    )
    assert refusal("sample", model, "--stop", "Ω") == (
        "--stop 'Ω': can never come, the vocabulary lacks a character of it"
    )


def test_bytes_that_are_no_text_in_the_locale_are_named(mine: str) -> None:
    assert refusal("sample", mine, "--prompt", "the \udcff") == (
        r"--prompt 'the \udcff': the byte 0xFF (character 5) is not valid utf-8, the encoding of this locale; "
        "give it in UTF-8, or give a --prompt-file in UTF-8"
    )
    assert "--stop" in refusal("sample", mine, "--stop", "\udcff")
    child = shell("sample", mine, "--prompt", "thé", **LOCALE_OF_ASCII)
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (
        1,
        r"error: --prompt 'th\udcc3\udca9': the byte 0xC3 (character 3) is not valid ascii, "
        "the encoding of this locale; set LC_ALL=C.UTF-8 or PYTHONUTF8=1, or give a --prompt-file in UTF-8\n",
    )


def test_sample_ends_quietly_when_the_pipe_closes(mine: str) -> None:
    child = Fork("sample", mine, "--length", "0", "--top-k", "9")  # which no kernel makes, so that none is compiled
    assert len(child.stdout.read(50)) == 50
    child.stdout.close()
    assert child.end() == (0, "", "")


def test_sample_ends_with_130_when_interrupted(mine: str) -> None:
    child = Fork("sample", mine, "--length", "0", "--top-k", "9")
    child.stdout.read(50)
    child.send(signal.SIGINT)
    code, _, stderr = child.end()
    assert (code, stderr) == (130, "")
