"""What each truncation costs: time a character and peak memory, relative to chunks of 64 of the same cell.

    python tests/benchmarks/strategies.py [--rounds 5] [--seconds 2] [--threads 1]

32 streams, hidden 256, one layer, on the built-in text. Every measurement is a fresh process; in each round all
strategies take their turn, and ratios are formed within the round. Medians of the rounds. "arithmetic" is the ratio of
the operations counted, those of matrix products; for stored history it is about (1 + 2 k2 / k1) / 3. Real-time learning
at this size is refused, so it is measured at hidden 32, 4 streams.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("1", "8", "256", "64/1", "1/64", "16/64", "16/64@rerun", "stateless:64", "random:64", "artbp:64")
# cell, streams, hidden, the strategy all others are relative to, the others
CASES = (
    ("lstm", 32, 256, "64", (*OTHERS, "adaptive:0.1", "snap", "snap:8", "snap:64", "rflo", "uoro", "uoro:64")),
    ("gru", 32, 256, "64", ("1", "snap", "snap:64")),
    ("rnn", 32, 256, "64", ("1", "snap", "snap:64")),
    ("elstm", 32, 256, "64", ("1", "snap", "snap:64")),
    ("rnn", 4, 32, "64", ("1", "rtrl", "rtrl:64")),
)


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)  # corpus cell streams hidden trunc: the child process
    arguments = parser.parse_args()
    if arguments.one:
        corpus, cell, streams, hidden, trunc = arguments.one
        print(*measure(Path(corpus), cell, int(streams), int(hidden), trunc, arguments.seconds, arguments.threads))
        return
    print("| cell | streams | hidden | `--trunc` | us a character | time, relative | arithmetic | peak memory, MB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        sys.path.insert(0, str(ROOT))
        from rnnbptt.text.options import TextOptions
        from rnnbptt.text.preparing import prepare

        prepare([ROOT / "data/shakespeare.txt"], Path(scratch, "corpus"), TextOptions())
        for cell, streams, hidden, base, others in CASES:
            case = (f"{scratch}/corpus", cell, str(streams), str(hidden))
            rounds = [{spec: child(case, spec, arguments) for spec in (base, *others)} for _ in range(arguments.rounds)]
            for spec in (base, *others):
                micros, ratio, flops, peak = (
                    statistics.median(values)
                    for values in zip(*(figures(turn[spec], turn[base]) for turn in rounds), strict=True)
                )
                row = (
                    cell,
                    streams,
                    hidden,
                    f"`{spec}`",
                    f"{micros:.1f}",
                    f"{ratio:.2f}",
                    f"{flops:.2f}",
                    f"{peak:.0f}",
                )
                print(f"| {' | '.join(map(str, row))} |", flush=True)


def figures(ours: list[float], base: list[float]) -> tuple[float, float, float, float]:
    """Microseconds a character, the same and operations relative to the base, peak in MB."""
    return ours[0], ours[0] / base[0], ours[1] / base[1], ours[2]


def child(case: tuple[str, ...], spec: str, arguments: argparse.Namespace) -> list[float]:
    """What `measure` finds in a process of its own."""
    options = ["--seconds", str(arguments.seconds), "--threads", str(arguments.threads)]
    command = [sys.executable, __file__, *options, "--one", *case, spec]
    return [float(figure) for figure in subprocess.run(command, capture_output=True, check=True).stdout.split()]


def measure(
    corpus: Path, cell: str, streams: int, hidden: int, trunc: str, seconds: float, threads: int
) -> tuple[float, float, float]:
    """Microseconds and operations a character, and peak memory in MB, in this process."""
    sys.path.insert(0, str(ROOT))
    import torch

    from rnnbptt.bptt.window import create_network
    from rnnbptt.model.config import ModelConfig
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.training.config import Budget, TrainConfig
    from rnnbptt.training.loop import Trainer

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    text = Corpus.open(corpus)
    model = create_network(ModelConfig(len(text.vocabulary), cell, hidden, dropout=0.0))
    # so long a budget that nothing depends on how much of it is used, so few validations that none comes
    config = TrainConfig(trunc=trunc, streams=streams, budget=Budget("chars", 1e9), eval_every=10**9)
    trainer = Trainer(model, text, config)
    list(trainer.run(until(trainer, 1.0)))
    chars, flops, spent = trainer.standing.axes.chars, trainer.standing.axes.flops, trainer.standing.axes.seconds
    list(trainer.run(until(trainer, seconds)))
    chars, flops, spent = (
        trainer.standing.axes.chars - chars,
        trainer.standing.axes.flops - flops,
        trainer.standing.axes.seconds - spent,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return 1e6 * spent / chars, flops / chars, peak


def until(trainer, seconds: float):
    """Stop after so many seconds, but not before a few updates."""
    end, updates = time.perf_counter() + seconds, trainer.standing.axes.updates + 3
    return lambda: time.perf_counter() > end and trainer.standing.axes.updates >= updates


if __name__ == "__main__":
    main()
