"""`probe`: what it says, tables, pictures and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from support.commands import SMALL, misuse, refusal, run, succeed


def test_probe_shows_tables_plot_json_and_check(mine: str) -> None:
    arguments = ["probe", mine, "--depth", "16", "--streams", "4", "--threads", "1"]
    more = [word for spec in ("4/8", "16/32", "rtrl:4") for word in ("--trunc", spec)]
    result = run(*arguments, *more, "--full", "--check", "--plot", "p.png", "--json", "p.json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == (
        "note: the gradient of depth 16 on 4 streams keeps 0 MiB and influences 3 MiB;"
        " a smaller --depth or fewer --streams take less"
    )
    assert all(line.startswith("note: ") for line in result.stderr.splitlines())
    document = json.loads(Path("p.json").read_text())
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    lines = [line.split() for line in result.stdout.splitlines()]
    truncs = ["1", "2", "4", "8", "16", "snap", "snap:1", "snap:8", "4/8", "16/32", "rtrl:4"]
    assert [found["trunc"] for found in document["gradients"]] == truncs
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert [line[0] for line in lines if len(line) == 3 and line[0] in truncs and "." in line[1]] == 2 * truncs
    assert lines.count(["16/32", "1.0000", "0.0000"]) == 2
    assert ["cosine", *truncs[:8]] in lines
    assert ["relative", "bias", *truncs[:8]] in lines
    assert [str(document["contexts"][-1]["characters"]), f"{document['contexts'][-1]['bpc']:.4f}"] in lines
    assert [
        "layer",
        "0",
        *(f"{document['staleness'][0][of]:.2%}" for of in ("median", "largest", "unsettled")),
    ] in lines
    assert len(document["checks"]) == 6
    for check in document["checks"]:
        assert check["autograd_error"] < 1e-12
        assert check["finite_difference_error"] < 1e-5
        assert f"{check['written_out']:.12f}" in result.stdout
    assert document["conclusion"]["nearest"] == 16


def test_probe_says_what_it_amounts_to(mine: str) -> None:
    arguments = ["probe", mine, "--depth", "16", "--streams", "4", "--threads", "1"]
    shown = succeed(*arguments, "--json", "p.json")
    document = json.loads(Path("p.json").read_text())
    head, table, words = shown.split("\n\n")
    assert head.splitlines()[0] == "mine/best.safetensors (lstm, trunc 16..64)"
    assert [line.split()[0] for line in table.splitlines()[1:]] == [found["trunc"] for found in document["gradients"]]
    found, said = document["conclusion"], " ".join(words.split())
    assert len(document["fading"]["norms"]) == 17, "all figures are in the file"
    assert said.startswith("No truncation K up to 16 brings the gradient within 5 % of the full one: 16 comes nearest")
    assert "The model uses " in said
    assert f" {found['memory']} character" in said
    assert "The state that training carries along is in order" in said
    assert max(map(len, shown.splitlines())) <= 80


def test_probe_of_a_text_of_one_symbol_says_that_there_is_nothing_to_learn() -> None:
    Path("same.txt").write_text("a" * 3000, encoding="utf-8")
    succeed("train", "same.txt", *SMALL, "--chars", "400", "--run", "same")
    for full in ([], ["--full"]):
        shown = succeed("probe", "same", "--depth", "16", "--streams", "4", "--threads", "1", *full)
        assert "There is no gradient: this text leaves nothing to predict" in shown
        assert "nan" not in shown


def test_probe_refuses(mine: str) -> None:
    assert refusal("probe", "nowhere") == ("nowhere: no such run or checkpoint; rnnbptt info lists those in runs/")
    assert refusal("probe", "nowhere", "--plot", "p.pdf") == (
        "--plot p.pdf: cannot tell the format from '.pdf'; give a name in .png or .svg"
    )
    for command in ("probe", "compare"):
        for option in ("--json", "--plot", *(["--csv"] if command == "compare" else [])):
            assert refusal(command, "nowhere", option, "none/result.png") == (
                "cannot write none/result.png: No such file or directory; give a file that can be written"
            )
        assert refusal(command, "nowhere", "--json", ".") == (
            "cannot write .: Is a directory; give a file that can be written"
        )
    assert refusal("probe", "nowhere", "--trunc", "0") == (
        "--trunc 0: at least 1 character is read for an update; give 1 or more"
    )
    assert refusal("probe", mine) == (
        "--depth 512: 16 streams of twice as many characters take 16,385, and the held-out text has 300; "
        "give a smaller --depth or fewer --streams"
    )
    assert "Invalid value for '--depth'" in misuse("probe", mine, "--depth", "1")
