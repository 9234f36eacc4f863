"""README and manual stay true: their commands run, their options and files are those there are.

The commands run here on a small text and a small model; `pip install` is left to .ci/run, which uses the test command.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rnnbptt.cli.app import app
from support.races import in_process
from support.tables import commands as cli_commands
from support.tables import option_table
from support.texts import prose

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MANUAL = (ROOT / "data/manual.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README + MANUAL, re.DOTALL)
SMALL = shlex.split("--hidden 8 --streams 2 --chars 1000 --eval-every 500 --sample-length 0 --threads 1")


def lines(kind: str) -> list[str]:
    return [line for language, block in BLOCKS if language == kind for line in block.splitlines() if line]


def commands() -> list[list[str]]:
    """Every call of rnnbptt in the order of README and manual, the longer ones taken apart, each once."""
    parts = dict.fromkeys(part.strip() for line in lines("sh") for part in line.split("&&"))
    return [shlex.split(part)[1:] for part in parts if re.match(r"(\.venv/bin/)?rnnbptt ", part)]


def shrunk(arguments: list[str]) -> list[str]:
    """The same command with a small model, and a budget that a test can afford."""
    if arguments[0] == "probe":
        return [*arguments, "--depth", "16", "--streams", "2", "--threads", "1"]
    if arguments[0] == "race":
        return [
            *arguments,
            *shlex.split("--hidden 8 --streams 2 --chars 500 --eval-every 500 --seeds 1 --engine torch"),
        ]
    if arguments[0] != "train":
        return arguments
    kept = [a for i, a in enumerate(arguments) if a != "--epochs" and arguments[i - 1] != "--epochs"]
    return [*kept, *SMALL]


def test_every_command_and_the_library_example_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/shakespeare.txt").write_text("ROMEO: " + prose(20_000), encoding="utf-8")
    monkeypatch.setattr("rnnbptt.study.race.running.finish_all", in_process)
    assert {arguments[0] for arguments in commands()} == set(cli_commands())
    for arguments in commands():
        result = CliRunner().invoke(app, shrunk(arguments))
        assert result.exit_code == 0, (arguments, result.output)
    (example,) = (block for language, block in BLOCKS if language == "python")
    exec(compile(example, "README.md", "exec"), {})
    assert sum(bool(line.strip()) for line in example.splitlines()) <= 5


def test_ci_runs_the_test_command() -> None:
    (command,) = (line for line in lines("sh") if "pytest" in line)
    assert command in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) < 300
    assert max(len(line) for line in lines if not line.startswith(("|", "python3", "rnnbptt"))) <= 130


def test_both_first_commands_are_on_the_first_screen() -> None:
    first = [line for line in README.splitlines()[:40] if line.startswith("python3 -m venv")]
    assert len(first) == 2


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_the_option_tables_are_what_the_commands_say(command: str) -> None:
    table = option_table(command)
    assert f"\n\n{table}\n\n" in MANUAL, f"under {command}, data/manual.md has to have:\n\n{table}\n"


@pytest.mark.parametrize("command", ["sample", "compare", "race", "probe"])
def test_every_option_is_named(command: str) -> None:
    for parameter in cli_commands()[command].params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert re.search(rf"[` ]{option}(?![\w-])", MANUAL), option


def test_every_folder_has_its_duty() -> None:
    there = {path.parent.name for path in (ROOT / "rnnbptt").glob("*/__init__.py")}
    section = README[README.index("## Where things are") :]
    assert set(re.findall(r"^\| `(\w+)/` \|", section, re.MULTILINE)) == there


def test_every_script_named_is_there() -> None:
    for script in re.findall(r"tests/[\w/]+\.py|data/[\w.]+", README + MANUAL):
        assert (ROOT / script).exists(), script


def test_nothing_is_left_to_fill_in_and_links_lead_somewhere() -> None:
    assert "@@" not in README + MANUAL
    for folder, text in ((ROOT, README), (ROOT / "data", MANUAL)):
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (folder / link).exists(), link
