"""A whole run: seconds of training until the validation loss is at or below each threshold.

    python tests/benchmarks/whole_run.py TEXT [options of `rnnbptt train`]

TEXT is split 90 % / 10 %, as published figures on tiny Shakespeare (the 1,115,394 bytes that nanoGPT and char-rnn use)
are. Without options, those of OPTIONS below are taken. 1.886 nats is what nanoGPT's CPU configuration ends at.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ASKED = ((1.886, 15), (1.50, 150))  # nats, seconds of training
OPTIONS = "--hidden 384 --trunc 16..64 --epochs 4.5 --dropout 0.35"


def main() -> None:
    """Train, then read the curve."""
    text, *options = sys.argv[1:]
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", "from rnnbptt.cli import main; main()", "train", str(Path(text).resolve())]
        command += ["--run", scratch + "/run", "--split", "0.9/0.1/0", "--sample-length", "0", "--eval-every", "50000"]
        subprocess.run([*command, *(options or OPTIONS.split())], check=True, cwd=root)
        lines = Path(scratch, "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    curve = [record for record in map(json.loads, lines) if record["kind"] == "eval"]
    print("| validation, nats | reached after, s | asked, s |\n|---|---|---|")
    for threshold, seconds in ASKED:
        reached = next((f"{record['seconds']:.0f}" for record in curve if record["nats"] <= threshold), "never")
        print(f"| {threshold} | {reached} | {seconds} |")
    best = min(curve, key=lambda record: record["nats"])
    print(f"| best: {best['nats']:.4f} | {best['seconds']:.0f} | |")


if __name__ == "__main__":
    main()
