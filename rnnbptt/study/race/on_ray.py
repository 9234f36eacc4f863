"""Runs that are trained on a Ray cluster, or by workers of one that is started here. Needs the extra `ray`."""

import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Generic

import ray

from rnnbptt.errors import UserError
from rnnbptt.study.race.orders import Errand, Orders
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.pool import cores
from rnnbptt.study.race.sharing import PULSE, Broken, Stop, T, Work, broken_by, finish_by

PATIENCE = 5.0  # seconds for the head of a cluster to answer; Ray itself would try for minutes


class RayCrew(Generic[T]):
    """So many workers of a cluster, 0: one for each of its cores. Those who are lost are found out by Ray."""

    def __init__(self, folder: Path, work: Work, workers: int, address: str) -> None:
        self._workers = workers
        self._at_work: dict[Any, T] = {}  # by what Ray calls the answer that is to come
        self._connection = ExitStack()
        self._connection.enter_context(_connected(address, workers or cores()))
        self._orders = Orders(folder, work)
        self._perform = ray.remote(_perform).options(num_cpus=1, max_retries=0)

    def has_room(self) -> bool:
        """Whether one of them has no task."""
        return len(self._at_work) < (self._workers or max(1, int(ray.cluster_resources().get("CPU", 1))))

    def give(self, task: T) -> None:
        """To whom Ray chooses."""
        self._at_work[self._perform.remote(self._orders.errand(task))] = task

    def hear(self) -> list[tuple[T, Outcome | Broken]]:
        """What came of a task that has ended."""
        self._orders.repeat()
        ready, _ = ray.wait(list(self._at_work), timeout=PULSE)
        return [(self._at_work.pop(answer), _answered(answer)) for answer in ready]

    def stop(self) -> None:
        """Tell those at work, and those who only wait for a core, once they have one."""
        self._orders.stop()

    def leave(self, at_once: bool) -> None:
        """Leave the cluster, which kills those who are still at work for us; end it, if it was started here."""
        self._connection.close()
        self._orders.end()


def _perform(errand: Errand) -> Outcome | Broken:
    return errand()


def _answered(answer: Any) -> Outcome | Broken:
    try:
        outcome: Outcome | Broken = ray.get(answer)
    except ray.exceptions.RayError as error:
        return broken_by(getattr(error, "cause", None) or error)
    return outcome


@contextmanager
def _connected(address: str, number: int) -> Iterator[None]:
    """Be with the cluster there, or with one of so many workers that is started here where no address is given.

    What Ray prints goes to standard error, its signal handler is taken away again, and it reports to nobody.
    """
    here = {} if address else {"num_cpus": number, "include_dashboard": False}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(sys.stderr):
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--on ray: no cluster ({broken_by(error)})") from None
        finally:
            signal.signal(signal.SIGTERM, before)
        try:
            yield
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """UserError where no Ray cluster can be at an address such as 10.0.0.1:6379, ray://10.0.0.1:10001, or auto."""
    if address == "auto":
        return
    place = re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address)
    if not place:
        raise UserError(f"--address {address}: not of a cluster; give HOST:PORT, as `ray start --head` says it")
    with suppress(OSError, OverflowError), socket.create_connection((place[1], int(place[2])), PATIENCE):
        return
    raise UserError(f"--address {address}: nobody answers there; give that of a Ray cluster, or leave it out")


def finish_all(
    tasks: Sequence[T], work: Work, workers: int, stop: Stop, *, folder: Path, address: str
) -> Iterator[list[tuple[T, Outcome]]]:
    """By workers of a cluster that share the folder of the race; see `FinishAll`."""
    return finish_by(lambda: RayCrew(folder, work, workers, address), tasks, stop)
