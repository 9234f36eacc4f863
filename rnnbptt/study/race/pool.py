"""Processes of this machine that finish tasks side by side, one at a time each. No torch here.

Not concurrent.futures: there the death of one process ends all of them, and does not tell whose task it was; and when
the parent is killed, those without a task wait for ever. Here each has a pipe of its own, which tells it all: a task; a
None, or that nobody holds the other end any more, to stop.
"""

import os
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic

from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.sharing import PULSE, Broken, Stop, T, Work, attempt, finish_by

CONTEXT = get_context("spawn")  # a fork would copy the threads of torch half-way through whatever they do
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Worker:
    """A process that does tasks, and the pipe to it."""

    def __init__(self, work: Work) -> None:
        self.pipe, other = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_serve, args=(other, work), daemon=True)
        with _deaf():
            self._process.start()
        other.close()

    def give(self, task: object) -> None:
        """A task; None: save and stop. Where the process is dead, `hear` says so."""
        with suppress(OSError):
            self.pipe.send(task)

    def hear(self) -> Outcome | Broken:
        """What came of its task, once the pipe is ready."""
        try:
            answer: Outcome | Broken = self.pipe.recv()
        except (EOFError, OSError):
            return self._death()
        return answer

    def _death(self) -> Broken:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Broken(f"its process {how}")

    @property
    def alive(self) -> bool:
        """Whether it can do another task."""
        return self._process.is_alive()

    def leave(self, at_once: bool = False) -> None:
        """Let it end, and wait for that; `at_once`: without saving."""
        if at_once:
            self._process.kill()
        self.pipe.close()
        self._process.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """A process that is started here never hears of signals to stop: a terminal sends them to all processes, and it is
    the parent that decides.
    """
    resource_tracker.ensure_running()  # or the start of a process would do it, and let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, work: Work) -> None:
    """Do tasks until there are no more, or the parent is gone."""
    ready = select.poll()
    ready.register(pipe.fileno(), select.POLLIN | select.POLLHUP)
    with suppress(EOFError, OSError):
        while (task := pipe.recv()) is not None:
            pipe.send(attempt(work, task, lambda: bool(ready.poll(0))))


class Pool(Generic[T]):
    """A crew of so many processes."""

    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._team = [Worker(work) for _ in range(number)]
        self._at_work: dict[Any, tuple[Worker, T]] = {}  # by the pipe

    def has_room(self) -> bool:
        """Whether a process has no task."""
        return len(self._at_work) < len(self._team)

    def give(self, task: T) -> None:
        """To the first one that has none; in the place of a dead one another is started."""
        place = next(place for place, worker in enumerate(self._team) if worker.pipe not in self._at_work)
        if not self._team[place].alive:
            self._team[place].leave()
            self._team[place] = Worker(self._work)
        worker = self._team[place]
        worker.give(task)
        self._at_work[worker.pipe] = (worker, task)

    def hear(self) -> list[tuple[T, Outcome | Broken]]:
        """What came of the tasks that have ended."""
        ended = [self._at_work.pop(pipe) for pipe in wait(list(self._at_work), PULSE)]
        return [(task, worker.hear()) for worker, task in ended]

    def stop(self) -> None:
        """Tell those at work."""
        for worker, _ in self._at_work.values():
            worker.give(None)

    def leave(self, at_once: bool) -> None:
        """Let all end."""
        for worker in self._team:
            worker.leave(at_once)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finish_all(tasks: Sequence[T], work: Work, workers: int, stop: Stop) -> Iterator[list[tuple[T, Outcome]]]:
    """By so many processes, 0: one a core; see `FinishAll`."""
    return finish_by(lambda: Pool(work, min(workers or cores(), len(tasks))), tasks, stop)
