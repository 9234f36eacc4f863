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
from typing import Any, TypeVar

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


def finish_all(
    tasks: Sequence[T], work: Work, workers: int, stop: Callable[[], bool]
) -> Iterator[list[tuple[T, Outcome]]]:
    """Do all tasks, in this order, by so many processes; yields those that have ended, at each pulse.

    `work(task, stop)` is a function at the top of a module. What breaks, be it by an exception or the death of the
    process, is tried again, two times; then the task has failed. When `stop()` says so, no more are begun, and those at
    work are told. Left before its end, by an exception, it kills all processes.
    """
    team = [Worker(work) for _ in range(min(workers, len(tasks)))]
    try:
        yield from _share_out(deque(tasks), work, team, stop)
    except BaseException:
        for worker in team:
            worker.leave(at_once=True)
        raise
    for worker in team:
        worker.leave()


def _share_out(
    waiting: deque[T], work: Work, team: list[Worker], stop: Callable[[], bool]
) -> Iterator[list[tuple[T, Outcome]]]:
    broken: Counter[int] = Counter()
    at_work: dict[Any, tuple[Worker, T]] = {}  # by the pipe
    stopping = False
    while at_work or (waiting and not stopping):
        if stop() and not stopping:
            stopping = True
            for worker, _ in at_work.values():
                worker.give(None)
        for place, worker in enumerate(team):
            if waiting and not stopping and worker.pipe not in at_work:
                if not worker.alive:
                    worker.leave()
                    worker = team[place] = Worker(work)
                task = waiting.popleft()
                worker.give(task)
                at_work[worker.pipe] = (worker, task)
        ended = []
        for pipe in wait(list(at_work), PULSE):
            worker, task = at_work.pop(pipe)
            answer = worker.hear()
            if isinstance(answer, Outcome):
                ended.append((task, answer))
            elif stopping:
                ended.append((task, Outcome("stopped", answer)))
            else:
                broken[id(task)] += 1
                if broken[id(task)] < TRIES:
                    waiting.appendleft(task)
                else:
                    ended.append((task, Outcome("failed", f"{answer}, as {TRIES - 1} times before")))
        yield ended
