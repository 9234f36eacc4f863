"""The contract of what trains the runs of a race, held by each engine: processes, jobs of Slurm, workers of Ray.

The jobs are those of submitit's own executor for one machine. Ray is tried where RNNBPTT_TEST_RAY=1 asks for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

from rnnbptt.storage.lock import holder
from rnnbptt.study.race import pool
from rnnbptt.study.race.elsewhere import Where
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.sharing import FinishAll
from rnnbptt.study.race.work import finish_run
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import RunFolder
from support import workers
from support.commands import ROOT
from support.races import begun, race_config
from support.runs import assert_same

RAY = os.environ.get("RNNBPTT_TEST_RAY") == "1" and find_spec("ray")
TRY_RAY = pytest.mark.skipif(not RAY, reason="needs rnnbptt[ray] and RNNBPTT_TEST_RAY=1: it takes some 15 seconds")
ENGINES = ["processes", "slurm", pytest.param("ray", marks=TRY_RAY)]


@pytest.fixture(params=ENGINES)
def finish(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinishAll:
    """By one of the engines, for the race in the folder `race`."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    monkeypatch.setattr("rnnbptt.study.race.on_slurm.CLUSTER", "local")
    monkeypatch.setattr("rnnbptt.study.race.on_slurm.GRACE", 0.0)
    monkeypatch.chdir(tmp_path)
    Path("race").mkdir()
    return Where(on=request.param).finisher(Path("race")) or pool.finish_all


def race_in(folder: Path, corpus: Corpus) -> Race:
    """Of one seed each; a run has a checkpoint every 300 characters of 2,400, and 83 records."""
    train = TrainConfig(budget=Budget("chars", 2400), streams=4, eval_every=300)
    return begun(folder, corpus.path, race_config("1", "8", seeds=1, train=train))


@pytest.fixture(scope="session")
def undisturbed(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Race:
    """A race of which this process has finished the runs of 1 and 8."""
    race = race_in(tmp_path_factory.mktemp("undisturbed") / "race", text_corpus)
    assert [finish_run(race.run_of(cell)) for cell in race.config.cells[:2]] == [Outcome("done")] * 2
    return race


def kill_in_the_middle(run: RunFolder, records: list[str]) -> None:
    """Whoever is at the run, once it has a checkpoint and some records more; leaves what was recorded until then."""
    while not (run.last.exists() and len(run.metrics.read_text().splitlines()) > 15):
        time.sleep(0.002)
    if at_it := holder(run.lock):
        os.kill(at_it, signal.SIGKILL)
        records += run.metrics.read_text().splitlines()


def test_a_run_is_that_of_an_undisturbed_race_whoever_is_killed(
    finish: FinishAll, undisturbed: Race, text_corpus: Corpus
) -> None:
    """And a run that was finished before is left as it is."""
    race = race_in(Path("race"), text_corpus)
    tasks = [race.run_of(cell) for cell in race.config.cells[:2]]
    killed, finished = (RunFolder(task.folder) for task in tasks)
    shutil.copytree(undisturbed.folder / "8", "race/8")
    before = {path: path.stat().st_mtime_ns for path in finished.path.iterdir()}
    records: list[str] = []
    Thread(target=kill_in_the_middle, args=(killed, records), daemon=True).start()
    ended = {task.folder: outcome for pulse in finish(tasks, finish_run, 2, never) for task, outcome in pulse}
    assert ended == dict.fromkeys([killed.path, finished.path], Outcome("done"))
    assert 15 < len(records) < 83
    assert killed.metrics.read_text().splitlines()[:11] == records[:11]  # with their times: it was not begun anew
    for name in ("last.safetensors", "best.safetensors"):
        theirs = undisturbed.folder / killed.path.relative_to("race")
        assert_same(*(load_checkpoint(folder / name) for folder in (theirs, killed.path)))
    assert {path: path.stat().st_mtime_ns for path in finished.path.iterdir()} == before
    assert {path.name for path in Path("race").iterdir()} == {"race.json", "1", "8"}


def test_who_dies_is_tried_three_times_and_who_is_at_work_can_be_stopped(finish: FinishAll) -> None:
    tasks = [Path(name) for name in ("3", "waits", "never")]
    ended: dict[str, Outcome] = {}

    def stop() -> bool:
        return "3" in ended and Path("waits").exists()

    for pulse in finish(tasks, workers.assorted, 2, stop):
        ended.update((task.name, outcome) for task, outcome in pulse)
    assert ended.keys() == {"3", "waits"}
    assert ended["3"].state == "failed"
    assert ended["3"].error.endswith(", as 2 times before")
    assert ended["waits"] == Outcome("stopped")
    assert [Path(name).read_text() for name in ("3", "waits")] == ["...", ".."]
    assert not Path("never").exists()
    assert not Path("race/.rnnbptt.orders").exists()


def never() -> bool:
    return False
