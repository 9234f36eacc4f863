"""`rnnbptt race`."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbptt.cli.options import RUN, STANDARD_OUTPUT, JsonFile, Text, as_typed, check_results, given
from rnnbptt.cli.stopping import stop_by_signal
from rnnbptt.cli.train import Amounts, another, refuse_what_has_no_effect
from rnnbptt.errors import UserError
from rnnbptt.inference.config import SampleConfig
from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.config import RaceConfig, parse_vary, spelled
from rnnbptt.training.config import UNITS, Budget, TrainConfig
from rnnbptt.truncation.specs import parse_truncation

TEMPERATURE = 0.8  # of samples

if TYPE_CHECKING:
    from rnnbptt.study.race.checking import Prospect
    from rnnbptt.study.race.claims import Claim
    from rnnbptt.study.race.folder import Race
    from rnnbptt.study.race.results import RaceResult


def race(
    *,
    ctx: typer.Context,
    texts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TEXT...", help="A prepared folder, or text files and folders of them, to be joined."),
    ] = None,
    trunc: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="A truncation, as for train; give two or more. The first is the reference."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each, with as many seeds, from --seed on.")] = RaceConfig.seeds,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=A,B", help="Run each with each of these values of another option; may be repeated."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Runs at a time, of one thread each; 0: one a core.", min=0, max=4096)
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the race.", show_default="races/TEXT")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RACE", help="Go on with that race, with its text and options.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors and the answer.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a page of the race, its pictures and figures.")
    ] = None,
    json: JsonFile = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            metavar="BPC", help="Say when each came down to so many bits per character; may be repeated.", min=0
        ),
    ] = None,
    claim: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Claims, as .toml, to be held or not: see README.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What the samples of the report go on from.")] = "",
    sample_length: Annotated[int, typer.Option(min=1, help="Characters of each of these samples.")] = 300,
    amounts: Annotated[Amounts, "Budget of each run: one of"],
    model: Annotated[ModelConfig, "Model"],
    training: Annotated[TrainConfig, "Optimization"],
    precision: Annotated[
        str,
        typer.Option(help="auto, float32, bfloat16 (operands of matrix products) or float64.", rich_help_panel=RUN),
    ] = "auto",
    engine: Annotated[
        str, typer.Option(help="auto, torch, or compiled; one for all runs.", rich_help_panel=RUN)
    ] = "auto",
    text: Text,
) -> None:
    """Race truncations on a text, with several seeds of each. Ctrl-C saves and stops; --resume goes on."""
    sources, budget = texts or [], amounts.budget()
    wanted = None
    if not resume:
        common = replace(training, budget=budget or training.budget)
        wanted = RaceConfig(tuple(trunc or ()), seeds, parse_vary(vary or ()), common, model, text, precision, engine)

    from rnnbptt.report.progress import say
    from rnnbptt.study.race.claims import load_claims
    from rnnbptt.study.race.folder import default_folder, racing_in, saved_race

    if resume:
        _refuse_another(ctx, resume, saved_race(resume).config)
    check_results(None, json=json)
    raced = wanted or saved_race(resume or Path()).config
    claims = load_claims(claim, [arm.label for arm in raced.contestants]) if claim else []
    folder = resume or out or default_folder(sources)
    with racing_in(folder):
        held, prospect = _open(wanted, sources, folder, quiet)
        _run(held, prospect, workers or _cores(), quiet)
        if not quiet:
            say("note", [f"the race lies in {folder}"])
        _answer(held, threshold or [], claims, SampleConfig(prompt, sample_length, TEMPERATURE), report, json, quiet)
    if failed := held.failed:
        advice = f"see above; what is mended goes on with --resume {shlex.quote(str(folder))}"
        raise UserError(f"{len(failed)} of {len(held.config.cells)} runs failed: {advice}")


def _open(wanted: RaceConfig | None, sources: list[Path], folder: Path, quiet: bool) -> tuple["Race", "Prospect"]:
    """The race that is begun, or goes on where none is `wanted`, after all has been looked at."""
    from rnnbptt.report.beginnings import of_validations
    from rnnbptt.report.progress import counting_bar, say
    from rnnbptt.study.race.checking import alike, look_over
    from rnnbptt.study.race.folder import beginning, resume_race

    notes: list[str] = []
    if wanted:
        config, notes = alike(wanted)
        with counting_bar("prepare", "B", quiet) as tell, beginning(sources, folder, config, tell) as race:
            prospect = look_over(race)
        notes += config.remarks()
    else:
        with counting_bar("check", "B", quiet) as tell:
            race = resume_race(folder, sources, tell)
        prospect = look_over(race)
    if not quiet:
        say("note", [*notes, *prospect.notes, *of_validations(prospect.course)])
    return race, prospect


def _run(race: "Race", prospect: "Prospect", workers: int, quiet: bool) -> None:
    """Finish its runs and show them; it ends with 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    from rnnbptt.report.progress import slow
    from rnnbptt.report.race_view import RaceView, say_stopped
    from rnnbptt.study.race.checking import compile_for
    from rnnbptt.study.race.running import run_race

    try:
        with stop_by_signal() as stop:
            if race.open:
                with slow("compiling, once: it takes some 10 to 20 seconds", quiet):
                    compile_for(race)
            with RaceView(race, prospect, quiet) as view:
                for ended in run_race(race, prospect, workers, stop.asked):
                    view.show(ended)
    except KeyboardInterrupt:  # the second one
        say_stopped(race, saved=False)
        raise
    if stop.signal:
        say_stopped(race, saved=True)
        raise typer.Exit(128 + stop.signal)


def _answer(
    race: "Race",
    thresholds: list[float],
    claims: list["Claim"],
    config: SampleConfig,
    report: Path | None,
    json: Path | None,
    quiet: bool,
) -> None:
    """What the race has shown: files first, for standard output may be closed or full."""
    from rnnbptt.report.outlets import printing
    from rnnbptt.report.progress import counting_bar, say
    from rnnbptt.report.race_tables import show_race
    from rnnbptt.storage.files import json_text, write_json
    from rnnbptt.study.race.answering import answer

    with counting_bar("conclude", "run", quiet) as tell:
        result = answer(race, thresholds, claims, tell)
    if report:
        _report(race, result, config, report)
    if json and json != STANDARD_OUTPUT:
        write_json(result, json)
    if json == STANDARD_OUTPUT:
        printing(print)(json_text(result))
    else:
        show_race(result)
    say("note", result.notes)


def _report(race: "Race", result: "RaceResult", config: SampleConfig, folder: Path) -> None:
    """The page of the race, its pictures and figures."""
    from rnnbptt.report.page import Sample
    from rnnbptt.report.race_details import details
    from rnnbptt.report.race_page import write_report
    from rnnbptt.storage.files import to_json
    from rnnbptt.study.race.answering import samples

    written = [Sample(label, text) for label, text in samples(race, config)]
    write_report(result, folder, written, [*details(race)], to_json(race.to_file()))


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_what_has_no_effect_on_a_race(values: Mapping[str, Any]) -> None:
    """Misuse where options of `race` contradict each other, or one would change nothing."""
    refuse_what_has_no_effect(values, "RACE")
    varied = parse_vary(values["vary"] or ())
    if named := given(values["ctx"], *varied):
        name = as_typed(named[0])
        raise typer.BadParameter(f"--vary {named[0]} takes the place of {name}; give one of them")


def _refuse_another(ctx: typer.Context, folder: Path, config: RaceConfig) -> None:
    """Misuse for the first option, as they were given, that is not true of the race in the folder."""
    own = config.settings()
    for name in given(ctx, *ctx.params):
        value = ctx.params[name]
        if name == "out" and value.resolve() != folder.resolve():
            raise typer.BadParameter(f"--out {value}: --resume goes on in {folder}; leave one of them out")
        if name in UNITS and Budget(name, value) != config.train.budget:
            raise another(name, f"{value:.15g}", "race", config.train.budget)
        if name in own and not _agree(name, value, own[name]):
            raise another(name, _shown(value), "race", _shown(own[name]))


def _agree(name: str, value: Any, own: object) -> bool:
    """Whether an option says what a race has; auto, that it chooses."""
    if name == "trunc":
        return tuple(parse_truncation(trunc).spec for trunc in value) == own
    if name == "vary":
        return spelled(parse_vary(value)) == own
    return bool(value == own) or (name in ("precision", "engine") and value == "auto")


def _shown(value: Any) -> Any:
    """As it was given, where there may be several of it."""
    return (" ".join(value) or "none") if isinstance(value, list | tuple) else value
