"""What is said when a run begins and when it ends, on standard error: what it is, and what to type next."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import torch

from rnnbptt.report.outlets import STANDARD_ERROR
from rnnbptt.report.progress import say
from rnnbptt.report.terminal import counted, escaped, wrapped
from rnnbptt.training.course import Course
from rnnbptt.training.loop import Trainer

MEMORY_NOTE = 2**30  # bytes a tape may take before the user is told
LONG_VALIDATION = 1_000_000  # characters of a validation of which the user is told


def say_beginning(trainer: Trainer, folder: Path) -> None:
    """Model, text and budget, a line each; what will take long or much. Nothing where nothing is left to do."""
    if trainer.finished:
        return
    for what, line in (("model", _model(trainer)), ("text", _text(trainer)), ("budget", _budget(trainer, folder))):
        print(wrapped(f"{what:<8}{escaped(line)}", STANDARD_ERROR, " " * 8), file=STANDARD_ERROR)
    say("note", _notes(trainer))


def _model(trainer: Trainer) -> str:
    config, threads = trainer.model.config, torch.get_num_threads()
    layers = "" if config.layers == 1 else f", {config.layers} layers"
    operand = str(trainer.model.precision.operand).removeprefix("torch.")
    size = f"{trainer.model.parameters.flat.numel():,} parameters"
    how = operand if trainer.engine.name == "torch" else f"{operand}, {trainer.engine.name}"
    return f"{config.cell} of {config.hidden}{layers}: {size}; {how}, {counted(threads, 'thread')}"


def _text(trainer: Trainer) -> str:
    corpus = trainer.corpus
    names = ", ".join(Path(source.name).name for source in corpus.sources[:2]) + ", ..." * (len(corpus.sources) > 2)
    units = "characters" if corpus.vocabulary.unit == "char" else "bytes"
    size = f"{len(corpus.ids):,} {units}, {counted(len(corpus.vocabulary), 'symbol')}"
    return f"{names}: {size}, split {corpus.options.split}"


def _budget(trainer: Trainer, folder: Path) -> str:
    config = trainer.config
    done = f", {trainer.spent:.0%} of it done" if trainer.spent else ""
    return f"{config.budget}{done}, truncation {config.trunc}; saved in {folder}"


def _notes(trainer: Trainer) -> Iterator[str]:
    """Whose weights it begins with; of memory and of validations where they are a lot."""
    if (initial := trainer.initial) and not trainer.standing.axes.updates:
        fresh = f"{counted(initial.added, 'symbol')} of the text new to it, {initial.dropped:,} of its own left out"
        yield f"begins with the weights of {initial.path}; {fresh}"
    yield from trainer.corpus.task_notes()
    yield from trainer.notes
    if trainer.memory > MEMORY_NOTE:
        advice = "a shorter --trunc, fewer --streams or less --hidden takes less"
        yield f"the longest update keeps {trainer.memory / 2**30:.1f} GiB; {advice}"
    yield from of_validations(trainer.course)


def of_validations(course: Course) -> Iterator[str]:
    """Where there are few of them, or they read a lot."""
    size = course.validation_chars
    if (few := course.affordable_validations) is not None:
        yield (
            f"a validation reads {size:,} characters, so this short run makes {few} before the one at the end;"
            f" for more, though they read more than training does, give --eval-every {max(1, size // 5)}, say"
        )
    elif size > LONG_VALIDATION:
        yield f"a validation reads {size:,} characters; a smaller part for it in --split takes less time"


def say_end(trainer: Trainer, folder: Path) -> None:
    """What to know of the best validation, and what to type next."""
    say("note", (f"best validation: {remark}" for remark in trainer.standing.remarks))
    run = shlex.quote(str(folder))
    budget = trainer.config.budget
    if trainer.finished:
        print(f"finished: {budget} done", file=STANDARD_ERROR)
        longer = f" --{budget.unit} {2 * budget.amount:.15g}"
    else:
        print(f"stopped at {trainer.spent:.0%}, and saved", file=STANDARD_ERROR)
        longer = ""
    print(f"go on:          rnnbptt train --resume {escaped(run)}{longer}", file=STANDARD_ERROR)
    if trainer.standing.validations.nats:
        print(f"generate text:  rnnbptt sample {escaped(run)}", file=STANDARD_ERROR)
        print(f"compare it:     rnnbptt compare {escaped(run)} OTHER_RUN", file=STANDARD_ERROR)


def say_interrupted(folder: Path) -> None:
    """That the end was not waited for, and what goes on from what is there."""
    run = shlex.quote(str(folder))
    print("interrupted before all was saved", file=STANDARD_ERROR)
    print(f"go on from the last save:  rnnbptt train --resume {escaped(run)}", file=STANDARD_ERROR)
