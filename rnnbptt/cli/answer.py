"""What `rnnbptt race` says at its end, in all its forms."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_doc import Doc

from rnnbptt.cli.options import STANDARD_OUTPUT, check_results
from rnnbptt.errors import UserError, check_option
from rnnbptt.inference.config import SampleConfig

if TYPE_CHECKING:
    from rnnbptt.study.race.claims import Claim
    from rnnbptt.study.race.config import RaceConfig
    from rnnbptt.study.race.folder import Race
    from rnnbptt.study.race.results import RaceResult

TEMPERATURE = 0.8  # of the samples


@dataclass(frozen=True)
class AnswerOptions:
    """What is wanted of it."""

    report: Annotated[Path | None, Doc("Folder for a page of the race, its pictures and figures.")] = None
    json: Annotated[Path | None, Doc("All figures, as JSON; -: instead of the tables.")] = None
    threshold: Annotated[list[float] | None, Doc("Say when each came down to so many bits; may be repeated.")] = None
    claim: Annotated[Path | None, Doc("Claims, as .toml, that are to be held or not: see README.")] = None
    prompt: Annotated[str, Doc("What the samples of the report go on from.")] = ""
    sample_length: Annotated[int, Doc("Characters of each of these samples.")] = 300

    def __post_init__(self) -> None:
        check_option(self.sample_length >= 1, "sample_length", self.sample_length, "must be at least 1")
        for bits in self.threshold or ():
            check_option(0 < bits < 64, "threshold", bits, "must be above 0 and below 64")

    def check(self, folder: Path) -> None:
        """UserError where its files could not be written, or would take the place of what the race needs."""
        check_results(None, json=self.json)
        if self.json and self.json.resolve() == (folder / "race.json").resolve():
            raise UserError(f"--json {self.json}: the race keeps what it is there; give another file")
        if self.report:
            from rnnbptt.report.race_page import check_report

            check_report(self.report)

    def check_prompt(self, race: "Race") -> None:
        """UserError where the models will not be able to read it."""
        from rnnbptt.inference.prompts import as_trained

        as_trained(SampleConfig(self.prompt), race.corpus.vocabulary, race.corpus.options)

    def claims(self, config: "RaceConfig") -> list["Claim"]:
        """Those to be judged; UserError where they are not of this race."""
        from rnnbptt.study.race.claims import load_claims

        return load_claims(self.claim, [arm.label for arm in config.contestants]) if self.claim else []


def give_answer(race: "Race", claims: list["Claim"], options: AnswerOptions, quiet: bool) -> None:
    """What the race has shown: files first, for standard output may be closed or full."""
    from rnnbptt.report.outlets import printing
    from rnnbptt.report.progress import counting_bar, say
    from rnnbptt.report.race_tables import show_race
    from rnnbptt.storage.files import json_text, write_json
    from rnnbptt.study.race.answering import answer

    with counting_bar("conclude", "run", quiet) as tell:
        result = answer(race, options.threshold or [], claims, tell)
    try:
        if options.report:
            _report(race, result, options, options.report)
        if options.json and options.json != STANDARD_OUTPUT:
            write_json(result, options.json)
    finally:
        if options.json == STANDARD_OUTPUT:
            printing(print)(json_text(result))
        else:
            show_race(result)
        say("note", result.notes)


def _report(race: "Race", result: "RaceResult", options: AnswerOptions, folder: Path) -> None:
    """The page of the race, its pictures and figures."""
    from rnnbptt.report.page import Sample
    from rnnbptt.report.race_details import details
    from rnnbptt.report.race_page import write_report
    from rnnbptt.storage.files import to_json
    from rnnbptt.study.race.answering import samples
    from rnnbptt.study.race.machine import versions_and_machine

    config = SampleConfig(options.prompt, options.sample_length, TEMPERATURE)
    written = [Sample(label, text) for label, text in samples(race, config)]
    rerun = {"rerun": to_json(race.to_file()), "machine": versions_and_machine()}
    write_report(result, folder, written, [*details(race)], rerun)
