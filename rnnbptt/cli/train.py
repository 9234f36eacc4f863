"""`rnnbptt train`."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_doc import Doc

from rnnbptt.cli.options import RUN, Device, Text, Threads
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.options import TextOptions
from rnnbptt.training.config import UNITS, Budget, TrainConfig

if TYPE_CHECKING:
    from rnnbptt.training.loop import Trainer

# What a resumed run may be told: where it is, how long it lasts, and what changes none of its results.
BESIDE_RESUME = {"ctx", "corpus", "run", "resume", "quiet", "sample_length", "threads", "device", *UNITS}

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    corpus: Annotated[Path, typer.Argument(help="A prepared folder, or a text file.")],
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run.", show_default="runs/TEXT-SPEC")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run, with its own options.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in --run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
    amounts: Annotated[Amounts, "Budget: one of"],
    model: Annotated[ModelConfig, "Model"],
    training: Annotated[TrainConfig, "Optimization"],
    sample_length: Annotated[
        int, typer.Option(help="Characters of the sample shown after each validation.", rich_help_panel=RUN, min=0)
    ] = 200,
    precision: Annotated[
        str,
        typer.Option(help="auto, float32, bfloat16 (operands of matrix products) or float64.", rich_help_panel=RUN),
    ] = "auto",
    threads: Threads = 0,
    device: Device = "cpu",
    text: Text,
) -> None:
    """Train a model on a text with a chosen truncation. Ctrl-C saves and stops; --resume goes on."""
    budget = amounts.budget()

    from rnnbptt.report.progress import counting_bar
    from rnnbptt.training import starting

    folder = run or starting.default_folder(corpus, training.trunc)
    with counting_bar("prepare", "B", quiet or resume or corpus.is_dir()) as tell:
        if resume:
            place = device if _given(ctx, "device") else None
            trainer = starting.resume(corpus, folder, budget, place, threads, tell)
        else:
            config = replace(training, budget=budget or training.budget)
            trainer = starting.begin(
                starting.RunConfig(corpus, folder, config, model, text, precision, device, threads, force), tell
            )
    _follow(trainer, folder, 0 if quiet else sample_length, quiet)


def _follow(trainer: "Trainer", folder: Path, sample_length: int, quiet: bool) -> None:
    """Run the trainer and show what it does; it ends with 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    from rnnbptt.report.progress import TrainingView, say, say_memory, say_stopped, say_validations
    from rnnbptt.report.tables import show_run
    from rnnbptt.training.folder import RunFolder

    if not quiet:
        say_memory(trainer.memory)
        say_validations(trainer.validation_chars, trainer.affordable_validations)
    with _stop_by_signal() as stop, TrainingView(trainer.spent, quiet) as view:
        for record in RunFolder(folder).follow(trainer, stop.asked):
            wanted = sample_length if record["kind"] == "eval" else 0
            view.show(record, trainer.spent, _sample(trainer, wanted) if wanted else "")
    if trainer.standing.validations.nats and not quiet:
        show_run(folder, trainer)
        say("note", (f"best validation: {remark}" for remark in trainer.remarks))
    elif not quiet:
        say_stopped(folder)
    if stop.signal:
        raise typer.Exit(128 + stop.signal)


def _sample(trainer: "Trainer", length: int) -> str:
    """So many characters by the model as it is now."""
    from rnnbptt.inference.config import SampleConfig
    from rnnbptt.inference.sampling import sample

    config = SampleConfig(length=length, temperature=0.8, seed=trainer.standing.axes.updates)
    return "".join(sample(trainer.model, trainer.corpus.vocabulary, config))


class _Stop:
    """Which signal has asked the run to stop, 0 as long as none has."""

    def __init__(self) -> None:
        self.signal = 0

    def asked(self) -> bool:
        """Whether one has."""
        return self.signal != 0


@contextmanager
def _stop_by_signal() -> Iterator[_Stop]:
    """Ctrl-C, `kill` and a lost terminal only raise a flag here, so that the update under way is finished and saved; a
    second one does what it did before. What the process was started to ignore, as by nohup, it goes on ignoring.
    """
    stop = _Stop()

    def note(number: int, frame: object) -> None:
        stop.signal = number
        put_back()

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        put_back()


def refuse_what_has_no_effect(values: Mapping[str, Any]) -> None:
    """Misuse where options of `train` contradict each other, or one would change nothing."""
    ctx: typer.Context = values["ctx"]
    amounts = [unit for unit in UNITS if values[unit] is not None]
    if len(amounts) > 1:
        raise typer.BadParameter(f"--{' and --'.join(amounts)} are both budgets; give one of --{', --'.join(UNITS)}")
    if values["resume"] and (given := _given(ctx, *(values.keys() - BESIDE_RESUME))):
        raise typer.BadParameter(
            f"{given[0]} cannot be given with --resume: a run goes on with its own options (a budget may be changed)"
        )
    if values["corpus"].is_dir() and (given := _given(ctx, *(field.name for field in fields(TextOptions)))):
        raise typer.BadParameter(f"{given[0]} is for a text file: {values['corpus']} is prepared already")
    if values["optimizer"] == "sgd" and (given := _given(ctx, "beta2", "beta2_chars")):
        raise typer.BadParameter(f"{given[0]} is for adam and rmsprop: sgd has no such mean")
    if len(_given(ctx, "beta2", "beta2_chars")) == 2:
        raise typer.BadParameter("--beta2-chars takes the place of --beta2; give one of them")


def _given(ctx: typer.Context, *names: str) -> list[str]:
    """Which of these options stand on the command line, as they are typed."""
    sources = {name: ctx.get_parameter_source(name) for name in names}
    return [f"--{n.replace('_', '-')}" for n, source in sources.items() if source and source.name == "COMMANDLINE"]
