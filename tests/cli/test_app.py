"""What all commands have in common: their options, their help, and how errors become messages."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rnnbptt import __version__
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from support.commands import ROOT, TRAIN, misuse, refusal, run, shell, succeed
from support.tables import commands


def test_version_and_help() -> None:
    assert succeed("--version") == f"rnnbptt {__version__}\n"
    for command in ("prepare", "train", "sample", "compare", "probe", "race"):
        assert command in succeed("--help")
        assert "Usage: " in succeed(command, "--help")


def is_loaded(module: str, arguments: list[str]) -> bool:
    """By the command line, when it has done what these say."""
    code = (
        "import sys\nfrom rnnbptt.cli.app import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.exit(3 if {module!r} in sys.modules else 0)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment)
    assert done.returncode in (0, 3), done.stderr
    return done.returncode == 3


def test_help_and_refusals_do_not_load_torch() -> None:
    for arguments in (
        ["--help"],
        ["train", "--help"],
        ["train"],
        ["train", "text.txt", "--trunc", "0"],
        ["race", "text.txt", "--trunc", "1"],
    ):
        assert not is_loaded("torch", arguments), arguments


def test_version_and_help_do_not_load_numpy() -> None:
    for arguments in (["--version"], ["--help"], ["race", "--help"]):
        assert not is_loaded("numpy", arguments), arguments


def test_the_options_are_these() -> None:
    """Frozen: a new option is a decision."""
    options = {
        name: sorted(option for parameter in command.params for option in parameter.opts if option.startswith("--"))
        for name, command in commands().items()
    }
    text = ["--encoding", "--min-count", "--nfc", "--split", "--unit"]
    own_texts, machine = ["--valid", "--test"], ["--device", "--threads"]
    training = [
        *("--epochs", "--chars", "--updates", "--minutes"),
        *("--cell", "--hidden", "--layers", "--dropout"),
        *(
            "--streams",
            "--batch-size",
            "--reset-every",
            "--optimizer",
            "--lr",
            "--warmup",
            "--decay",
            "--final-lr",
            "--weight-decay",
        ),
        *("--beta2", "--beta2-chars", "--clip", "--seed", "--eval-every", "--precision", "--engine"),
    ]
    assert options == {
        "prepare": sorted([*text, *own_texts, "--force", "--out", "--task", "--size", "--seed"]),
        "train": sorted(
            [
                *text,
                *own_texts,
                *machine,
                *training,
                *("--trunc", "--run", "--resume", "--init-from", "--force", "--quiet", "--tensorboard"),
                "--sample-length",
            ]
        ),
        "sample": sorted(
            [
                *machine,
                *("--prompt", "--prompt-file", "--length", "--temperature", "--top-k", "--top-p"),
                *("--stop", "--count", "--seed", "--raw"),
            ]
        ),
        "compare": sorted(
            [
                *("--text", "--skip-unknown", "--contexts", "--plot", "--json", "--csv"),
                *("--prompt", "--sample-length", "--seed", "--threads"),
            ]
        ),
        "probe": sorted(["--depth", "--streams", "--trunc", "--check", "--full", "--plot", "--json", "--threads"]),
        "race": sorted(
            [
                *text,
                *training,
                *("--trunc", "--seeds", "--vary", "--tune", "--workers", "--on", "--address"),
                *("--out", "--resume", "--quiet"),
                *("--report", "--json", "--threshold", "--claim", "--prompt", "--sample-length", "--replay", "--run"),
            ]
        ),
        "info": [],
    }


def test_help_fits_eighty_columns_and_says_no_type_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], ["prepare"], ["train"], ["sample"], ["compare"], ["race"], ["probe"]):
        shown = succeed(*arguments, "--help")
        assert "bool" not in shown
        assert "range" not in shown
        assert "......" not in shown
        assert max(map(len, shown.splitlines())) == 80
    assert "--threads        N [0<=x<=4096]  Threads of torch" in shown


def test_completion_is_offered_once() -> None:
    assert "--install-completion" in succeed("--help")
    assert "completion" not in succeed("train", "--help")
    child = shell("--show-completion", "bash")
    script, _ = child.communicate(timeout=60)
    assert (child.returncode, "complete -o default -F" in script) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "text.txt", "--batch_size", "3"], "--batch_size (Possible options: --batch-size)"),
        (["train", "text.txt", "--eval_every", "3"], "--eval_every (Possible options: --eval-every)"),
        (["train", "text.txt", "--learning-rate=1"], "--learning-rate (Possible options: --lr)"),
        (["train", "text.txt", "--init_from", "x"], "--init_from (Possible options: --init-from)"),
        (["sample", "run", "--start", "x"], "--start (Possible options: --prompt)"),
        (["sample", "run", "--chars", "5"], "--chars (Possible options: --length)"),
        (["sample", "run", "--batch_size", "5"], "--batch_size"),
        (["race", "text.txt", "--threads", "2"], "--threads (Possible options: --workers)"),
        (["train", "text.txt", "--trunk", "3"], "--trunk (Possible options: --run, --trunc, --unit)"),
        (["--start"], "--start"),
    ],
)
def test_an_option_typed_out_of_habit_gets_a_hint(arguments: list[str], hint: str) -> None:
    assert misuse(*arguments).endswith(f"No such option: {hint}")


def test_an_option_is_shown_where_it_belongs() -> None:
    for command, option in (("train", "--trunc"), ("race", "--trunc"), ("sample", "--prompt")):
        names = (parameter.opts[0] for parameter in commands()[command].params)
        assert next(name for name in names if name.startswith("--")) == option
    panels = {parameter.opts[0]: parameter.rich_help_panel for parameter in commands()["train"].params}
    for option, panel in (
        ("--nfc", "Text"),
        ("--hidden", "Model"),
        ("--chars", "Budget: one of"),
        ("--lr", "Optimization"),
        ("--eval-every", "Run"),
        ("--threads", "Run"),
        ("--trunc", None),
        ("--force", None),
    ):
        assert panels[option] == panel, option
    assert {p.opts[0]: p.show_default for p in commands()["train"].params}["--epochs"] == "3.5"


def test_running_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr("rnnbptt.training.loop.Trainer.run", fail)
    assert refusal(*TRAIN) == "out of memory; give a shorter --trunc or --depth, fewer --streams or less --hidden"


def test_what_standard_output_cannot_show_is_one_line() -> None:
    """A prompt that the vocabulary has, in an encoding that lacks it."""
    Path("text.txt").write_text("żółć " * 200, encoding="utf-8")
    succeed(*TRAIN, "--chars", "200", "--run", "polish")
    child = shell("sample", "polish", "--prompt", "ż", "--length", "5", PYTHONIOENCODING="ascii")
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (
        1,
        "error: the output is in ascii, which has no '\\u017c'; set PYTHONIOENCODING=utf-8\n",
    )


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("rnnbptt.training.loop.Trainer.run", fail)
    result = run(*TRAIN)
    assert isinstance(result.exception, RuntimeError)
    assert result.exit_code == 1


HOSTILE = "a\x1b[2J\n[link=x]b[ bold]:smile:"


def test_nothing_that_was_typed_steers_the_terminal(mine: str) -> None:
    """Nor makes two lines of one."""
    for arguments in (
        ["sample", HOSTILE],
        ["sample", mine, "--device", HOSTILE],
        ["sample", mine, "--prompt-file", HOSTILE],
        ["compare", mine, HOSTILE],
        ["compare", mine, "--plot", f"{HOSTILE}/a.png"],
        ["probe", mine, "--json", f"{HOSTILE}/a"],
        ["prepare", HOSTILE],
        ["prepare", "text.txt", "--out", "text.txt/" + HOSTILE],
        *(["train", "text.txt", option, HOSTILE] for option in ("--trunc", "--cell", "--encoding", "--split")),
        ["train", HOSTILE, "--run", HOSTILE],
        ["race", HOSTILE, "--trunc", "1", "--trunc", "2"],
        ["race", "--resume", HOSTILE],
        ["race", "text.txt", "--trunc", "1", "--vary", f"hidden=1,{HOSTILE}"],
    ):
        assert r"a\x1b[2J\n[link=x]b[ bold]:smile:" in refusal(*arguments), arguments
    for misused in (
        [f"--{HOSTILE}"],
        [HOSTILE],
        ["sample", f"--{HOSTILE}"],
    ):
        said = misuse(*misused)
        assert "\x1b" not in said, said
        assert r"a\x1b[2J" in said, said


def test_names_and_notes_do_not_steer_the_terminal(mine: str) -> None:
    """Of folders, and of what a checkpoint says of its corpus."""
    Path(mine).rename(HOSTILE)
    shown = r"a\x1b[2J\n[link=x]b[ bold]:smile:"
    last = Path(HOSTILE, "last.safetensors")
    table = succeed("train", "text.txt", "--resume", HOSTILE, "--chars", "2400", "--threads", "1")
    assert table.startswith(shown)
    compared = succeed("compare", HOSTILE, HOSTILE, "--sample-length", "5")
    assert compared.count(shown) >= 2
    assert "\x1b" not in compared.replace(shown, "")
    checkpoint = load_checkpoint(last)
    document = checkpoint.document
    save_checkpoint(last, checkpoint.tensors, replace(document, corpus=replace(document.corpus, path=HOSTILE)))
    Path(HOSTILE, "corpus").rename("elsewhere")
    assert shown in refusal("train", "text.txt", "--resume", HOSTILE)
