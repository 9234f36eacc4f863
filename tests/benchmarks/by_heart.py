"""By heart: the longest beginning of a text that a model writes out without an error.

    python tests/benchmarks/by_heart.py TEXT [--minutes 10] [--hidden 256] [--lr 0.003] [--first 250]

For each truncation in turn: an LSTM reads the first n characters of TEXT over and over in one stream, for so many
minutes at most, and is asked, at each of 20 validations, to go on from the very first character, always with the most
probable next one. Where it has them all right, n is doubled; where time is up, it is told how far it came at best.
`--only NAME` is for one of them alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.sampling import sample
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.options import TextOptions
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import RunConfig, begin

LEARNERS = {"1": ("1", "lstm"), "64": ("64", "lstm"), "1..64": ("1..64", "lstm"), "window:2": ("1", "window:2")}


class Attempt(NamedTuple):
    """How many characters were right at best, after how many of training and seconds of it."""

    right: int
    chars: int
    seconds: float


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="for each attempt")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--first", type=int, default=250, help="characters of the first attempt")
    parser.add_argument("--only", choices=LEARNERS)
    given = parser.parse_args()
    print("| learner | characters | right at best | read until then | seconds |\n|---|---|---|---|---|")
    for name in [given.only] if given.only else LEARNERS:
        trunc, cell = LEARNERS[name]
        training = TrainConfig(trunc, streams=1, lr=given.lr, budget=Budget("minutes", given.minutes))
        length = given.first
        while True:
            beginning = given.text.read_text("utf-8")[:length]
            attempt = learn(beginning, training, ModelConfig(1, cell, given.hidden, dropout=0))
            row = (name, f"{len(beginning):,}", f"{attempt.right:,}", f"{attempt.chars:,}", f"{attempt.seconds:.0f}")
            print(f"| {' | '.join(row)} |", flush=True)
            if attempt.right < length:
                break
            length *= 2


def learn(text: str, training: TrainConfig, model: ModelConfig) -> Attempt:
    """By heart, or as far as the budget goes."""
    best = Attempt(0, 0, 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "text.txt"
        source.write_text(text, "utf-8")
        folder = Path(scratch) / "run"
        config = RunConfig([source], folder, training, model, TextOptions(split="1/0/0"), threads=1)
        trainer = begin(config)
        vocabulary = trainer.corpus.vocabulary
        asked = SampleConfig(text[0], len(text) - 1, temperature=0)
        for record in RunFolder(folder).follow(trainer):
            if record["kind"] == "eval":
                said = text[0] + "".join(sample(trainer.model, vocabulary, asked))
                right = next(
                    (i for i, pair in enumerate(zip(text, said, strict=True)) if pair[0] != pair[1]), len(text)
                )
                if right > best.right:
                    axes = trainer.standing.axes
                    best = Attempt(right, axes.chars, axes.seconds)
                if right == len(text):
                    break
    return best


if __name__ == "__main__":
    main()
