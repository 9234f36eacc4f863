"""What all tests share: one thread, fixed seeds, tiny texts."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from rnnbptt.text.corpus import Corpus
from support.runs import train_run
from support.texts import make_corpus, prose

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of other processes: two threads on a busy machine spend their time on waiting
# Shared machines are no stopwatch, and a failure must come again on the next run.
settings.register_profile("rnnbptt", deadline=None, derandomize=True)
settings.load_profile("rnnbptt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Compile the kernels first, in one process: whoever needs them later finds them in the cache."""
    items.sort(key=lambda item: item.path.name != "test_compiled.py")


def pytest_collection_finish() -> None:
    """What is there now stays, and need not be looked through each time that garbage is collected."""
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same start for every test, whatever a command before it has set."""
    torch.manual_seed(0)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """2,000 characters: 1,800 to train on, 100 to validate, 100 to test."""
    return make_corpus(tmp_path_factory.mktemp("corpus"), prose(2000))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """200 characters to train on, 199 predictions, and 20 to validate."""
    return make_corpus(tmp_path_factory.mktemp("small"), prose(220), split="200/20/0")


@pytest.fixture(scope="session")
def text_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """5,000 characters: 4,000 to train on, 600 to validate and 400 to test."""
    return make_corpus(tmp_path_factory.mktemp("text"), prose(5000), "4000/600/400")


@pytest.fixture(scope="session")
def run(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on it."""
    return train_run(tmp_path_factory.mktemp("runs") / "four", text_corpus, chars=2000)
