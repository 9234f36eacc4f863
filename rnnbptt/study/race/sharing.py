"""Tasks, and a crew that does them: each is handed out until it has an outcome, whoever dies over it, or all have to
stop. No torch here, and nothing of what the tasks are, or of where they are done.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from rnnbptt.study.race.outcome import Outcome

T = TypeVar("T")
Stop = Callable[[], bool]
Work = Callable[[Any, Stop], Outcome]

PULSE = 0.25  # seconds after which it is asked again whether to stop
TRIES = 3


class Broken(str):
    """What went wrong with a worker, or with a task that has no outcome; once more may help."""


class Crew(Protocol[T]):
    """Workers, who do a task each at a time."""

    def has_room(self) -> bool:
        """Whether there is one to give a task to."""

    def give(self, task: T) -> None:
        """Let one of them do the task."""

    def hear(self) -> Sequence[tuple[T, Outcome | Broken]]:
        """What came of those that have ended; where none has yet, it waits for it, for a pulse at most."""

    def stop(self) -> None:
        """Tell those at work to save and stop."""

    def leave(self, at_once: bool) -> None:
        """Let them end, and wait for that; `at_once`: without saving."""


class FinishAll(Protocol):
    """What does all tasks, wherever it is."""

    def __call__(self, tasks: Sequence[T], work: Work, workers: int, stop: Stop) -> Iterator[list[tuple[T, Outcome]]]:
        """Do all tasks, in this order, by so many workers, 0: as many as there are; yields those that have ended, at
        each pulse.

        `work(task, stop)` is a function at the top of a module. What breaks, be it by an exception or the death of the
        worker, is tried again, two times; then the task has failed. When `stop()` says so, no more are begun, and those
        at work are told. Left before its end, by an exception, it kills all workers.
        """


def attempt(work: Work, task: object, stop: Stop) -> Outcome | Broken:
    """What comes of a task, where it is done."""
    try:
        return work(task, stop)
    except Exception as error:  # who has handed it out decides what becomes of it
        return broken_by(error)


def broken_by(error: BaseException) -> Broken:
    """On one line."""
    return Broken(f"{type(error).__name__}: {' '.join(str(error).split())}")


def finish_by(make_crew: Callable[[], Crew[T]], tasks: Sequence[T], stop: Stop) -> Iterator[list[tuple[T, Outcome]]]:
    """Let a crew do all tasks, and leave it; see `FinishAll`. Where there is nothing to do, none is made."""
    if not tasks or stop():
        return
    crew = make_crew()
    try:
        yield from _share_out(crew, deque(tasks), stop)
    except BaseException:
        crew.leave(at_once=True)
        raise
    crew.leave(at_once=False)


def _share_out(crew: Crew[T], waiting: deque[T], stop: Stop) -> Iterator[list[tuple[T, Outcome]]]:
    broken: Counter[int] = Counter()
    at_work, stopping = 0, False
    while at_work or (waiting and not stopping):
        if stop() and not stopping:
            stopping = True
            crew.stop()
        while waiting and not stopping and crew.has_room():
            crew.give(waiting.popleft())
            at_work += 1
        ended = []
        for task, answer in crew.hear() if at_work else ():
            at_work -= 1
            if isinstance(answer, Broken):
                broken[id(task)] += 1
                if stopping:
                    ended.append((task, Outcome("stopped", answer)))
                elif broken[id(task)] < TRIES:
                    waiting.appendleft(task)
                else:
                    ended.append((task, Outcome("failed", f"{answer}, as {TRIES - 1} times before")))
            elif answer.state == "stopped" and not stopping:  # by somebody else: its machine was wanted, say
                waiting.append(task)
            else:
                ended.append((task, answer))
        yield ended
