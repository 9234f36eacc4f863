"""What is seen of a race while it goes on, on standard error: a table on a terminal, elsewhere a line for each run."""

import shlex
import time
from typing import Any, Self, cast

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rnnbptt.report.layout import add_row, make_table
from rnnbptt.report.outlets import STANDARD_ERROR
from rnnbptt.report.terminal import counted, escaped, lasting, wrapped
from rnnbptt.study.race.checking import Prospect
from rnnbptt.study.race.config import Cell
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.running import Ended
from rnnbptt.study.race.watching import ArmView, Overview

PERIOD = 1.0  # seconds between two looks at the records


class RaceView:
    """A live table of all arms, and a line for what went wrong; where standard error is no terminal, one for all."""

    def __init__(self, race: Race, prospect: Prospect, quiet: bool) -> None:
        self._race, self._quiet = race, quiet
        self._overview = Overview(race, prospect)
        self._ended = len(race.cells) - len(race.open)
        console = Console(file=cast(Any, STANDARD_ERROR), highlight=False, markup=False, emoji=False)
        self._live = None if quiet or not STANDARD_ERROR.isatty() else Live(console=console, auto_refresh=False)
        self._looked = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._live:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def show(self, ended: Ended) -> None:
        """Say what has ended, and bring the table up to date."""
        for cell, outcome in ended:
            self._ended += outcome.state != "stopped"
            if self._is_told(outcome):
                self._say(f"{cell.name}: {self._told(cell, outcome)}")
        if self._live and time.monotonic() - self._looked > PERIOD:
            self._looked = time.monotonic()
            self._live.update(self._picture(), refresh=True)

    def _is_told(self, outcome: Outcome) -> bool:
        """Whether it is worth a line; a failure always is."""
        told = {"failed"} if self._quiet else {"failed", "diverged"} if self._live else {"failed", "diverged", "done"}
        return outcome.state in told

    def _say(self, line: str) -> None:
        if self._live:
            self._live.console.print(escaped(line))
        else:
            print(wrapped(escaped(line), STANDARD_ERROR), file=STANDARD_ERROR)

    def _told(self, cell: Cell, outcome: Outcome) -> str:
        place = f"({self._ended} of {_all_runs(self._race)})"
        if outcome.state != "done":
            return f"{outcome.state} {place}: {outcome.error}"
        run = self._overview.run(cell)
        return f"{_bpc(run.best, 4)} bpc at best, {lasting(run.seconds)} of training {place}"

    def _picture(self) -> Group:
        arms = self._overview.arms()
        table = make_table("--trunc", "runs done", "progress", "best bpc", "chars/s")
        for view in arms:
            add_row(table, view.arm.label, *_figures(view, sum(cell.arm == view.arm for cell in self._race.cells)))
        share = sum(view.spent for view in arms) / len(arms)
        left = self._overview.left()
        ends = "" if left is None or share == 1 else f"  about {lasting(left)} left; Ctrl-C saves and stops"
        return Group(table, Text(f"{self._ended} of {_all_runs(self._race)}, {share:.0%}{ends}"))


def _all_runs(race: Race) -> str:
    return counted(len(race.cells), race.kind)


def _figures(view: ArmView, runs: int) -> list[str]:
    """The cells of its row."""
    lost = [f"{view.ended[state]} {state}" for state in ("diverged", "failed") if view.ended[state]]
    return [
        ", ".join([f"{view.ended['done']}/{runs}", *lost]),
        f"{view.spent:.0%}",
        _bpc(view.bpc, 3),
        "-" if view.speed is None else f"{view.speed:,.0f}",
    ]


def _bpc(bpc: float | None, decimals: int) -> str:
    """Bits per character, of however bad a run."""
    return "-" if bpc is None else f"{bpc:.{decimals}f}" if bpc < 1000 else f"{bpc:.1e}"


def say_stopped(race: Race, options: str, saved: bool) -> None:
    """That a race has not come to its end, and what to type next, with these options."""
    ended = len(race.cells) - len(race.open)
    how = "stopped, and saved" if saved else "interrupted before all was saved"
    print(f"{how}: {ended} of {_all_runs(race)} finished", file=STANDARD_ERROR)
    command = f"rnnbptt race --resume {escaped(shlex.quote(str(race.folder)) + options)}"
    print(f"go on:          {command}", file=STANDARD_ERROR)
