"""A race from its first run to its last: which are still to be finished, in which order, and how they have ended."""

from collections.abc import Callable, Iterator

from rnnbptt.study.race.checking import Prospect
from rnnbptt.study.race.config import Cell
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.pool import finish_all
from rnnbptt.study.race.sharing import FinishAll
from rnnbptt.study.race.work import finish_run

Ended = list[tuple[Cell, Outcome]]


def run_race(
    race: Race, prospect: Prospect, workers: int, stop: Callable[[], bool], elsewhere: FinishAll | None = None
) -> Iterator[Ended]:
    """Finish all runs by so many processes, or workers elsewhere, those that take longest first, so that none is left
    alone at the end.

    Yields, several times a second, those that have just ended; each is in race.json by then. When `stop()` says so, all
    are saved, and it ends.
    """
    cells = sorted(race.open, key=lambda cell: -prospect.seconds[cell.arm.label])
    of_task = {race.run_of(cell).folder: cell for cell in cells}
    finish = elsewhere or finish_all
    for ended in finish([race.run_of(cell) for cell in cells], finish_run, workers, stop):
        known = [(of_task[task.folder], outcome) for task, outcome in ended]
        for cell, outcome in known:
            race.record(cell, outcome)
        yield known
