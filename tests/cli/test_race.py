"""`race` as a user types it: what it leaves, how it stops and goes on, and what it refuses before any run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

import pytest

from rnnbptt.cli.stopping import STOPS
from rnnbptt.report.page_html import read_data
from rnnbptt.storage.lock import is_ours
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.work import finish_run
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.starting import RunConfig
from support.commands import misuse, refusal, run, shell, succeed
from support.races import breaking, in_process
from support.runs import assert_same, without_time
from support.texts import prose, tree

SMALL = ["--hidden", "8", "--streams", "4", "--engine", "torch", "--precision", "float32", "--seeds", "1"]
SMALL += ["--chars", "3000", "--eval-every", "500"]
RACE = ["race", "text.txt", *SMALL, "--trunc", "1", "--trunc", "1..4", "--workers", "2"]
PLACES = ["1/seed-0", "1-again/seed-1", "1..4/seed-0"]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a race that nothing disturbed, done by one process, and what was said."""
    folder = tmp_path_factory.mktemp("raced")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("rnnbptt.study.race.running.finish_all", in_process)
        Path("text.txt").write_text(prose(3000), encoding="utf-8")
        result = run(*RACE)
    assert result.exit_code == 0
    return folder / "races/text", result.stderr


@pytest.fixture
def raced(whole: tuple[Path, str]) -> str:
    """The race, to be changed at will."""
    shutil.copytree(whole[0], "raced")
    return "raced"


def assert_as(whole: Path, race: Path) -> None:
    """Each run is that of the other race, bit for bit but for time."""
    assert [str(path.parent.relative_to(race)) for path in sorted(race.glob("*/*/last.safetensors"))] == PLACES
    for place in PLACES:
        for name in ("last.safetensors", "best.safetensors"):
            theirs, ours = (load_checkpoint(folder / place / name) for folder in (whole, race))
            corpus = replace(ours.document.corpus, path=theirs.document.corpus.path)
            assert_same(theirs, replace(ours, document=replace(ours.document, corpus=corpus)))
        records = [(folder / place / "metrics.jsonl").read_text().splitlines() for folder in (whole, race)]
        undisturbed, after_stops = ([without_time(json.loads(line)) for line in lines] for lines in records)
        assert undisturbed == after_stops


def test_a_race_leaves_ordinary_runs_and_says_how_each_has_ended(whole: tuple[Path, str]) -> None:
    folder, said = whole
    assert [line for line in said.splitlines() if line.startswith("note: ")][:2] == [
        "note: 1 seed cannot show a difference: with 1 comparison 6 are needed (the p of 1 seed is 1 or more)",
        "note: the race lies in races/text",
    ]
    ended = [line for line in said.splitlines() if not line.startswith("note: ")]
    for number, line in enumerate(ended, 1):
        form = (
            rf"(1|1\.\.4|1 again), seed [01]: \d\.\d{{4}} bpc at best, \d+ seconds? of training \({number} of 3 runs\)"
        )
        assert re.fullmatch(form, line), line
    assert len(ended) == 3
    outcomes = json.loads((folder / "race.json").read_text())["outcomes"]
    assert outcomes == {place: {"state": "done", "error": ""} for place in PLACES}
    assert {path.name for path in folder.iterdir()} == {"race.json", "corpus", "1", "1..4", "1-again"}
    assert "1..4" in succeed("info", str(folder / "1..4/seed-0"))
    assert load_checkpoint(folder / "1/seed-0/last.safetensors").document.threads == 1


def begun(child: Popen[str], race: Path, records: int) -> None:
    """Wait until a run of the race has so many records."""
    while child.poll() is None:
        if any(path.read_bytes().count(b"\n") >= records for path in race.glob("*/*/metrics.jsonl")):
            return
        time.sleep(0.005)


def test_a_race_that_was_stopped_and_killed_ends_bit_for_bit_as_an_undisturbed_one(
    whole: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    race = Path("races/text")
    child = shell(*RACE)
    begun(child, race, 15)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert re.search(
        r"^stopped, and saved: 0 of 3 runs finished\ngo on: {10}rnnbptt race --resume races/text\n\Z", stderr, re.M
    )
    assert json.loads((race / "race.json").read_text())["outcomes"] == {}
    child = shell("race", "--resume", "races/text", "--workers", "1")
    begun(child, race, 40)
    child.kill()
    child.communicate(timeout=60)  # until its workers have ended, too
    assert child.returncode == -9
    assert not list(race.glob("*/*/.rnnbptt.lock"))
    monkeypatch.setattr("rnnbptt.study.race.running.finish_all", in_process)
    succeed("race", "--resume", "races/text", "--quiet")
    assert_as(whole[0], race)


def test_finished_runs_are_left_as_they_are(raced: str) -> None:
    before, content = times(raced), tree(Path(raced))
    result = run("race", "text.txt", *SMALL, "--trunc", "01", "--trunc", "1..4", "--resume", raced)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "note: the race lies in raced"
    assert (times(raced), tree(Path(raced))) == (before, content)


def times(folder: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


def test_what_breaks_is_tried_again_and_what_fails_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.study.race.running.finish_run", breaking)
    truncs = [part for trunc in "148" for part in ("--trunc", trunc)]
    few = ["--chars", "500", "--seeds", "2", "--workers", "1"]
    result = run("race", "text.txt", *SMALL, *few, *truncs, "--out", "a b")
    assert result.exit_code == 1
    said = result.stderr.splitlines()
    assert said[-1] == "error: 1 of 8 runs failed: see above; what is mended goes on with --resume 'a b'"
    assert "4, seed 0: failed (5 of 8 runs): RuntimeError: boom, as 2 times before" in said
    assert "8, seed 0: diverged (7 of 8 runs): the loss is not finite" in said
    outcomes = json.loads(Path("a b/race.json").read_text())["outcomes"]
    assert {place: outcome["state"] for place, outcome in outcomes.items()} == {
        **dict.fromkeys(["1/seed-0", "1/seed-1", "1-again/seed-2", "1-again/seed-3", "4/seed-1"], "done"),
        "4/seed-0": "failed",
        **dict.fromkeys(["8/seed-0", "8/seed-1"], "diverged"),
    }
    assert not is_ours(Path("a b/.rnnbptt.lock"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trunc", "1"], "a race is of two or more; give --trunc more than once, or once and --vary NAME=A,B"),
        ([], "a race is of two or more; give --trunc more than once, or once and --vary NAME=A,B"),
        (["--trunc", "1", "--trunc", "01"], "--trunc 01: the same as --trunc 1; give each of them once"),
        (["--trunc", "1", "--trunc", "0"], "--trunc 0: at least 1 character is read for an update; give 1 or more"),
        (["--trunc", "1", "--vary", "hidden=8"], "--vary hidden=8: give it two values or more, such as streams=16,32"),
        (["--trunc", "1", "--trunc", "2", "--seeds", "0"], "--seeds 0: must be between 1 and 1,000"),
        (["--trunc", "1", "--trunc", "9999"], None),
        (["--trunc", "1", "--trunc", "2", "--streams", "5000"], None),
        (["--trunc", "1", "--trunc", "uoro", "--engine", "compiled"], None),
        (["--trunc", "1", "--trunc", "2", "--split", "1/0/0"], None),
        (["--trunc", "1", "--trunc", "2", "--out", "text.txt"], None),
        (["--trunc", "1", "--trunc", "2", "--on", "dask"], "--on dask: unknown; give one of processes, ray, slurm"),
    ],
)
def test_race_refuses_before_any_run(
    arguments: list[str], message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnbptt.study.race.running.finish_all", None)
    said = refusal("race", "text.txt", "--hidden", "8", *arguments)
    assert message is None or said == message
    assert not Path("races").exists()


def test_race_refuses_options_that_do_not_go_together() -> None:
    race = ["race", "text.txt", "--trunc", "1", "--trunc", "2"]
    assert "--epochs and --chars are both budgets" in misuse(*race, "--epochs", "1", "--chars", "9")
    assert "--vary final_lr takes the place of --final-lr; give one of them" in misuse(
        *race, "--vary", "final-lr=1,0.1", "--final-lr", "1"
    )
    assert "no text was given; give one, such as data/shakespeare.txt, or --resume RACE" in misuse("race")
    assert misuse("race", "text.txt", "--workers", "-1")
    assert "--address head:6379: of a Ray cluster; give it with --on ray" in misuse(*race, "--address", "head:6379")


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_there_is_refused_before_any_run(
    engine: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"rnnbptt.study.race.on_{engine}", raising=False)
    monkeypatch.delattr(f"rnnbptt.study.race.on_{engine}", raising=False)
    assert refusal(*RACE, "--on", engine) == f"--on {engine}: not installed; type: pip install 'rnnbptt[{engine}]'"
    assert not Path("races").exists()


def test_slurm_is_refused_where_jobs_cannot_be_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    said = "--on slurm: no sbatch on this machine; type it where jobs are submitted, or leave --on out"
    assert refusal(*RACE, "--on", "slurm") == said
    assert not Path("races").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("head", "not of a cluster; give HOST:PORT, as `ray start --head` says it"),
        ("127.0.0.1:1", "nobody answers there; give that of a Ray cluster, or leave it out"),
        ("127.0.0.1:99999", "nobody answers there; give that of a Ray cluster, or leave it out"),
    ],
)
def test_an_address_of_no_ray_cluster_is_refused(address: str, said: str) -> None:
    pytest.importorskip("ray")
    assert refusal(*RACE, "--on", "ray", "--address", address) == f"--address {address}: {said}"
    assert not Path("races").exists()


def test_a_race_is_not_begun_where_one_is(raced: str) -> None:
    before = tree(Path(raced))
    assert refusal(*RACE, "--out", raced) == "raced: holds this race; go on with it by --resume raced"
    assert refusal(*RACE, "--out", raced, "--lr", "1") == (
        "raced: holds a race with --lr 0.006, this one has 1.0; give another --out"
    )
    assert refusal("train", "text.txt", "--run", raced).startswith("raced: holds 1 and no run; give another --run")
    assert tree(Path(raced)) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--chars", "7000"], "--chars 7000: the race has 3,000 characters, and goes on so; leave it out"),
        (["--epochs", "2"], "--epochs 2: the race has 3,000 characters, and goes on so; leave it out"),
        (["--trunc", "1", "--trunc", "2"], "--trunc 1 2: the race has 1 1..4, and goes on so; leave it out"),
        (["--trunc", "1..4", "--trunc", "1"], "--trunc 1..4 1: the race has 1 1..4, and goes on so; leave it out"),
        (["--vary", "lr=1,2"], "--vary lr=1,2: the race has none, and goes on so; leave it out"),
        (["--hidden", "8", "--lr", "1"], "--lr 1.0: the race has 0.006, and goes on so; leave it out"),
        (["--seeds", "7"], "--seeds 7: the race has 1, and goes on so; leave it out"),
        (["--engine", "compiled"], "--engine compiled: the race has torch, and goes on so; leave it out"),
        (["--nfc"], "--nfc True: the race has False, and goes on so; leave it out"),
        (["--out", "other"], "--out other: --resume goes on in raced; leave one of them out"),
    ],
)
def test_resume_refuses_what_is_not_true_of_the_race(raced: str, options: list[str], said: str) -> None:
    assert said in misuse("race", "--resume", raced, *options)


def test_resume_wants_a_race_and_its_text(raced: str) -> None:
    Path("text.txt").write_text(prose(3000, seed=1), encoding="utf-8")
    assert refusal("race", "text.txt", "--resume", raced) == (
        "text.txt: not the text of the race in raced; leave it out, or give that one"
    )
    said = ": no race to resume; give the folder of one, or leave --resume out to begin one"
    assert refusal("race", "--resume", "races/it") == f"races/it{said}"
    assert refusal("race", "--resume", f"{raced}/1") == f"raced/1{said}"
    assert not Path("races").exists()


# --- the answer -------------------------------------------------------------------------------------------------------

CLAIM = '[[claim]]\nsays = "It is so."\nrule = "ends"\nfirst = "1..4"\nsecond = "1"\n'


def test_the_answer_is_what_the_runs_show(raced: str) -> None:
    out = succeed("race", "--resume", raced, "--quiet")
    compared = json.loads(succeed("compare", f"{raced}/1/seed-0", f"{raced}/1..4/seed-0", "--json", "-"))
    for label, row in zip(("1", "1..4"), compared["rows"], strict=True):
        assert re.search(rf"^{re.escape(label)} +{row['scores'][1]['bpc']:.4f} ", out, re.MULTILINE)
    (apart,) = (pair["difference"] for pair in compared["pairs"] if pair["split"] == "test")
    assert (
        f"Between 1..4 and 1 no difference is shown: {apart:+.3f} bits per character; p = 1 is above 0.05"
        in " ".join(out.split())
    )


def test_too_few_seeds_for_its_claims_are_noted(raced: str) -> None:
    Path("claims.toml").write_text(CLAIM)
    said = run("race", "--resume", raced, "--claim", "claims.toml").stderr
    assert "note: 1 seed cannot show a claim: with 1 claim 6 are needed (the p of 1 seed is 1 or more)" in said


def test_a_report_has_all_of_it(raced: str) -> None:
    Path("claims.toml").write_text(CLAIM)
    arguments = ["--report", "out", "--json", "-", "--threshold", "4.5", "--claim", "claims.toml", "--prompt", "e"]
    figures = json.loads(succeed("race", "--resume", raced, "--quiet", *arguments, "--sample-length", "30"))
    assert figures == json.loads(Path("out/figures.json").read_text())
    assert [each["bpc"] for each in figures["thresholds"]] == [4.5, 4.5]
    assert [(each["says"], each["word"]) for each in figures["judgements"]] == [("It is so.", "not shown")]
    page = Path("out/race.html").read_text("utf-8")
    assert "rnnbptt race text.txt --trunc 1 --trunc 1..4 --hidden 8 --streams 4 --eval-every 500" in page
    assert "1..4, seed 0" in page
    held = read_data(page)
    assert held["result"] == figures
    assert held["rerun"]["config"]["truncs"] == ["1", "1..4"]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("curves.png", "curves.svg", "figures.json", "race.html", "validations.csv")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--claim", "claims.toml"],
            "--claim claims.toml: 'It is so.' is of '1..4', which is not raced; give one of 1, 8",
        ),
        (["--report", "text.txt"], "--report text.txt: a file is there; give a folder"),
        (["--report", "."], "--report .: holds claims.toml and no report of a race; give another folder"),
        (["--report", "new", "--prompt", "é"], None),
        (["--json", "nowhere/x"], "cannot write nowhere/x: No such file or directory; give a file that can be written"),
    ],
)
def test_what_the_answer_cannot_be_is_said_before_any_run(arguments: list[str], message: str | None) -> None:
    Path("claims.toml").write_text(CLAIM)
    said = refusal("race", "text.txt", *SMALL, "--trunc", "1", "--trunc", "8", *arguments)
    assert said == message or (message is None and said.startswith("the vocabulary has no character 'é'"))
    assert not Path("races").exists()


def test_runs_of_different_budgets_get_no_answer(raced: str) -> None:
    succeed("train", "--resume", f"{raced}/1/seed-0", "--chars", "4000", "--quiet")
    said = f"{raced}/1/seed-0: not with the options of the race; move it away, and it is run again"
    assert refusal("race", "--resume", raced, "--quiet") == said


def test_cut_records_of_a_run_are_named(raced: str) -> None:
    metrics = Path(raced, "1/seed-0/metrics.jsonl")
    metrics.write_bytes(metrics.read_bytes()[:-9])
    assert refusal("race", "--resume", raced, "--quiet") == (
        f"{metrics}: not the validations of last.safetensors; put it back as it was, or move {metrics.parent} away and"
        " train again"
    )


def test_what_the_race_keeps_is_not_written_over(raced: str) -> None:
    said = refusal("race", "--resume", raced, "--json", f"{raced}/race.json")
    assert said == f"--json {raced}/race.json: the race keeps what it is there; give another file"
    (first, *_) = sorted(path.name for path in Path(raced).iterdir())
    said = refusal("race", "--resume", raced, "--report", raced)
    assert said == f"--report {raced}: holds {first} and no report of a race; give another folder"
    assert json.loads(Path(raced, "race.json").read_text())["kind"] == "rnnbptt race"


def test_a_prompt_is_for_the_samples_of_a_report(raced: str) -> None:
    for option, value in (("--prompt", "a"), ("--sample-length", "9")):
        said = misuse("race", "--resume", raced, option, value)
        assert said.endswith(f"{option} is for the samples of a report; give --report DIR, too")


# --- once more, from the page -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def reported(whole: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the race."""
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(whole[0], "raced")
        succeed("race", "--resume", "raced", "--quiet", "--report", "out")
    return folder / "out/race.html"


@pytest.fixture
def page(reported: Path) -> Path:
    """The page, to be changed at will."""
    return Path(shutil.copy(reported, "race.html"))


def test_a_run_is_the_same_from_its_page(page: Path) -> None:
    """On the text where it was, or on one that is given; a race of one thread, as its runs are."""
    same = "1..4/0 is identical: 6 validations, to the last bit\n"
    assert succeed("race", "--replay", str(page), "--run", "1..4/0", "text.txt", "--quiet") == same
    shutil.rmtree("races", ignore_errors=True)
    assert "1 again/1 is identical" in succeed("race", "text.txt", "--replay", str(page), "--run", "1 again/1")


def test_what_differs_is_said_and_what_may_be_why(page: Path) -> None:
    text = page.read_text("utf-8")
    bpc = read_data(text)["result"]["contestants"][0]["runs"][0]["bpc"]
    page.write_text(text.replace(repr(bpc[2]), "1.5").replace('"system":"Linux', '"system":"Plan 9'), "utf-8")
    result = run("race", "--replay", str(page), "--run", "1/0", "text.txt", "--quiet")
    assert result.exit_code == 1
    assert result.stdout == (
        f"1/0 differs, validation 3, after 1,500 characters: 1.5 bits per character there, {bpc[2]!r} here;"
        " 2 validations before agree\n"
    )
    assert re.fullmatch(r"note: another here: system \(Plan 9 \w+ there, Linux \w+ here\)\n", result.stderr)
    Path("text.txt").write_text(prose(2900))
    result = run("race", "--replay", str(page), "--run", "1/0", "text.txt", "--quiet")
    assert result.exit_code == 1
    assert "note: another here: the text, or how it is split, system (" in result.stderr


def test_a_replay_says_what_it_does(page: Path) -> None:
    result = run("race", "--replay", str(page), "--run", "1/0", "text.txt")
    assert result.stderr == "note: training 1/0 again, in a folder that is gone in the end\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_replay_that_is_stopped_says_nothing(
    page: Path, number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(config: RunConfig, stop: Callable[[], bool]) -> Outcome:
        os.kill(os.getpid(), number)
        return finish_run(config, stop)

    before = [signal.getsignal(each) for each in STOPS]
    monkeypatch.setattr("rnnbptt.study.race.replaying.finish_run", stopped)
    result = run("race", "--replay", str(page), "--run", "1/0", "text.txt", "--quiet")
    for each, handler in zip(STOPS, before, strict=True):
        signal.signal(each, handler)
    assert (result.exit_code, result.output) == (code, "")


def test_what_cannot_be_replayed(page: Path) -> None:
    given = ["race", "--replay", str(page)]
    assert refusal(*given, "--run", "2/0") == "--run 2/0: no run of that race; give one of 1/0, 1..4/0, 1 again/1"
    assert refusal("race", "--replay", "text.txt", "--run", "1/0").startswith(
        "--replay text.txt: not a page of rnnbptt"
    )
    gone = page.read_text("utf-8")
    page.write_text(re.sub(r'"path":"[^"]*"', '"path":"/nowhere"', gone), "utf-8")
    said = "/nowhere: the text of the race is no longer there; give the text that was raced"
    assert refusal(*given, "--run", "1/0") == said
    assert misuse(*given).endswith("--replay PAGE and --run STRATEGY/SEED go together; give both")
    assert misuse("race", "text.txt", "--run", "1/0").endswith("go together; give both")
    said = "--lr: the page has all that its run was made with; leave it out"
    assert misuse(*given, "--run", "1/0", "--lr", "0.1").endswith(said)
