"""Processes that finish tasks side by side, one at a time each. No torch here, and nothing of what the tasks are.

Not concurrent.futures: there the death of one process ends all of them, and does not tell whose task it was; and when
the parent is killed, those without a task wait for ever. Here each has a pipe of its own, which tells it all: a task; a
None, or that nobody holds the other end any more, to stop.
"""

import select
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from rnnbptt.study.race.outcome import Outcome

T = TypeVar("T")
Work = Callable[[Any, Callable[[], bool]], Outcome]

PULSE = 0.25  # seconds after which it is asked again whether to stop
TRIES = 3
CONTEXT = get_context("spawn")  # a fork would copy the threads of torch half-way through whatever they do
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Broken(str):
    """What went wrong with a process, or with a task that has no outcome; once more may help."""


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
            pipe.send(_done(work, task, lambda: bool(ready.poll(0))))


def _done(work: Work, task: object, stop: Callable[[], bool]) -> Outcome | Broken:
    try:
        return work(task, stop)
    except Exception as error:  # the parent decides what becomes of it
        return Broken(f"{type(error).__name__}: {' '.join(str(error).split())}")


class Team(Generic[T]):
    """Processes, what each of them is at, and what is still to be done."""

    def __init__(self, tasks: Sequence[T], work: Work, workers: int) -> None:
        self._work, self._waiting = work, deque(tasks)
        self._workers = [Worker(work) for _ in range(min(workers, len(tasks)))]
        self._at_work: dict[Any, tuple[Worker, T]] = {}  # by the pipe
        self._broken: Counter[int] = Counter()  # attempts that were, by the task
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether anything is still to be waited for."""
        return bool(self._at_work or (self._waiting and not self._stopping))

    def stop(self) -> None:
        """Begin no more, and tell those at work."""
        if not self._stopping:
            self._stopping = True
            for worker, _ in self._at_work.values():
                worker.give(None)

    def share_out(self) -> None:
        """A task for each that has none; where a process has died, a new one takes its place."""
        for place, worker in enumerate(self._workers):
            if self._waiting and not self._stopping and worker.pipe not in self._at_work:
                if not worker.alive:
                    worker.leave()
                    worker = self._workers[place] = Worker(self._work)
                task = self._waiting.popleft()
                worker.give(task)
                self._at_work[worker.pipe] = (worker, task)

    def listen(self) -> list[tuple[T, Outcome]]:
        """What has ended, after a pulse at the latest; what broke is to be done again, or has failed."""
        ended = []
        for pipe in wait(list(self._at_work), PULSE):
            worker, task = self._at_work.pop(pipe)
            answer = worker.hear()
            if isinstance(answer, Outcome):
                ended.append((task, answer))
            elif self._stopping:
                ended.append((task, Outcome("stopped", answer)))
            elif self._broken[id(task)] + 1 < TRIES:
                self._broken[id(task)] += 1
                self._waiting.appendleft(task)
            else:
                ended.append((task, Outcome("failed", f"{answer}, as {TRIES - 1} times before")))
        return ended

    def leave(self, at_once: bool = False) -> None:
        """End all processes; `at_once`: without saving."""
        for worker in self._workers:
            worker.leave(at_once)


def finish_all(
    tasks: Sequence[T], work: Work, workers: int, stop: Callable[[], bool]
) -> Iterator[list[tuple[T, Outcome]]]:
    """Do all tasks, in this order, by so many processes; yields those that have ended, at each pulse.

    `work(task, stop)` is a function at the top of a module. What breaks, be it by an exception or the death of the
    process, is tried again, two times; then the task has failed. When `stop()` says so, no more are begun, and those at
    work are told. Left before its end, by an exception, it kills all processes.
    """
    team = Team(tasks, work, 0 if stop() else workers)
    try:
        while team.busy:
            if stop():
                team.stop()
            team.share_out()
            yield team.listen()
    except BaseException:
        team.leave(at_once=True)
        raise
    team.leave()
