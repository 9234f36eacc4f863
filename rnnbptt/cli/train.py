"""`rnnbptt train`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_doc import Doc

from rnnbptt.cli.options import RUN, Device, OwnTexts, Text, Threads, as_typed, given, refuse_two_splits
from rnnbptt.cli.stopping import stop_by_signal
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.options import HeldOut, TextOptions
from rnnbptt.training.config import UNITS, Budget, TrainConfig
from rnnbptt.truncation.specs import parse_truncation

if TYPE_CHECKING:
    from rnnbptt.training.document import Document
    from rnnbptt.training.loop import Trainer
    from rnnbptt.training.records import Record
    from rnnbptt.training.starting import RunConfig

SAMPLES = 5  # of a run, shown on the way


@dataclass(frozen=True)
class Amounts:
    """The budget in each of its units, of which at most one is given."""

    epochs: Annotated[float | None, Doc("Passes over the training text.")] = None
    chars: Annotated[int | None, Doc("Characters, over all streams.")] = None
    updates: Annotated[int | None, Doc("Optimizer steps.")] = None
    minutes: Annotated[float | None, Doc("Minutes of training.")] = None

    def budget(self) -> Budget | None:
        """The one that was given, if any."""
        given = ((unit, getattr(self, unit)) for unit in UNITS)
        return next((Budget(unit, amount) for unit, amount in given if amount is not None), None)


def train(
    *,
    ctx: typer.Context,
    texts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TEXT...", help="A prepared folder, or text files and folders of them, to be joined."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run.", show_default="runs/TEXT-SPEC")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with that run, with its text and options; the budget may be another."),
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Begin with the weights of that run or checkpoint.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the run that is in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
    amounts: Annotated[Amounts, "Budget: one of"],
    model: Annotated[ModelConfig, "Model"],
    training: Annotated[TrainConfig, "Optimization"],
    sample_length: Annotated[
        int, typer.Option(help="Characters of the samples that are shown, 5 a run.", rich_help_panel=RUN, min=0)
    ] = 200,
    precision: Annotated[
        str,
        typer.Option(help="auto, float32, bfloat16 (operands of matrix products) or float64.", rich_help_panel=RUN),
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(help="auto, torch, or compiled: many times as fast at few streams.", rich_help_panel=RUN),
    ] = "auto",
    threads: Threads = 0,
    device: Device = "cpu",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the curves for TensorBoard, too.", rich_help_panel=RUN)
    ] = False,
    text: Text,
    held_out: OwnTexts,
) -> None:
    """Train a model on a text with a chosen truncation. Ctrl-C saves and stops; --resume goes on."""
    from rnnbptt.report import tensorboard as curves
    from rnnbptt.training.starting import RunConfig, default_folder

    if tensorboard:
        curves.check_installed()
    sources, config = texts or [], replace(training, budget=amounts.budget() or training.budget)
    folder = resume or run or default_folder(sources, training.trunc)
    how = (precision, engine, device, threads, force, init_from, held_out)
    wanted = RunConfig(sources, folder, config, model, text, *how)
    trainer = _resume(ctx, wanted, amounts.budget(), quiet) if resume else _begin(ctx, wanted, quiet)
    with curves.writing(folder if tensorboard else None, trainer.standing.axes.chars) as write:
        _follow(trainer, folder, 0 if quiet else sample_length, quiet, write)


def _begin(ctx: typer.Context, wanted: "RunConfig", quiet: bool) -> "Trainer":
    """A new run; one that begins with the weights of another has its shape, unless that is said."""
    from rnnbptt.report.progress import counting_bar
    from rnnbptt.training import starting
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint
    from rnnbptt.training.initial import of_shape

    if wanted.initial:
        path = find_checkpoint(wanted.initial)
        chosen = {name: getattr(wanted.model, name) for name in given(ctx, *vars(wanted.model))}
        wanted = replace(wanted, initial=path, model=replace(of_shape(wanted.model, load_checkpoint(path)), **chosen))
    with counting_bar("prepare", "B", quiet) as tell:
        return starting.begin(wanted, tell)


def _resume(ctx: typer.Context, wanted: "RunConfig", budget: Budget | None, quiet: bool) -> "Trainer":
    """A run that goes on; what is said of it again must be true of it."""
    from rnnbptt.report.progress import counting_bar
    from rnnbptt.training import starting

    _refuse_another(ctx, wanted.folder, starting.saved_run(wanted.folder).document)
    device = wanted.device if given(ctx, "device") else None
    threads = wanted.threads if given(ctx, "threads") else None
    engine = wanted.engine if given(ctx, "engine") else None
    with counting_bar("check", "B", quiet) as tell:
        how = (device, threads, tell, engine, wanted.held_out)
        return starting.resume(wanted.folder, wanted.sources, budget, *how)


def _follow(
    trainer: "Trainer", folder: Path, sample_length: int, quiet: bool, write: "Callable[[Record], None]"
) -> None:
    """Run the trainer and show what it does; it ends with 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    from rnnbptt.report import beginnings
    from rnnbptt.report.progress import COMPILING, TrainingView, slow
    from rnnbptt.report.tables import show_run
    from rnnbptt.training.folder import RunFolder

    if not quiet:
        beginnings.say_beginning(trainer, folder)
    shown = int(SAMPLES * trainer.spent)
    try:
        with stop_by_signal() as stop:
            with slow(COMPILING, quiet):
                trainer.engine.prepare()
            with TrainingView(trainer.spent, quiet) as view:
                for record in RunFolder(folder).follow(trainer, stop.asked):
                    write(record)
                    due = record["kind"] == "eval" and int(SAMPLES * trainer.spent) > shown
                    shown = int(SAMPLES * trainer.spent) if due else shown
                    view.show(record, trainer.spent, _sample(trainer, sample_length) if due and sample_length else "")
    except KeyboardInterrupt:  # the second one
        beginnings.say_interrupted(folder)
        raise
    if not quiet:
        if trainer.standing.validations.nats:
            show_run(folder, trainer)
        beginnings.say_end(trainer, folder)
    if stop.signal:
        raise typer.Exit(128 + stop.signal)


def _sample(trainer: "Trainer", length: int) -> str:
    """So many characters by the model as it is now."""
    from rnnbptt.inference.config import SampleConfig
    from rnnbptt.inference.sampling import sample

    config = SampleConfig(length=length, temperature=0.8, seed=trainer.standing.axes.updates)
    return "".join(sample(trainer.model, trainer.corpus.vocabulary, config))


def refuse_what_has_no_effect(values: Mapping[str, Any], resumed: str = "RUN") -> None:
    """Misuse where options of `train` contradict each other, or one would change nothing; `resumed` is what --resume
    takes.
    """
    ctx: typer.Context = values["ctx"]
    amounts = [unit for unit in UNITS if values[unit] is not None]
    if len(amounts) > 1:
        raise typer.BadParameter(f"--{' and --'.join(amounts)} are both budgets; give one of --{', --'.join(UNITS)}")
    refuse_two_splits(ctx)
    if values["resume"]:
        _refuse_for_prepared(ctx, values["texts"], HeldOut)
        return
    if not values["texts"]:
        raise typer.BadParameter(f"no text was given; give one, such as data/shakespeare.txt, or --resume {resumed}")
    _refuse_for_prepared(ctx, values["texts"], TextOptions, HeldOut)
    if values["optimizer"] == "sgd" and (named := given(ctx, "beta2", "beta2_chars")):
        raise typer.BadParameter(f"{as_typed(named[0])} is for adam and rmsprop: sgd has no such mean")
    if len(given(ctx, "beta2", "beta2_chars")) == 2:
        raise typer.BadParameter("--beta2-chars takes the place of --beta2; give one of them")


def _refuse_for_prepared(ctx: typer.Context, texts: Sequence[Path] | None, *kinds: Any) -> None:
    """Misuse where the text is prepared and an option, a field of one of these dataclasses, is for one that is not."""
    from rnnbptt.text.sources import is_prepared

    names = [field.name for kind in kinds for field in fields(kind)]
    if texts and is_prepared(texts[0]) and (named := given(ctx, *names)):
        raise typer.BadParameter(f"{as_typed(named[0])} is for a text file: {texts[0]} is prepared already")


def _refuse_another(ctx: typer.Context, folder: Path, document: "Document") -> None:
    """Misuse for the first option, as they were given, that is not true of the run in the folder."""
    from rnnbptt.training.document import by_name

    own = by_name(document.corpus.options) | document.settings()
    for name in given(ctx, *ctx.params):
        value = ctx.params[name]
        if name in ("force", "init_from"):
            raise typer.BadParameter(f"{as_typed(name)} begins a run, and --resume goes on with one; give one of them")
        if name == "run" and value.resolve() != folder.resolve():
            raise typer.BadParameter(f"--run {value}: --resume goes on in {folder}; leave one of them out")
        if name in own and not _agree(name, value, own[name]):
            raise another(name, value, "run", own[name])


def another(name: str, value: object, what: str, own: object) -> typer.BadParameter:
    """Misuse: an option that says something else than the run or race has that is to go on."""
    return typer.BadParameter(f"{as_typed(name)} {value}: the {what} has {own}, and goes on so; leave it out")


def _agree(name: str, value: Any, own: Any) -> bool:
    """Whether an option says what a run has."""
    if name == "trunc":
        return parse_truncation(value).spec == parse_truncation(own).spec
    return value == own or (name, value) == ("precision", "auto")
