"""sharing.py: what becomes of tasks, whoever does them; deaths and orders to stop are in test_elsewhere.py."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.sharing import Broken, finish_by

DONE, STOPPED = Outcome("done"), Outcome("stopped")


@dataclass
class Alone:
    """A crew of one, who answers as it is written down."""

    answers: dict[str, list[Outcome | Broken]]
    given: list[str] = field(default_factory=list)
    left: list[bool] = field(default_factory=list)
    at_work: deque[str] = field(default_factory=deque)

    def has_room(self) -> bool:
        return not self.at_work

    def give(self, task: str) -> None:
        self.given.append(task)
        self.at_work.append(task)

    def hear(self) -> list[tuple[str, Outcome | Broken]]:
        task = self.at_work.popleft()
        return [(task, self.answers[task].pop(0))]

    def stop(self) -> None:
        raise AssertionError("nobody asked for it")

    def leave(self, at_once: bool) -> None:
        self.left.append(at_once)


def test_what_broke_comes_first_and_what_was_stopped_by_others_last() -> None:
    crew = Alone({"a": [Broken("it"), STOPPED, Broken("it"), DONE], "b": [STOPPED, DONE], "c": [Broken("x")] * 3})
    ended = [each for pulse in finish_by(lambda: crew, ["a", "b", "c"], lambda: False) for each in pulse]
    assert crew.given == [*"aabcccaab"]
    assert ended == [("c", Outcome("failed", "x, as 2 times before")), ("a", DONE), ("b", DONE)]
    assert crew.left == [False]
