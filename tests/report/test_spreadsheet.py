"""spreadsheet.py: what another program reads of a comparison and of a race."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from rnnbptt.report.page import Curve
from rnnbptt.report.spreadsheet import write_csv, write_validations
from support.findings import a_comparison


def test_a_row_for_each_checkpoint_and_text(tmp_path: Path) -> None:
    comparison = a_comparison('odd, "name"')
    write_csv(comparison, path := tmp_path / "all.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["split"]) for row in rows] == [
        (name, split) for name in ('odd, "name"', "second", "third") for split in ("valid", "test")
    ]
    first, second = rows[1], rows[3]
    assert list(second.values()) == [
        *("second", "runs/second/best.safetensors", "16..64@plateau", "window:16", "12345678"),
        *("1000000000", "1000000000", "123456.7"),
        *("test", "5000000", "2.25", str(2**2.25)),
        *("-0.25", "-0.26", "-0.24", "0.975", "second in words"),
    ]
    assert ",".join(second) == (
        "name,path,trunc,cell,parameters,chars,updates,seconds,split,characters,bpc,perplexity,"
        "difference,low,high,level,verdict"
    )
    assert {first[name] for name in ("difference", "low", "high", "level", "verdict")} == {""}


def test_what_there_is_no_interval_for_is_empty(tmp_path: Path) -> None:
    comparison = a_comparison(half=None)
    write_csv(replace(comparison, rows=comparison.rows[1:2]), path := tmp_path / "all.csv")
    assert path.read_text().splitlines()[1].endswith(",-0.25,,,,too short")


def test_a_row_for_each_validation(tmp_path: Path) -> None:
    curves = [
        Curve('a, "b"', 3, {"chars": [10, 20], "updates": [1, 2], "seconds": [0.5, 1], "flops": [1e9, 2e9]}, [3, 2.5]),
        Curve("c", 0, {"chars": [10]}, [float("nan")]),
    ]
    write_validations(curves, path := tmp_path / "race.csv")
    assert path.read_text(encoding="utf-8").splitlines() == [
        "strategy,seed,chars,updates,seconds,flops,bpc",
        '"a, ""b""",3,10,1,0.5,1000000000.0,3',
        '"a, ""b""",3,20,2,1,2000000000.0,2.5',
        "c,0,10,,,,nan",
    ]
