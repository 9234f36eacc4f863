"""Training on a GPU: as on a processor, bit for bit the same again, and from one to the other; skipped without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.training.config import Budget
from rnnbptt.training.state import restore, snapshot
from support.commands import run, succeed
from support.every_run import RUNS, SIZE
from support.networks import EVERY_CELL, error
from support.runs import assert_same, without_time
from support.texts import make_corpus, prose
from support.trainers import frozen_copy, make_trainer, some_updates, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

SHORTER = SIZE | {"budget": Budget("epochs", 1.2)}
EXACT = SHORTER | {"precision": "float64", "dropout": 0.0}  # each kind of device draws masks of its own
DRAWN = ("uoro:3",)  # on the device, too
every_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run["trunc"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """100 predictions to train on, and 20 characters to validate."""
    return make_corpus(tmp_path_factory.mktemp("tiny"), prose(121), split="101/20/0")


@pytest.mark.parametrize("run", [run for run in RUNS if run["trunc"] not in DRAWN], ids=lambda run: run["trunc"])
def test_a_gpu_comes_to_the_weights_of_a_processor(tiny: Corpus, run: dict[str, Any]) -> None:
    here, there = (train(tiny, **{**run, **EXACT}, device=device)[0] for device in ("cpu", "cuda"))
    assert there.model.device.type == "cuda"
    assert error(there.model.parameters.flat.cpu(), here.model.parameters.flat) < 1e-9


@pytest.mark.parametrize("cell", EVERY_CELL)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_cell_learns_on_a_gpu_as_on_a_processor(tiny: Corpus, cell: str, precision: str) -> None:
    size = {"hidden": 16, "budget": Budget("epochs", 4), "lr": 0.01}
    (*_, here), (*_, there) = (
        train(tiny, cell, precision=precision, device=device, **size)[1] for device in ("cpu", "cuda")
    )
    assert there["nats"] == pytest.approx(here["nats"], rel=1e-4 if precision == "float32" else 0.02)


@every_run
def test_the_same_again_on_a_gpu(tiny: Corpus, run: dict[str, Any]) -> None:
    first, again = (train(tiny, **SHORTER | run, device="cuda") for _ in range(2))
    assert without_time(first[1]) == without_time(again[1])
    assert_same(frozen_copy(first[0]), frozen_copy(again[0]))


def test_many_characters_are_summed_in_the_same_order_again(corpus: Corpus) -> None:
    """Many streams that read the same symbol: what adds up by chance would differ."""
    runs = [
        train(corpus, hidden=64, streams=64, trunc="16", budget=Budget("updates", 20), device="cuda") for _ in range(3)
    ]
    first, *others = (run[0].model.parameters.flat for run in runs)
    assert all(torch.equal(first, other) for other in others)


@every_run
def test_a_run_of_a_gpu_resumed_from_a_file_ends_the_same(tiny: Corpus, run: dict[str, Any], tmp_path: Path) -> None:
    whole, records = train(tiny, **SHORTER | run, device="cuda")
    interrupted = make_trainer(tiny, **SHORTER | run, device="cuda")
    some = some_updates(interrupted, 1 if run["trunc"] == "full" else 4)
    save_checkpoint(tmp_path / "a", *snapshot(interrupted))
    resumed = restore(load_checkpoint(tmp_path / "a"), tiny, run.get("precision", "float32"), "cuda")
    assert without_time(some + list(resumed.run())) == without_time(records)
    assert_same(frozen_copy(resumed), frozen_copy(whole))


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
@pytest.mark.parametrize("trunc", ["4", "2/6", "snap", "adaptive:0.5"])
def test_a_run_goes_on_on_another_kind_of_device(
    tiny: Corpus, trunc: str, first: str, second: str, tmp_path: Path
) -> None:
    whole, _ = train(tiny, **EXACT, trunc=trunc)
    moved = make_trainer(tiny, **EXACT, trunc=trunc, device=first)
    some_updates(moved, 4)
    save_checkpoint(tmp_path / "a", *snapshot(moved))
    resumed = restore(load_checkpoint(tmp_path / "a"), tiny, "float64", second)
    list(resumed.run())
    assert resumed.model.device.type == second
    assert error(resumed.model.parameters.flat.cpu(), whole.model.parameters.flat.cpu()) < 1e-9


def test_the_commands_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, go on, sample, compare and probe: the text at temperature 0 is that of a processor."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(prose(20_000), encoding="utf-8")
    small = ["--hidden", "32", "--streams", "4", "--quiet", "--precision", "float32"]
    for name, trunc in (("a", "1"), ("b", "8")):
        succeed("train", "text.txt", "--run", name, "--trunc", trunc, "--epochs", "2", "--device", "cuda", *small)
    succeed("train", "--resume", "a", "--epochs", "4", "--quiet")
    assert "cuda" in succeed("info", "a")
    sample = ("sample", "a", "--temperature", "0", "--length", "200", "--device")
    assert succeed(*sample, "cuda") == succeed(*sample, "cpu")
    assert run("compare", "a", "b").exit_code == 0
    assert run("probe", "b", "--depth", "32", "--streams", "2").exit_code == 0
