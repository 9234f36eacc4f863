"""What workers on other machines are told, by a file in the folder of the race: that it goes on, or is to stop.

All that they surely share with who holds the race is that folder. The file is there from the start, and is written anew
in its place: who opens a file is told what it holds now, also by a network that tells late of new ones. It says
so again and again that the race goes on: when it falls silent, nobody waits for the outcome any more.
"""

import math
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnbptt.errors import UserError
from rnnbptt.storage.files import writing
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.sharing import Broken, Stop, Work, attempt, broken_by

NAME = ".rnnbptt.orders"
PERIOD = 1.0  # seconds between two times that it is written, and between two looks at it
SILENCE = 60.0  # seconds after which nobody is there any more


@dataclass(frozen=True)
class Errand:
    """A task as it is sent to another machine, and done there.

    place   the current folder where it was handed out, from which the task may name others
    orders  the file
    token   of the race that handed it out, as no other one has it
    """

    work: Work
    task: Any
    place: Path
    orders: Path
    token: str

    def __call__(self, told: Stop = lambda: False) -> Outcome | Broken:
        """Do it, unless it is too late; `told()`, too, can ask it to save and stop."""
        try:
            os.chdir(self.place)
            listener = Listener(self.orders, self.token)
        except (OSError, UserError) as error:
            return broken_by(error)

        def stop() -> bool:
            return listener.stop() or told()

        return Outcome("stopped") if stop() else attempt(self.work, self.task, stop)


class Orders:
    """Given by who holds the race in a folder; UserError where nothing can be written there."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._work, self._place, self._path = work, Path.cwd(), (folder / NAME).absolute()
        self._token, self._times, self._stopping = secrets.token_hex(8), 0, False
        self._written = time.monotonic()
        with writing(self._path):
            self._write()

    def errand(self, task: object) -> Errand:
        """The task, to be sent."""
        return Errand(self._work, task, self._place, self._path, self._token)

    def repeat(self) -> None:
        """Say it once more, where it was not just said; to be called several times a second."""
        if time.monotonic() - self._written >= PERIOD:
            self._written = time.monotonic()
            with suppress(OSError):  # until the next time
                self._write()

    def stop(self) -> None:
        """Tell all to save and stop."""
        self._stopping, self._written = True, -math.inf
        self.repeat()

    def _write(self) -> None:
        self._times += 1
        said = f"{self._token} {'stop' if self._stopping else 'go on'} {self._times:10d}\n".encode("ascii")
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.pwrite(descriptor, said, 0)
            os.ftruncate(descriptor, len(said))
        finally:
            os.close(descriptor)

    def end(self) -> None:
        """Nobody is at work any more."""
        self._path.unlink(missing_ok=True)


class Listener:
    """Who is at work, and looks at the file now and then. UserError where there is none."""

    def __init__(self, path: Path, token: str) -> None:
        if not path.is_file():
            raise UserError(f"{path}: not there; all workers have to share the folder of the race")
        self._path, self._goes_on = path, f"{token} go on".encode("ascii")
        self._said, self._heard, self._looked, self._stopped = b"", time.monotonic(), -math.inf, False

    def stop(self) -> bool:
        """Whether to save and stop: this is said, or by another race, or nothing is said any more."""
        now = time.monotonic()
        if not self._stopped and now - self._looked >= PERIOD:
            self._looked = now
            self._stopped = self._has_to_stop(now)
        return self._stopped

    def _has_to_stop(self, now: float) -> bool:
        said = self._said
        with suppress(OSError):  # that it cannot be read is silence
            said = self._path.read_bytes()
        if said != self._said:
            self._said, self._heard = said, now
        return not said.startswith(self._goes_on) or now - self._heard > SILENCE
