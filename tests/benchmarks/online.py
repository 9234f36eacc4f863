"""Few streams: our engines and the usual loop of torch.nn, microseconds a character, and the ratios.

    python tests/benchmarks/online.py [--rounds 5] [--seconds 0.3] [--cells rnn,gru,lstm,elstm,mingru]
        [--hidden 128,256,512] [--streams 1,2,4,8,16,32] [--trunc 1,8,64] [--precision float32] [--asked]

One thread, Adam, no dropout, the built-in text. All sides are in one process and take turns; medians of the rounds, of
the time that the thread was computing. "compiled" and "torch" are whole training loops with --engine compiled and
torch, the latter in the --precision given. For truncations that are a number: "usual" is nn.Embedding, nn.LSTM,
nn.Linear, torch.optim.Adam, clip_grad_norm_; "unrolled" an LSTM cell by hand with fused Adam; "inductor" the same cell
by torch.compile, where there is a C++ compiler, up to 8 characters an update: more take it minutes to compile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("usual", "unrolled", "inductor", "torch", "compiled")
ASKED = {
    ("rnn", 128, 1, "1"): 20,
    ("gru", 128, 1, "1"): 12,
    ("lstm", 128, 1, "1"): 10,
    ("lstm", 256, 1, "1"): 5,
    ("lstm", 512, 1, "1"): 3.5,
    ("lstm", 128, 1, "8"): 5,
    ("lstm", 128, 1, "64"): 5,
    ("lstm", 128, 4, "1"): 5,
}


def main() -> None:
    """Measure every combination and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--asked", action="store_true", help="only what has a figure to reach")
    parser.add_argument("--precision", default="float32", help="of the engine of torch")
    parser.add_argument("--cells", default="rnn,gru,lstm,elstm,mingru")
    for name, default in (("hidden", "128,256,512"), ("streams", "1,2,4,8,16,32"), ("trunc", "1,8,64")):
        parser.add_argument(f"--{name}", default=default)
    arguments = parser.parse_args()
    sizes = ([int(size) for size in text.split(",")] for text in (arguments.hidden, arguments.streams))
    every = itertools.product(arguments.cells.split(","), *sizes, arguments.trunc.split(","))
    cases = ASKED if arguments.asked else every
    titles = ["cell", "hidden", "streams", "trunc", *SIDES, *(f"{side} / compiled" for side in SIDES[:-1]), "asked"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with tempfile.TemporaryDirectory() as scratch:
        from rnnbptt.text.options import TextOptions
        from rnnbptt.text.preparing import prepare

        corpus = prepare([ROOT / "data/shakespeare.txt"], Path(scratch, "corpus"), TextOptions())
        for case in cases:
            times = measure(corpus, *case, arguments)
            shown = [f"{times[side]:.1f}" if side in times else "" for side in SIDES]
            ratios = [f"{times[side] / times['compiled']:.1f}" if side in times else "" for side in SIDES[:-1]]
            print(f"| {' | '.join(map(str, [*case, *shown, *ratios, ASKED.get(case, '')]))} |", flush=True)


def measure(
    corpus, cell: str, hidden: int, streams: int, trunc: str, arguments: argparse.Namespace
) -> dict[str, float]:
    """Median microseconds a character of each side."""
    precisions = {"torch": arguments.precision, "compiled": "float32"}
    sides = {name: trainer_of(corpus, name, kind, cell, hidden, streams, trunc) for name, kind in precisions.items()}
    if trunc.isdecimal():
        for side in rivals_at(cell, int(trunc)):
            sides[side] = loop_of(corpus, side, cell, hidden, streams, int(trunc))
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(arguments.rounds + 1):
        for side, run in sides.items():
            started = time.thread_time()
            chars = run(arguments.seconds)
            if turn:  # the first one warms up
                times[side].append(1e6 * (time.thread_time() - started) / chars)
    return {side: statistics.median(values) for side, values in times.items()}


def trainer_of(
    corpus, engine: str, precision: str, cell: str, hidden: int, streams: int, trunc: str
) -> Callable[[float], int]:
    """Trains for so many seconds and returns how many characters that were."""
    import torch

    from rnnbptt.bptt.engines import choose_engine
    from rnnbptt.bptt.window import create_network
    from rnnbptt.model.config import ModelConfig
    from rnnbptt.training.config import Budget, TrainConfig
    from rnnbptt.training.loop import Trainer
    from rnnbptt.truncation.specs import parse_truncation

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model_config = ModelConfig(len(corpus.vocabulary), cell, hidden, dropout=0.0)
    chosen = choose_engine(engine, model_config, precision, "cpu", parse_truncation(trunc), "adam", streams)
    # so long a budget that nothing depends on how much of it is used, so few validations that none comes
    budget = Budget("chars", 1e9)
    config = TrainConfig(trunc=trunc, streams=streams, budget=budget, eval_every=10**9, lr=1e-3)
    trainer = Trainer(create_network(model_config, chosen.precision), corpus, config, chosen.engine)
    trainer.engine.prepare()

    def run(seconds: float) -> int:
        before, end = trainer.standing.axes.chars, time.thread_time() + seconds
        list(trainer.run(lambda: time.thread_time() > end))
        return trainer.standing.axes.chars - before

    return run


def rivals_at(cell: str, k: int) -> list[str]:
    """Those that know the cell, and can be had for so many characters an update."""
    if cell != "lstm":
        return ["usual"] if cell in ("rnn", "gru") else []
    return ["usual", "unrolled", *(["inductor"] if k <= 8 and shutil.which(os.environ.get("CXX", "g++")) else [])]


def loop_of(corpus, side: str, cell: str, hidden: int, streams: int, k: int) -> Callable[[float], int]:
    """The same of a rival."""
    import torch
    from rivals import InductorCell, UnrolledCell, UsualLoop

    from rnnbptt.text.streams import Streams

    kinds = {"usual": UsualLoop, "unrolled": UnrolledCell, "inductor": InductorCell}
    lanes, loop = Streams(corpus.split("train"), streams), kinds[side](cell, len(corpus.vocabulary), hidden)

    def run(seconds: float) -> int:
        chars, end = 0, time.thread_time() + seconds
        while time.thread_time() < end:
            x, y, _ = lanes.take(k)
            loop.update(torch.from_numpy(x), torch.from_numpy(y))
            chars += x.size
        return chars

    return run


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
