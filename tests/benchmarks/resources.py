"""Start-up time, peak memory, and the speed of `prepare` and `sample`.

    python tests/benchmarks/resources.py [start] [memory] [prepare] [sample]

Each measurement is a fresh process. "memory" shows that the peak grows linearly with k and not with the text.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-c", "from rnnbptt.cli.app import main; main()")
MEGABYTE = 10**6


def run(*arguments: str, cwd: str | None = None) -> tuple[float, float]:
    """Seconds and peak memory in MB of one command, as its own process saw them."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    child = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, cwd=cwd, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(arguments)}: exit status {status}")
    return seconds, usage.ru_maxrss * 1024 / MEGABYTE


def start() -> None:
    """`rnnbptt --help`, without torch."""
    seconds = statistics.median(run("--help")[0] for _ in range(11))
    print(f"rnnbptt --help: {seconds:.2f} s (asked: below 0.3)")


def memory() -> None:
    """Peak memory of `train` for several k, and for texts of several lengths."""
    options = ("--quiet", "--hidden", "256", "--streams", "32", "--updates", "3", "--threads", "1", "--dropout", "0")
    with tempfile.TemporaryDirectory() as scratch:
        text = (ROOT / "data/shakespeare.txt").read_bytes()
        corpora = {}
        for copies in (1, 10, 100):
            Path(scratch, f"{copies}.txt").write_bytes(text * copies)
            run("prepare", f"{copies}.txt", "--split", "0.99/0.01/0", cwd=scratch)
            corpora[copies] = f"{copies}.corpus"
        for k in (1, 64, 128, 256, 512, 1024):
            peak = run("train", corpora[1], "--trunc", str(k), "--run", f"k{k}", *options, cwd=scratch)[1]
            print(f"k = {k:5}: peak {peak:,.0f} MB", flush=True)
        for copies, corpus in corpora.items():
            size = len(text) * copies / MEGABYTE
            peak = run("train", corpus, "--trunc", "64", "--run", f"n{copies}", *options, cwd=scratch)[1]
            print(f"text of {size:6.1f} MB: peak {peak:,.0f} MB", flush=True)


def prepare() -> None:
    """Speed on ASCII, peak memory on 400 MB of Chinese (characters drawn from the 3,000 most used, 3 bytes each)."""
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        ascii_text = (ROOT / "data/shakespeare.txt").read_bytes() * 170
        Path(scratch, "ascii.txt").write_bytes(ascii_text)
        seconds = statistics.median(run("prepare", "ascii.txt", "--force", cwd=scratch)[0] for _ in range(3))
        print(f"prepare, ASCII: {len(ascii_text) / MEGABYTE / seconds:.0f} MB/s (asked: 60)", flush=True)
        rng = np.random.default_rng(0)
        with Path(scratch, "chinese.txt").open("wb") as file:
            for _ in range(134):
                codes = 0x4E00 + rng.zipf(1.3, MEGABYTE) % 3000
                file.write(codes.astype("<u4").tobytes().decode("utf-32-le").encode("utf-8"))
        peak = run("prepare", "chinese.txt", cwd=scratch)[1]
        print(f"prepare, 400 MB of Chinese: peak {peak:.0f} MB (asked: below 300)")


def sample() -> None:
    """Characters a second of an LSTM of 512, and of 128, on one thread, one sample and 64."""
    import torch

    from rnnbptt.bptt.window import create_network
    from rnnbptt.inference.config import SampleConfig
    from rnnbptt.inference.sampling import sample as sample_one
    from rnnbptt.inference.sampling import sample_many
    from rnnbptt.model.config import ModelConfig
    from rnnbptt.text.vocabulary import Vocabulary

    torch.set_num_threads(1)
    symbols = tuple(sorted({chr(code) for code in range(32, 96)} | {"\n"}))
    vocabulary = Vocabulary("char", symbols, None)
    models = {hidden: create_network(ModelConfig(len(symbols), "lstm", hidden)) for hidden in (128, 512)}

    def speed(hidden: int, count: int, length: int) -> float:
        model = models[hidden]
        config = SampleConfig(length=length, count=count)
        started = time.perf_counter()
        texts = (
            ["".join(sample_one(model, vocabulary, config))] if count == 1 else sample_many(model, vocabulary, config)
        )
        return sum(map(len, texts)) / (time.perf_counter() - started)

    cases = ((512, 1, 3_000, 5_000), (512, 1, 20_000, 12_000), (512, 64, 1_000, 50_000), (128, 1, 20_000, 90_000))
    for hidden, count, length, asked in cases:
        speed(hidden, count, length)  # a kernel is loaded
        measured = statistics.median(speed(hidden, count, length) for _ in range(5))
        print(f"sample, {hidden}, {count} of {length:,}: {measured:,.0f} characters/s (asked: {asked:,})", flush=True)


def main(names: Sequence[str]) -> None:
    """Run the measurements named, or all."""
    parts = {"start": start, "memory": memory, "prepare": prepare, "sample": sample}
    for name in names or parts:
        parts[name]()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
