"""The commands as a user types them: what they print, and how they end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from rnnbptt.cli.app import app

ROOT = Path(__file__).parents[2]
# by torch: what is tested here needs no kernel, which the first test would have to compile
SMALL = ["--hidden", "12", "--streams", "4", "--quiet", "--threads", "1", "--engine", "torch"]
TRAIN = ["train", "text.txt", *SMALL]


def run(*arguments: str, stdin: bytes = b"") -> Result:
    """What a command has printed, and its exit code."""
    return CliRunner().invoke(app, arguments, input=stdin)


def succeed(*arguments: str) -> str:
    """Standard output of a command that must end well."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(*arguments: str) -> str:
    """The one line of standard error of a command that must end with 1."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ").rstrip("\n")


def misuse(*arguments: str) -> str:
    """What a command that must end with 2 says, on one line and without its frame."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


def shell(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """A command in a process of its own, which signals and closed pipes can reach."""
    command = [sys.executable, "-m", "rnnbptt", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
