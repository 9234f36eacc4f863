"""`compare`: tables, samples, pictures, JSON and CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from support.commands import SMALL, refusal, run, succeed


def test_compare_shows_tables_samples_plot_and_json(pair: list[str]) -> None:
    files = ["--plot", "curves.png", "--json", "all.json", "--csv", "all.csv"]
    result = run("compare", *pair, *files, "--sample-length", "20")
    assert result.exit_code == 0
    assert "warning" not in result.stderr
    document = json.loads(Path("all.json").read_text())
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["truncation", "cell", "parameters"]
    assert lines[1].split() == ["long-1", "1", "lstm", f"{document['rows'][0]['parameters']:,}"]
    assert lines[4].split() == ["trained", "for", "characters", "updates", "seconds", "char/s"]
    assert lines[5].split()[:3] == ["long-1", "4,000", "1,000"]
    found = document["pairs"][0]
    assert f"{found['difference']:+.3f}  text too short" in result.stdout
    assert [line for line in lines if line.startswith("--- ")] == ["--- long-1 (1)", "--- long-8 (8)"]
    swapped = succeed("compare", *pair[::-1], "--sample-length", "0")
    assert f"{-found['difference']:+.3f}  text too short" in swapped
    rows = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    assert [row["verdict"] for row in rows] == ["", "", *(each["verdict"] for each in document["pairs"])]
    assert [float(row["bpc"]) for row in rows] == [score["bpc"] for row in document["rows"] for score in row["scores"]]


def test_compare_says_before_the_work_what_it_cannot_sample_and_keeps_what_it_found_where_it_cannot_draw(
    pair: list[str],
) -> None:
    assert refusal("compare", *pair, "--prompt", "€").startswith("the vocabulary has no character '€'")
    assert refusal("compare", *pair, "--seed", f"{2**64}").startswith("--seed 18446744073709551616: must be from 0")
    for folder in pair:
        Path(folder, "metrics.jsonl").unlink()
    result = run("compare", *pair, "--plot", "curves.svg", "--json", "all.json")
    assert (result.exit_code, result.stderr.splitlines()[-1][:26]) == (1, "error: --plot curves.svg: ")
    assert f"{json.loads(Path('all.json').read_text())['rows'][1]['scores'][0]['bpc']:.4f}" in result.stdout
    assert refusal("compare", *pair, "--json", "all.json", "--csv", "./all.json") == (
        "--csv all.json: --json writes this file; give another"
    )


def test_compare_warns_of_other_differences() -> None:
    succeed("prepare", "text.txt")
    for name, hidden in (("a", "8"), ("b", "9")):
        succeed("train", "text.corpus", *SMALL[2:], "--hidden", hidden, "--chars", "400", "--run", name)
    result = run("compare", "a", "b", "--sample-length", "0")
    assert "warning: a and b have the same truncation and differ in: hidden 8 / 9\n" in result.stderr


def test_compare_refuses() -> None:
    assert refusal("compare", "nowhere") == (
        "checkpoints to compare: 1; give at least 2 run folders (such as runs/NAME) or .safetensors files, the one to"
        " compare the others with first"
    )
    assert refusal("compare", "nowhere", "elsewhere") == (
        "nowhere: no such checkpoint; give a run folder (such as runs/NAME) or a .safetensors file"
    )
