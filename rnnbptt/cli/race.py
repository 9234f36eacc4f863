"""`rnnbptt race`."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnbptt.cli.answer import AnswerOptions, give_answer
from rnnbptt.cli.options import RUN, Text, as_typed, given
from rnnbptt.cli.replay import replay_run
from rnnbptt.cli.stopping import stop_by_signal
from rnnbptt.cli.train import Amounts, another, refuse_what_has_no_effect
from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.config import RaceConfig
from rnnbptt.study.race.elsewhere import Where
from rnnbptt.study.race.grid import SHARE
from rnnbptt.study.race.sharing import FinishAll
from rnnbptt.study.race.varied import one_spelling, parse_vary, spelled
from rnnbptt.training.config import UNITS, Budget, TrainConfig

if TYPE_CHECKING:
    from rnnbptt.study.race.checking import Prospect
    from rnnbptt.study.race.folder import Race


def race(
    *,
    ctx: typer.Context,
    texts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TEXT...", help="A prepared folder, or text files and folders of them, to be joined."),
    ] = None,
    trunc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="A truncation, as for train, and options of its own, as '1 cell=window:2'; give two or more. The first"
            " is the reference.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each, with as many seeds, from --seed on.")] = RaceConfig.seeds,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=A,B", help="Run each with each of these values of another option; may be repeated."),
    ] = None,
    lr: Annotated[
        list[float] | None,
        typer.Option(
            help="Learning rate after the warm-up. Given more than once: see --tune, these are what is tried.",
            show_default=f"{TrainConfig.lr:g}",
            rich_help_panel="Optimization",
        ),
    ] = None,
    tune: Annotated[
        int,
        typer.Option(
            metavar="N",
            help=f"First try N learning rates of each truncation, a factor of 2 apart, around --lr, on {SHARE:.0%} of"
            " the budget, and more while the best lies at the edge; 0: one for all.",
            rich_help_panel="Optimization",
        ),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the race.", show_default="races/TEXT")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RACE", help="Go on with that race, with its text and options.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors and the answer.")] = False,
    replay: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="Train one run of the race of this page again, and compare.")
    ] = None,
    run: Annotated[str, typer.Option(metavar="STRATEGY/SEED", help="Which run, as 1..64/0.")] = "",
    answer: Annotated[AnswerOptions, "Answer"],
    where: Annotated[Where, "Workers"],
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
    if replay:
        replay_run(replay, run, sources, quiet)
    elif resume:
        _race(ctx, None, sources, resume, where, answer, quiet)
    else:
        grid = tuple(sorted(lr)) if lr and len(lr) > 1 else ()
        rate = lr[0] if lr and not grid else training.lr
        common = replace(training, budget=budget or training.budget, lr=rate)
        varied, how = parse_vary(vary or ()), (precision, engine, tune, grid)
        wanted = RaceConfig(tuple(trunc or ()), seeds, varied, common, model, text, *how)

        from rnnbptt.study.race.folder import default_folder

        _race(ctx, wanted, sources, out or default_folder(sources), where, answer, quiet)


def _race(
    ctx: typer.Context,
    wanted: RaceConfig | None,
    sources: list[Path],
    folder: Path,
    where: Where,
    answer: AnswerOptions,
    quiet: bool,
) -> None:
    """From the first run to the answer; where no race is `wanted`, that in the folder goes on."""
    from rnnbptt.report.progress import say
    from rnnbptt.study.race.folder import racing_in, saved_race

    config = wanted or saved_race(folder).config
    if not wanted:
        _refuse_another(ctx, folder, config)
    answer.check(folder)
    claims = answer.claims(config)
    finish = where.finisher(folder)
    with racing_in(folder):
        race, prospect = _open(wanted, sources, folder, answer, quiet)
        if claims and not quiet:
            from rnnbptt.study.race.claims import remarks

            say("note", remarks(claims, config.seeds))
        _run(race, prospect, where, finish, quiet)
        if not quiet:
            say("note", [f"the race lies in {folder}"])
        if not race.trials:  # or these have failed, and there was no race
            try:
                give_answer(race, claims, answer, quiet)
            except UserError as error:
                _refuse_failures(race, where, f"; {error}")
                raise
        _refuse_failures(race, where)


def _refuse_failures(race: "Race", where: Where, more: str = "") -> None:
    """UserError where runs have failed, whatever the others have shown."""
    if failed := race.failed:
        advice = f"see above; what is mended goes on with --resume {shlex.quote(str(race.folder))}{where.options}"
        raise UserError(f"{len(failed)} of {len(race.cells)} {race.kind}s failed: {advice}{more}")


def _open(
    wanted: RaceConfig | None, sources: list[Path], folder: Path, answer: AnswerOptions, quiet: bool
) -> tuple["Race", "Prospect"]:
    """The race that is begun, or goes on where none is `wanted`, after all has been looked at."""
    from rnnbptt.report.beginnings import of_validations
    from rnnbptt.report.progress import counting_bar, say
    from rnnbptt.study.race.checking import alike, look_over
    from rnnbptt.study.race.folder import beginning, resume_race

    notes: list[str] = []
    if wanted:
        config, notes = alike(wanted)
        with counting_bar("prepare", "B", quiet) as tell, beginning(sources, folder, config, tell) as race:
            answer.check_prompt(race)
            prospect = look_over(race)
        notes += config.remarks()
    else:
        with counting_bar("check", "B", quiet) as tell:
            race = resume_race(folder, sources, tell)
        answer.check_prompt(race)
        prospect = look_over(race)
    if not quiet:
        say("note", [*notes, *prospect.notes, *of_validations(prospect.course)])
    return race, prospect


def _run(race: "Race", prospect: "Prospect", where: Where, finish: FinishAll | None, quiet: bool) -> None:
    """Finish its runs and show them; it ends with 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    from rnnbptt.report.progress import COMPILING, say, slow
    from rnnbptt.report.race_view import RaceView, say_stopped
    from rnnbptt.study.race.checking import compile_for
    from rnnbptt.study.race.running import run_race
    from rnnbptt.study.race.tuning import rounds

    try:
        with stop_by_signal() as stop:
            if race.open:
                with slow(COMPILING, quiet):
                    compile_for(race)
            for notes in rounds(race, stop.asked):
                if not quiet:
                    say("note", notes)
                with RaceView(race, prospect, quiet) as view:
                    for ended in run_race(race, prospect, where.workers, stop.asked, finish):
                        view.show(ended)
    except KeyboardInterrupt:  # the second one
        say_stopped(race, where.options, saved=False)
        raise
    if stop.signal:
        say_stopped(race, where.options, saved=True)
        raise typer.Exit(128 + stop.signal)


def refuse_what_has_no_effect_on_a_race(values: Mapping[str, Any]) -> None:
    """Misuse where options of `race` contradict each other, or one would change nothing."""
    if values["replay"] or values["run"]:
        _refuse_what_a_replay_does_not_take(values)
        return
    if values["address"] and values["on"] != "ray":
        raise typer.BadParameter(f"--address {values['address']}: of a Ray cluster; give it with --on ray")
    refuse_what_has_no_effect(values, "RACE")
    if not values["report"] and (named := given(values["ctx"], "prompt", "sample_length")):
        raise typer.BadParameter(f"{as_typed(named[0])} is for the samples of a report; give --report DIR, too")
    varied = parse_vary(values["vary"] or ())
    if named := given(values["ctx"], *varied):
        name = as_typed(named[0])
        raise typer.BadParameter(f"--vary {named[0]} takes the place of {name}; give one of them")


def _refuse_what_a_replay_does_not_take(values: Mapping[str, Any]) -> None:
    if not (values["replay"] and values["run"]):
        raise typer.BadParameter("--replay PAGE and --run STRATEGY/SEED go together; give both")
    others = set(values) - {"ctx", "texts", "replay", "run", "quiet"}
    if named := given(values["ctx"], *others):
        raise typer.BadParameter(f"{as_typed(named[0])}: the page has all that its run was made with; leave it out")


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
        return tuple(map(one_spelling, value)) == own
    if name == "vary":
        return spelled(parse_vary(value)) == own
    if name == "lr":
        return tuple(sorted(value)) == own
    return bool(value == own) or (name in ("precision", "engine") and value == "auto")


def _shown(value: Any) -> Any:
    """As it was given, where there may be several of it."""
    return (" ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else value
