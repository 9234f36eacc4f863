"""The one task that a race hands out: finish this run. Whoever does it, wherever, and however often."""

import time
from collections.abc import Callable
from dataclasses import replace

from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.storage.lock import HeldError
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.loop import DivergedError, Trainer
from rnnbptt.training.starting import RunConfig, begin, resume, saved_run

PATIENCE = 90.0  # seconds in which whoever was at a run before has saved it: longer than the silence of `Listener`
PAUSE = 0.5


def finish_run(config: RunConfig, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Begin the run in its folder, or go on from its last checkpoint, to its end, or until `stop()` says so.

    It can be called again after anything, a kill at any moment included, and ends with the same files, bit for bit. Of
    a run that is finished nothing is written.
    """
    folder = RunFolder(config.folder)
    try:
        trainer = _taken_up(config, stop)
        if not trainer:
            return Outcome("stopped")
        if trainer.finished:
            folder.release()
        else:
            with folder.starting():
                trainer.engine.prepare()  # it would count as training
            for _ in folder.follow(trainer, stop):
                pass
    except DivergedError as error:
        return Outcome("diverged", str(error))
    except UserError as error:
        return Outcome("failed", str(error))
    return Outcome("done" if trainer.finished else "stopped")


def _taken_up(config: RunConfig, stop: Callable[[], bool]) -> Trainer | None:
    """In its folder, as soon as whoever was at it before has left it; None where it is to stop before."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return _resume(config) if RunFolder(config.folder).checkpoint else begin(config)
        except HeldError:
            if time.monotonic() >= until:
                raise
        if stop():
            return None
        time.sleep(PAUSE)


def _resume(config: RunConfig) -> Trainer:
    """On the text of the race, wherever it lies by now; UserError where the run in the folder is another one."""
    trainer = resume(config.folder, config.sources)
    try:
        _check_options(config, trainer.config, trainer.model.config)
    except UserError:
        RunFolder(config.folder).release()
        raise
    return trainer


def check_saved(config: RunConfig) -> None:
    """UserError where what is saved in the folder is another run; nothing is fine."""
    if RunFolder(config.folder).checkpoint:
        document = saved_run(config.folder).document
        _check_options(config, document.train, document.model)


def _check_options(config: RunConfig, train: TrainConfig, model: ModelConfig) -> None:
    """Somebody may have gone on with a run for longer."""
    if (train, replace(model, vocabulary=1)) != (config.train, config.model):
        raise UserError(f"{config.folder}: not with the options of the race; move it away, and it is run again")
