"""Whole runs: seconds of training until the validation loss is at or below a threshold.

    python tests/benchmarks/whole_run.py TEXT

TEXT is split 90 % / 10 %, as for published figures on tiny Shakespeare (the 1,115,394 bytes that nanoGPT and char-rnn
use). 1.886 nats is what nanoGPT's CPU configuration ends at. RUNS says with which options each threshold is tried.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# nats, seconds of training asked for, options of `rnnbptt train`
RUNS = (
    (1.886, 15, "--trunc 2..16 --hidden 256 --streams 32 --chars 500000 --dropout 0.1 --eval-every 50000"),
    (1.50, 150, "--eval-every 200000"),
)


def main() -> None:
    """Train, read the curve, print the table."""
    text = Path(sys.argv[1]).resolve()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for threshold, asked, options in RUNS:
            folder = f"{scratch}/{threshold}"
            command = [
                sys.executable,
                "-c",
                "from rnnbptt.cli.app import main; main()",
                "train",
                str(text),
                "--run",
                folder,
            ]
            command += [*options.split(), "--split", "0.9/0.1/0", "--sample-length", "0"]
            subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[2])
            lines = Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            curve = [record for record in map(json.loads, lines) if record["kind"] == "eval"]
            reached = next((f"{record['seconds']:.0f}" for record in curve if record["nats"] <= threshold), "never")
            best = min(record["nats"] for record in curve)
            end = curve[-1]["seconds"]
            rows.append(f"| {threshold} | {reached} | {asked} | {best:.4f} | {end:.0f} | `{options}` |")
    print(
        "| validation, nats | reached after, s | asked, s | best, nats | end, s | options |\n|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
