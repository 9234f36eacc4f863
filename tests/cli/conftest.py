"""A folder to type commands in, and runs that tests may read, or change a copy of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.commands import SMALL, TRAIN, succeed
from support.texts import prose


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one text in it, and no word of the kernels that the first test compiles."""
    monkeypatch.setattr("rnnbptt.report.progress.PATIENCE", 1000.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("text.txt").write_text(prose(3000), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a long text, its corpus, runs of truncation 1 and 8 on it, and `mine`, a run on the text."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("text.txt").write_text(prose(3000), encoding="utf-8")
        succeed(*TRAIN, "--chars", "2000", "--run", "mine")
        Path("long.txt").write_text(prose(30000), encoding="utf-8")
        succeed("prepare", "long.txt")
        for trunc in ("1", "8"):
            succeed("train", "long.corpus", *SMALL, "--trunc", trunc, "--chars", "4000")
    return folder


@pytest.fixture
def mine(trained: Path) -> str:
    """The run on the text, to be changed at will."""
    shutil.copytree(trained / "mine", "mine")
    return "mine"


@pytest.fixture
def pair(trained: Path) -> list[str]:
    """The two runs on the long text, to be changed at will."""
    shutil.copytree(trained / "runs", "runs")
    return ["runs/long-1", "runs/long-8"]
