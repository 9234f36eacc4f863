"""The report of a race: a page, pictures and tables in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnbptt.errors import UserError
from rnnbptt.report.page import Curve, Page, Sample, levels_of
from rnnbptt.report.page_html import write_page
from rnnbptt.report.race_picture import plot_race
from rnnbptt.report.race_words import sentences, tables
from rnnbptt.report.spreadsheet import write_validations
from rnnbptt.report.terminal import escaped
from rnnbptt.storage.files import to_json, write_json, writing
from rnnbptt.study.race.results import RaceResult

PAGE = "race.html"


def check_report(folder: Path) -> None:
    """UserError where a report cannot be in the folder, or would take the place of what is no report: to be asked
    before the work.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--report {folder}: a file is there; give a folder")
    if folder.is_dir() and not (folder / PAGE).is_file() and (first := min(folder.iterdir(), default=None)):
        raise UserError(f"--report {folder}: holds {escaped(first.name)} and no report of a race; give another folder")


def write_report(
    result: RaceResult,
    folder: Path,
    samples: Sequence[Sample],
    details: Sequence[tuple[str, str]],
    rerun: Mapping[str, Any],
) -> None:
    """PAGE, which needs no other file, curves.png, curves.svg, validations.csv and figures.json, in the folder.

    `rerun` is what it takes to run the race again; it goes into the page. UserError where one cannot be written.
    """
    page = make_page(result, samples, details, rerun)
    check_report(folder)
    with writing(folder, "; give another --report"):
        folder.mkdir(parents=True, exist_ok=True)
    write_page(page, folder / PAGE)
    for suffix in ("png", "svg"):
        plot_race(page, folder / f"curves.{suffix}")
    write_validations(page.curves, folder / "validations.csv")
    write_json(result, folder / "figures.json")


def make_page(
    result: RaceResult,
    samples: Sequence[Sample],
    details: Sequence[tuple[str, str]],
    rerun: Mapping[str, Any],
) -> Page:
    """What the page says."""
    curves = [
        Curve(contestant.label, run.seed, run.axes, run.bpc)
        for contestant in result.contestants
        for run in contestant.runs
    ]
    return Page(
        title=f"{result.text}: {', '.join(contestant.label for contestant in result.contestants)}",
        summary=[*sentences(result)],
        curves=curves,
        levels=levels_of(result.yardsticks),
        tables=tables(result),
        samples=samples,
        details=[("What to know", "\n".join(result.notes)), *details],
        data={**rerun, "result": to_json(result)},
    )
