"""Runs that are trained as jobs of Slurm, one each. Needs the extra `slurm`.

Partition, account, time limit and the like are those of Slurm's own variables, as SBATCH_PARTITION.
"""

import logging
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic

import submitit

from rnnbptt.errors import UserError
from rnnbptt.study.race.orders import Errand, Orders
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.sharing import PULSE, Broken, Stop, T, Work, finish_by

CLUSTER = "slurm"  # or "local", as submitit calls jobs of this machine without Slurm: for tests
FILES = ".slurm"  # in the folder of the race: what goes to and fro, and what jobs print
MINUTES = 24 * 60  # that a job may take, unless SBATCH_TIMELIMIT says otherwise
GRACE = 15.0  # seconds after the end of a job in which its answer may still be on its way
NOTICE = 90  # seconds before its end at which a job is told of it
NOTICES = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # that its time is over, or its machine wanted


class SlurmCrew(Generic[T]):
    """So many jobs at a time, 0: all at once; how many of them are at work is for Slurm to say."""

    def __init__(self, folder: Path, work: Work, jobs: int) -> None:
        self._most = jobs
        self._files = (folder / FILES).absolute()
        self._at_work: dict[str, tuple[Any, T]] = {}  # by the name of the job
        self._over: dict[str, float] = {}  # when a job was found to be over
        self._lost: set[int] = set()  # tasks that have lost a job, and have no answer since
        self._stopping = False
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._executor = submitit.AutoExecutor(self._files / "%j", cluster=CLUSTER)
        self._executor.update_parameters(
            name="rnnbptt", timeout_min=MINUTES, cpus_per_task=1, slurm_signal_delay_s=NOTICE
        )
        self._orders = Orders(folder, work)

    def has_room(self) -> bool:
        """Whether one more job may be submitted."""
        return not self._most or len(self._at_work) < self._most

    def give(self, task: T) -> None:
        """UserError where Slurm takes no such job."""
        try:
            job = self._executor.submit(_perform, self._orders.errand(task))
        except submitit.core.utils.FailedJobError as error:
            advice = "see SBATCH_PARTITION, SBATCH_ACCOUNT and SBATCH_TIMELIMIT"
            raise UserError(f"--on slurm: refused ({' '.join(str(error).split())}); {advice}") from None
        self._at_work[job.job_id] = (job, task)

    def hear(self) -> list[tuple[T, Outcome | Broken]]:
        """What came of the jobs that have ended."""
        self._orders.repeat()
        ended = [name for name, (job, _) in self._at_work.items() if self._has_ended(job)]
        if not ended:
            time.sleep(PULSE)
        return [(task, self._answered(job, task)) for job, task in map(self._at_work.pop, ended)]

    def _has_ended(self, job: Any) -> bool:
        """Whether its answer is here, or it is over and none will come."""
        if not job.done():
            return False
        over = self._over.setdefault(job.job_id, time.monotonic())
        return job.paths.result_pickle.exists() or time.monotonic() - over >= (0.0 if self._stopping else GRACE)

    def _answered(self, job: Any, task: T) -> Outcome | Broken:
        if job.paths.result_pickle.exists():
            with suppress(submitit.core.utils.FailedJobError):
                outcome: Outcome | Broken = job.result()
                self._lost.discard(id(task))
                return outcome
        if not self._stopping:
            self._lost.add(id(task))
        return Broken(f"its job {job.job_id} ended without an answer; see {job.paths.stderr}")

    def stop(self) -> None:
        """Tell those at work, and cancel those that still wait: should one begin meanwhile, it has heard of it, too."""
        self._orders.stop()
        self._stopping = True
        for job, _ in self._at_work.values():
            if job.state == "PENDING":
                job.cancel(check=False)

    def leave(self, at_once: bool) -> None:
        """Cancel what is still at work. The files of jobs stay where one has failed, to be read."""
        for job, _ in self._at_work.values():
            job.cancel(check=False)
        self._orders.end()
        if not self._lost and not at_once:
            shutil.rmtree(self._files, ignore_errors=True)


def _perform(errand: Errand) -> Outcome | Broken:
    """In a job: that its time is over is told by signals, on which it saves, and is handed out again."""
    noted: list[int] = []
    for number in NOTICES:
        signal.signal(number, lambda number, frame: noted.append(number))
    return errand(lambda: bool(noted))


def check_slurm() -> None:
    """UserError where jobs cannot be submitted."""
    if CLUSTER == "slurm" and not shutil.which("sbatch"):
        raise UserError("--on slurm: no sbatch on this machine; type it where jobs are submitted, or leave --on out")


def finish_all(
    tasks: Sequence[T], work: Work, workers: int, stop: Stop, *, folder: Path
) -> Iterator[list[tuple[T, Outcome]]]:
    """By jobs on machines that share the folder of the race; see `FinishAll`."""
    return finish_by(lambda: SlurmCrew(folder, work, workers), tasks, stop)
