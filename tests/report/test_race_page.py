"""race_page.py: the report of a race in its folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from rnnbptt.report.page import Level, Sample
from rnnbptt.report.page_html import read_data
from rnnbptt.report.race_page import make_page, write_report
from rnnbptt.report.race_words import sentences, tables
from support.race_findings import a_result
from support.refusals import message_of

ALL = ["curves.png", "curves.svg", "figures.json", "race.html", "validations.csv"]


def test_all_of_it_lies_in_the_folder(tmp_path: Path) -> None:
    result, folder = a_result(), tmp_path / "new" / "report"
    write_report(result, folder, [Sample("1", "once")], [("commands", "a b")], {"rerun": {"x": 1}})
    assert sorted(path.name for path in folder.iterdir()) == ALL
    held = read_data((folder / "race.html").read_text("utf-8"))
    figures = json.loads((folder / "figures.json").read_text("utf-8"))
    assert held == {"rerun": {"x": 1}, "result": figures}
    assert [each["label"] for each in figures["contestants"]] == ["1", "64"]
    with (folder / "validations.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    runs = [(each.label, run) for each in result.contestants for run in each.runs]
    assert [(row["strategy"], int(row["seed"])) for row in rows] == [
        (label, run.seed) for label, run in runs for _ in run.bpc
    ]
    assert [float(row["bpc"]) for row in rows] == [bpc for _, run in runs for bpc in run.bpc]


def test_the_page_says_what_the_terminal_says_and_the_notes() -> None:
    result = a_result()
    page = make_page(result, [], [("settings", "lr 1")], {})
    assert page.title == "a: 1, 64"
    assert page.summary == [*sentences(result)]
    assert page.tables == tables(result)
    assert page.levels == [Level("order-0 entropy", 4.75)], "as curves are of the validation split"
    assert page.details == [("What to know", "note"), ("settings", "lr 1")]
    assert [(curve.strategy, curve.seed) for curve in page.curves] == [(k, s) for k in ("1", "64") for s in range(7)]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = message_of(write_report, a_result(), tmp_path / "file", [], [], {})
    assert found == f"--report {tmp_path / 'file'}: a file is there; give a folder"


def test_a_report_takes_the_place_of_a_report_alone(tmp_path: Path) -> None:
    for _ in range(2):
        write_report(a_result(), tmp_path / "report", [], [], {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "curves.png").write_text("mine")
    found = message_of(write_report, a_result(), tmp_path / "mine", [], [], {})
    assert found == f"--report {tmp_path / 'mine'}: holds curves.png and no report of a race; give another folder"
    assert (tmp_path / "mine" / "curves.png").read_text() == "mine"
