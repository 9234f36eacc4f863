"""`compare`: tables, samples, pictures, JSON and CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from support.commands import SMALL, misuse, refusal, run, succeed
from support.texts import prose


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


def test_json_may_go_to_standard_output(pair: list[str]) -> None:
    arguments = ["compare", *pair, "--sample-length", "5"]
    succeed(*arguments, "--json", "all.json")
    assert json.loads(succeed(*arguments, "--json", "-")) == json.loads(Path("all.json").read_text())
    assert not Path("-").exists()


def test_compare_leaves_out_what_not_all_can_read(pair: list[str]) -> None:
    Path("other.txt").write_text(prose(600, seed=3) + "é", encoding="utf-8")
    arguments = ["compare", *pair, "--text", "other.txt", "--sample-length", "0"]
    assert refusal(*arguments) == (
        "other.txt: long-1 cannot read 'é' (U+00E9), character 601 of the text, which its vocabulary lacks; "
        "give --skip-unknown to leave such characters out, or leave that checkpoint out"
    )
    result = run(*arguments, "--skip-unknown")
    assert (result.exit_code, "text: 599 chars" in result.stdout) == (0, True)
    left_out = "note: Left out, as not all checkpoints have symbols for them: 1 of the 601 characters of the text.\n"
    assert left_out in result.stderr
    assert "--skip-unknown leaves characters out of a text" in misuse("compare", *pair, "--skip-unknown")


def test_compare_reads_a_prompt_as_each_text_was() -> None:
    Path("rare.txt").write_text(prose(600) + "é" * 5 + "Ω", encoding="utf-8")
    for name, options in (("rare", ["--nfc", "--min-count", "2"]), ("bytes", ["--unit", "byte"])):
        succeed("train", "rare.txt", *options, *SMALL, "--chars", "200", "--run", name)
    arguments = ["compare", "rare", "bytes", "--text", "rare.txt", "--skip-unknown", "--sample-length", "5"]
    result = run(*arguments, "--prompt", "aΩé")
    assert result.exit_code == 0, result.output
    assert "\n--- rare (16..64)\naΩé" in result.stdout
    assert "\n--- bytes (16..64)\naΩé" in result.stdout
    assert result.stderr.splitlines()[-1] == (
        "note: rare: 1 character of the prompt is read as the unknown symbol of the vocabulary: 'Ω'."
    )
    assert refusal(*arguments, "--prompt", "e\u0301").startswith("the vocabulary has no byte 0xCC")
    assert refusal(*arguments, "--prompt", "\udcff") == (
        r"--prompt '\udcff': the byte 0xFF (character 1) is not valid utf-8, the encoding of this locale; "
        "give it in UTF-8"
    )


def test_compare_shows_the_samples_of_bytes_as_text() -> None:
    Path("odd").write_bytes(b"a\xff" * 300)
    succeed("train", "odd", "--unit", "byte", *SMALL, "--chars", "200", "--run", "bytes")
    shown = run("compare", "bytes", "bytes", "--sample-length", "20", "--prompt", "\udcff").stdout_bytes.decode()
    assert shown.count("(16..64)\n\ufffd") == 2
    assert {*shown.splitlines()[-1]} == {"a", "\ufffd"}


def test_compare_refuses() -> None:
    assert refusal("compare", "nowhere") == (
        "checkpoints to compare: 1; give at least 2 run folders (such as runs/NAME) or .safetensors files, the one to"
        " compare the others with first"
    )
    assert refusal("compare", "nowhere", "elsewhere") == (
        "nowhere: no such run or checkpoint; rnnbptt info lists those in runs/"
    )
