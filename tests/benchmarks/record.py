"""The record on tiny Shakespeare: the best validation of several seeds, and what each lever is worth.

    python tests/benchmarks/record.py TEXT [--seeds 8] [--first 0] [--threads 0] [--long | --levers]

TEXT is the 1,115,394 bytes that nanoGPT and char-rnn use, split 90 % / 10 %. Two figures of each run's best checkpoint,
in nats: of one continuous reading of the validation text, as `train` and `compare` have it; and of cold windows of 256
characters, each read from the zero state, as nanoGPT is scored, whose published GPU result is 1.4697. Seconds are of
training alone. The record is meant for 100 of them on two cores, `--long` for ten minutes; `--levers` changes one thing
at a time, with the first seed. With `--threads 1` two of these run side by side: less time for all, and more for each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.inference.evaluation import score
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus, Ids
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import RunConfig, begin

WINDOW = 256
BATCH = 64  # windows read side by side

RECORD: dict[str, Any] = {
    "cell": "mogrifier",
    "optimizer": "muon",
    "streams": 64,
    "trunc": "32..64",
    "reset_every": 512,
    "dropout": 0.2,
    "lr": 0.014,
    "decay": "linear",
    "budget": 2_200_000,
}
LONG: dict[str, Any] = {"hidden": 640, "reset_every": 256, "dropout": 0.45, "budget": 8_000_000}
LEVERS: dict[str, dict[str, Any]] = {
    "the record": {},
    "LSTM": {"cell": "lstm"},
    "two layers of 384": {"layers": 2, "hidden": 384},
    "cosine decay": {"decay": "cosine"},
    "rate 0.01": {"lr": 0.01},
    "adam at its own rate, 0.006": {"optimizer": "adam", "lr": 0.006},
    "dropout 0.3": {"dropout": 0.3},
    "states never zero at random": {"reset_every": 0},
    "16..64": {"trunc": "16..64"},
    "64 from the start": {"trunc": "64"},
}


class Figures(NamedTuple):
    """Of a run: nats of the carried reading and of cold windows, seconds of training."""

    carried: float
    cold: float
    seconds: float


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: one a core")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--long", action="store_true")
    which.add_argument("--levers", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = prepare([given.text], Path(scratch) / "corpus", TextOptions(split="0.9/0.1/0"))
        if given.levers:
            print("| lever | carried | cold windows | seconds |\n|---|---|---|---|")
            for name, change in LEVERS.items():
                found = figures(corpus, Path(scratch) / "run", given.first, change, given.threads)
                print(f"| {name} | {found.carried:.4f} | {found.cold:.4f} | {found.seconds:.0f} |", flush=True)
            return
        runs = []
        print("| seed | carried | cold windows | seconds |\n|---|---|---|---|")
        for seed in range(given.first, given.first + given.seeds):
            runs.append(
                found := figures(corpus, Path(scratch) / "run", seed, LONG if given.long else {}, given.threads)
            )
            print(f"| {seed} | {found.carried:.4f} | {found.cold:.4f} | {found.seconds:.0f} |", flush=True)
        means = [statistics.mean(column) for column in zip(*runs, strict=True)]
        print(f"| mean | {means[0]:.4f} | {means[1]:.4f} | {means[2]:.0f} |")


def figures(corpus: Corpus, folder: Path, seed: int, change: dict[str, Any], threads: int) -> Figures:
    """Train once, with what is changed of the record."""
    options = RECORD | change
    model = {name: options.pop(name) for name in ("dropout", "layers", "hidden", "cell") if name in options}
    budget = Budget("chars", options.pop("budget"))
    train = TrainConfig(budget=budget, seed=seed, **options)
    config = RunConfig([corpus.path], folder, train, ModelConfig(1, **model), force=True, threads=threads)
    trainer = begin(config)
    for _ in RunFolder(folder).follow(trainer):
        pass
    best = load_checkpoint(RunFolder(folder).best).build_model("float32")
    start, stop = corpus.splits["valid"]
    carried = score(best, corpus.ids, start, stop).nats
    return Figures(carried, cold_windows(best, corpus.ids, start, stop), trainer.standing.axes.seconds)


@torch.no_grad()
def cold_windows(model: CharRNN, ids: Ids, start: int, stop: int) -> float:
    """Mean nats of all characters of windows that follow one another, each read from the zero state."""
    begins = np.arange(start, stop - WINDOW, WINDOW)
    nats = []
    for first in range(0, len(begins), BATCH):
        places = begins[first : first + BATCH] + np.arange(WINDOW + 1)[:, None]
        text = torch.from_numpy(ids[places].astype(np.int64))  # (WINDOW + 1, B)
        logits, _ = model.forward(text[:-1], model.zero_state(text.shape[1]))
        nats.append(cross_entropy(logits, text[1:])[0].double().flatten())
    return float(torch.cat(nats).mean())


if __name__ == "__main__":
    main()
