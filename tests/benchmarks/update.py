"""One update, against the loops that people write: time per update of each side, and the ratio.

    python tests/benchmarks/update.py [--rounds 5] [--seconds 2] [--device cuda]

Every measurement is a fresh process with one thread; the sides take turns, so that a busy moment of the machine hits
both. "usual" is nn.Embedding, nn.LSTM, nn.Linear, Adam, clip_grad_norm_; "usual, tuned" the same with a C library
told not to give memory back to the system at each step; "unrolled" an LSTM cell by hand with fused Adam. Medians of
the rounds. What is asked is asked of a processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

VOCABULARY = 65
TUNED = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000", "MALLOC_TOP_PAD_": "64000000"}
# cell, streams, hidden, k, then what is asked: the least ratio to each rival
CASES = (
    ("lstm", 32, 256, 1, {"usual": 6.0, "usual, tuned": 3.0, "unrolled": 1.0}),
    ("lstm", 64, 512, 1, {"usual": 6.0, "usual, tuned": 4.0, "unrolled": 1.0}),
    ("lstm", 64, 512, 64, {"usual": 2.5, "usual, tuned": 2.3}),
    ("gru", 64, 512, 64, {"usual": 4.0}),
    ("rnn", 64, 512, 64, {"usual": 4.0}),
)


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)  # side cell streams hidden k: the child process
    arguments = parser.parse_args()
    if arguments.one:
        side, cell, *sizes = arguments.one
        print(measure(side, cell, *map(int, sizes), seconds=arguments.seconds, device=arguments.device))
        return
    print("| cell | streams | hidden | k | rival | rival, ms | rnnbptt, ms | ratio | asked |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cell, streams, hidden, k, asked in CASES:
        options = ["--seconds", str(arguments.seconds), "--device", arguments.device]
        times = take_turns(["rnnbptt", *asked], (cell, streams, hidden, k), arguments.rounds, options)
        ours = times["rnnbptt"]
        for rival, least in asked.items():
            row = (cell, streams, hidden, k, rival, f"{times[rival]:.2f}", f"{ours:.2f}")
            print(f"| {' | '.join(map(str, row))} | {times[rival] / ours:.1f} | {least:g} |", flush=True)


def take_turns(sides: list[str], case: tuple[str, int, int, int], rounds: int, options: list[str]) -> dict[str, float]:
    """Median milliseconds per update of each side."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            kind, _, allocator = side.partition(", ")
            command = [sys.executable, __file__, *options, "--one", kind, *map(str, case)]
            environment = os.environ | (TUNED if allocator else {})
            child = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            times[side].append(float(child.stdout))
    return {side: statistics.median(values) for side, values in times.items()}


def measure(side: str, cell: str, streams: int, hidden: int, k: int, seconds: float, device: str) -> float:
    """Median milliseconds of one update, in this process; the loss is read after each, which waits for a GPU."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.randint(0, VOCABULARY, (2, k, streams)).to(device)
    if side == "rnnbptt":
        update = ours(cell, streams, hidden, device)
    else:
        from rivals import UnrolledCell, UsualLoop

        with torch.device(device):
            update = (UsualLoop if side == "usual" else UnrolledCell)(cell, VOCABULARY, hidden).update
    for _ in range(5):
        update(x, y)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        started = time.perf_counter()
        update(x, y)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def ours(cell: str, streams: int, hidden: int, device: str):
    """Our update: forward, loss, backward, norm, clip, fused Adam, operand copy: what `Trainer` does."""
    import torch

    from rnnbptt.bptt.layers import cross_entropy
    from rnnbptt.bptt.window import create_network
    from rnnbptt.model.config import ModelConfig
    from rnnbptt.training.optimizers import Adam

    model = create_network(ModelConfig(VOCABULARY, cell, hidden, dropout=0.0), device=device)
    state, parameters = model.zero_state(streams), model.parameters
    optimizer = Adam(parameters.flat)

    @torch.no_grad()
    def update(x, y) -> float:
        logits, tape = model.forward(x, state)
        nats, d_logits = cross_entropy(logits, y)
        model.backward(tape, d_logits)
        loss, norm = float(nats.mean()), float(torch.linalg.vector_norm(parameters.grad))
        if norm > 1:
            parameters.grad.mul_(1 / norm)
        optimizer.step(parameters.flat, parameters.grad, 1e-3, 0.999)
        parameters.refresh_operands()
        return loss

    return update


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
