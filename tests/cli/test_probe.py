"""`probe`: tables, pictures and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from support.commands import misuse, refusal, run, succeed


def test_probe_shows_tables_plot_json_and_check(mine: str) -> None:
    arguments = ["probe", mine, "--depth", "16", "--streams", "4", "--threads", "1"]
    more = [word for spec in ("4/8", "16/32", "rtrl:4") for word in ("--trunc", spec)]
    result = run(*arguments, *more, "--check", "--plot", "p.png", "--json", "p.json")
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
    assert [line[0] for line in lines if len(line) == 5 and line[0] in truncs] == truncs
    assert ["16/32", "1.0000", "0.0000", "1.0000", "0.0000"] in lines
    assert ["cosine", *truncs] in lines
    assert ["relative", "bias", *truncs] in lines
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
        assert f"{check['written_out']:.15f}" in result.stdout
    assert "autograd" not in succeed(*arguments)


def test_probe_refuses(mine: str) -> None:
    assert refusal("probe", "nowhere") == (
        "nowhere: no such checkpoint; give a run folder (such as runs/NAME) or a .safetensors file"
    )
    assert refusal("probe", "nowhere", "--plot", "p.pdf") == (
        "--plot p.pdf: cannot tell the format from '.pdf'; give a name in .png or .svg"
    )
    for command in ("probe", "compare"):
        for option in ("--json", "--plot"):
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
