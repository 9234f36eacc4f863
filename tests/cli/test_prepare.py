"""`prepare`: its table, its messages and its files."""

from __future__ import annotations

import re
from pathlib import Path

from support.commands import misuse, refusal, run, shell, succeed


def test_prepare_shows_what_it_made() -> None:
    Path("tiny.txt").write_text("abcab " * 50, encoding="utf-8")
    lines = succeed("prepare", "tiny.txt", "--split", "0.8/0.2/0").splitlines()
    assert [re.split("  +", line.strip()) for line in lines] == [
        ["tiny.corpus"],
        ["characters", "300"],
        ["symbols", "4"],
        ["training", "240"],
        ["validation", "60"],
        ["test", "0"],
        ["order-0 entropy", "1.9183 bits per character"],
        ["most common", "'a' 33.3%", "'b' 33.3%", "' ' 16.7%", "'c' 16.7%"],
    ]
    assert sorted(path.name for path in Path("tiny.corpus").iterdir()) == ["corpus.json", "ids.npy"]


def test_prepare_says_what_is_unknown_and_unused() -> None:
    Path("tiny.txt").write_text("abab" * 30 + "ż", encoding="utf-8")
    shown = succeed("prepare", "tiny.txt", "--split", "50/20/20", "--min-count", "2", "--out", "other").splitlines()
    assert [line.split() for line in shown if line.startswith(("unknown", "in no part"))] == [
        ["in", "no", "part", "31"],
        ["unknown", "1"],
    ]


def test_prepare_shows_what_the_output_can() -> None:
    Path("tiny.txt").write_text("é漢" * 50, encoding="utf-8")
    child = shell("prepare", "tiny.txt", "--out", "Ω", PYTHONIOENCODING="ascii")
    shown, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (0, "")
    lines = [re.split("  +", line.strip()) for line in shown.splitlines()]
    assert (lines[0], lines[-1]) == ([r"\u03a9"], ["most common", r"'\xe9' 50.0%", r"'\u6f22' 50.0%"])


def test_prepare_takes_texts_of_their_own_for_validation_and_test() -> None:
    for name, text in (("train", "ab" * 30), ("valid", "ba" * 5), ("test", "abc")):
        Path(f"ptb.{name}.txt").write_text(text)
    own = ["--valid", "ptb.valid.txt", "--test", "ptb.test.txt"]
    lines = [line.split() for line in succeed("prepare", "ptb.train.txt", *own).splitlines()]
    assert lines[:6] == [
        ["ptb.train.corpus"],
        ["characters", "73"],
        ["symbols", "3"],
        ["training", "60"],
        ["validation", "10"],
        ["test", "3"],
    ]
    made = [line.split()[2] for line in succeed("info", "ptb.train.corpus").splitlines() if line.startswith("made of")]
    assert made == ["ptb.train.txt:", "ptb.valid.txt:", "ptb.test.txt:"]
    assert "--valid is a text of its own, and --split shares out one; give one" in misuse(
        "prepare", "ptb.train.txt", *own, "--split", "1/0/0", "--force"
    )
    result = run("prepare", "ptb.train.txt", "--test", "-", "--out", "piped", stdin=b"cab")
    assert (result.exit_code, [line.split() for line in result.stdout.splitlines()][5]) == (0, ["test", "3"])


def test_prepare_refuses() -> None:
    assert refusal("prepare", "none.txt") == (
        "cannot read 'none.txt': No such file or directory; give the path of a readable text, or - for standard input"
    )
    succeed("prepare", "text.txt")
    assert refusal("prepare", "text.txt") == "'text.corpus' exists; give --force to prepare it again, or another folder"
    succeed("prepare", "text.txt", "--force")
    assert "no text was given; give one, such as data/shakespeare.txt, or --task SPEC" in misuse("prepare")


def test_prepare_shows_the_task_that_a_text_poses() -> None:
    lines = succeed("prepare", "--task", "copy:02", "--size", "1.2k", "--seed", "7").splitlines()
    shown = [re.split("  +", line.strip()) for line in lines]
    assert (shown[0], shown[1]) == (["copy-2.corpus"], ["characters", "1,200"])
    assert [line for line in shown if line[0] in ("task", "scored", "optimum")] == [
        ["task", "copy:2, seed 7"],
        ["scored", "'ABCDEFGH' alone, 40.0% of the text"],
        ["optimum", "0.0000 bits per scored character"],
    ]
    info = succeed("info", "copy-2.corpus")
    assert "made of          copy:2: 1,200 bytes, sha256 " in info
    assert "\nscored           'ABCDEFGH' alone" in info


def test_prepare_makes_a_text_of_a_column() -> None:
    Path("prices.csv").write_text("day,close\n" + "".join(f"{day},{day * day % 7}\n" for day in range(100)))
    shown = succeed("prepare", "--task", "updown:prices.csv:close", "--split", "80/10/9", "--out", "mine")
    assert "characters  99" in shown
    assert "task             updown:prices.csv:close\nscored           every character\norder-0" in shown
    assert "made of          prices.csv: " in succeed("info", "mine")


def test_prepare_refuses_what_a_task_does_not_take() -> None:
    for bad, said in (
        (["--task", "copy:0"], "--task 'copy:0': give copy:LAG, where LAG is a whole number, 1 or more"),
        (["--task", "updown:no.csv:1"], "cannot read 'no.csv': No such file or directory; give the path of a readable"),
        (
            ["--task", "copy:3", "--size", "lots"],
            "--size 'lots': must be a whole number of characters, 1 or more, such",
        ),
        (["--task", "copy:500", "--size", "500"], "--size 500: copy:500 takes 504 characters to show once what it"),
    ):
        assert refusal("prepare", *bad).startswith(said)
    for bad, said in (
        (["text.txt", "--task", "copy:3"], "--task copy:3 makes a text of its own; leave out text.txt, or --task"),
        (["text.txt", "--size", "3k"], "--size is for a text that is made; give it with --task SPEC"),
        (["text.txt", "--seed", "0"], "--seed is for a text that is made; give it with --task SPEC"),
        (["--task", "echo:3", "--encoding", "utf-8"], "--encoding is for a text that is read; leave it out, or --task"),
        (["--task", "echo:3", "--nfc"], "--nfc is for a text that is read; leave it out, or --task"),
        (["--task", "echo:3", "--valid", "a"], "--valid is for a text that is read; leave it out, or --task"),
        (["--task", "updown:a:1", "--size", "9"], "--size is for a text that is drawn: updown:a:1 is of a file; leave"),
    ):
        assert said in misuse("prepare", *bad)
    assert [path.name for path in Path().iterdir()] == ["text.txt"]
