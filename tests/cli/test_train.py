"""`train`: the run it leaves, what it shows and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rnnbptt.model.config import ModelConfig
from rnnbptt.text.options import TextOptions
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from support.commands import SMALL, TRAIN, misuse, refusal, run, shell, succeed
from support.forks import Fork
from support.texts import prose


def test_train_leaves_a_run(mine: str) -> None:
    names = ["best.safetensors", "corpus", "last.safetensors", "metrics.jsonl"]
    assert sorted(path.name for path in Path(mine).iterdir()) == names
    lines = [json.loads(line) for line in Path(mine, "metrics.jsonl").read_text().splitlines()]
    assert (lines[-1]["kind"], lines[-1]["chars"]) == ("eval", 2000)


def test_every_option_reaches_the_run() -> None:
    """Each of another value than it has by default."""
    model = ModelConfig(1, cell="gru", hidden=7, layers=2, dropout=0.25)
    training = TrainConfig(
        trunc="2..8",
        budget=Budget("updates", 40),
        streams=3,
        optimizer="rmsprop",
        lr=0.003,
        warmup=50,
        decay="linear",
        final_lr=0.5,
        weight_decay=0.25,
        beta2=0.9,
        clip=2.0,
        seed=5,
        eval_every=100,
    )
    text = TextOptions(encoding="latin-1", nfc=True, min_count=2, split="0.8/0.1/0.1")
    settings = {**vars(model), **vars(training), **vars(text), "updates": 40, "precision": "float64", "run": "it"}
    arguments = ["--nfc", "--quiet"]
    for name, value in settings.items():
        if name not in ("vocabulary", "budget", "nfc", "unit", "beta2_chars"):
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    succeed("train", "text.txt", *arguments)
    document = load_checkpoint(Path("it/last.safetensors")).document
    assert document.train == training
    assert document.model == replace(model, vocabulary=len(document.vocabulary))
    assert document.corpus.options == text
    assert document.precision == "float64"


def test_texts_that_differ_after_a_dot_make_runs_of_their_own() -> None:
    for version in ("v1.0", "v1.1"):
        Path(f"{version}.txt").write_text(prose(3000), encoding="utf-8")
        succeed("prepare", f"{version}.txt")
        assert Path(f"{version}.corpus/ids.npy").exists()


def test_a_run_is_named_so_that_any_file_system_bears_it() -> None:
    for trunc, name in (("8/2", "text-8-2"), ("stateless:8", "text-stateless-8")):
        succeed(*TRAIN, "--chars", "200", "--trunc", trunc)
        assert Path("runs", name, "last.safetensors").exists()


def test_train_shows_lines_and_a_table() -> None:
    result = run(
        *("train", "text.txt", *SMALL[:4], "--threads", "1", "--chars", "400", "--eval-every", "200", "--trunc", "5"),
        *("--sample-length", "0", "--engine", "torch"),
    )
    assert result.exit_code == 0
    model, text, budget, time, half, whole, *after = result.stderr.splitlines()
    assert re.fullmatch(r"model   lstm of 12: [\d,]+ parameters; (bfloat16|float32), 1 thread", model)
    assert text == "text    text.txt: 3,000 characters, 30 symbols, split 0.9/0.05/0.05"
    assert budget == "budget  400 characters, truncation 5; saved in runs/text-5"
    assert re.fullmatch(r"time    about \d+ seconds? at the speed so far; Ctrl-C saves and stops", time)
    assert [line[:29] for line in (half, whole)] == [" 50%           200 characters", "100%           400 characters"]
    assert after == [
        "finished: 400 characters done",
        "go on:          rnnbptt train --resume runs/text-5 --chars 800",
        "generate text:  rnnbptt sample runs/text-5",
        "compare it:     rnnbptt compare runs/text-5 OTHER_RUN",
    ]
    assert all(len(line) <= 80 for line in result.stderr.splitlines())
    header, best, last, cost = result.stdout.splitlines()
    assert header.split() == ["runs/text-5", "characters", "bits", "per", "character", "nats"]
    assert best.split()[:3] == ["best", "validation", "400"]
    assert last.split()[:3] == ["last", "validation", "400"]
    assert re.fullmatch(r"400 characters, 20 updates, \d+\.\d s of training", cost)


def test_the_compiled_engine_is_named() -> None:
    small = ("--hidden", "12", "--streams", "1", "--trunc", "1", "--chars", "40", "--sample-length", "0")
    result = run("train", "text.txt", *small, "--run", "few", "--precision", "float32")
    assert result.exit_code == 0
    assert re.match(r"model   lstm of 12: [\d,]+ parameters; float32, compiled, \d+ threads?\n", result.stderr)
    assert load_checkpoint(Path("few/last.safetensors")).document.engine == "compiled"
    refused = refusal("train", "--resume", "few", "--engine", "compiled", "--device", "meta")
    assert refused.startswith("--engine compiled: computes in --precision float32, on --device cpu, ")


def test_train_refuses_a_used_folder(mine: str) -> None:
    before = Path("mine/last.safetensors").read_bytes()
    assert refusal(*TRAIN, "--chars", "400", "--run", mine) == (
        "mine: holds a run; go on with it by --resume mine, or give --force or another --run"
    )
    assert Path("mine/last.safetensors").read_bytes() == before
    succeed(*TRAIN, "--chars", "400", "--run", mine, "--force")
    assert Path("mine/last.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trunc", "0"], "--trunc 0: at least 1 character is read for an update; give 1 or more"),
        (["--cell", "cnn"], "--cell cnn: unknown; give one of rnn, gru, lstm, mogrifier, elstm, mingru, window:N"),
        (
            ["--trunc", "rtrl", "--hidden", "200"],
            "--trunc rtrl would take 4.1 GiB for influences (400 units of state x parameters x 4 streams), of which 2"
            " are allowed; give snap, which keeps one number a parameter and stream, or less --hidden or fewer"
            " --streams",
        ),
        (
            ["--trunc", "rflo", "--cell", "rnn"],
            "--trunc rflo: --cell rnn has no leak, so that it would be 1; give 1, or one of --cell gru, lstm, elstm,"
            " mingru",
        ),
        (["--optimizer", "lion"], "--optimizer lion: unknown; give one of adam, rmsprop, sgd, muon"),
        (["--epochs", "0"], "--epochs 0: must be a number above 0 and at most 1e+15"),
        (
            ["--streams", "5000"],
            "--streams 5000: too many for the 2,700 symbols of the training text, give at most 1,349",
        ),
        (
            ["--trunc", "shuffled-state:8", "--streams", "1"],
            "--streams 1: there is no other stream to hand the state to, as --trunc shuffled-state:8 does; give at"
            " least 2",
        ),
        (
            ["--trunc", "last:8/2", "--cell", "window:3"],
            "--trunc last:8/2: --cell window:3 has no state for a gradient to go back through; give a plain K such as"
            " 16",
        ),
        (["--precision", "int8"], "--precision int8: unknown; give one of auto, float32, bfloat16, float64"),
        (["--split", "1/1"], None),
    ],
)
def test_train_refuses(arguments: list[str], message: str | None) -> None:
    said = refusal(*TRAIN, *arguments)
    assert message is None or said == message
    assert not Path("runs/text-16..64/last.safetensors").exists()


def test_train_refuses_options_that_do_not_go_together() -> None:
    assert "--epochs and --chars are both budgets; give one of" in misuse(*TRAIN, "--epochs", "1", "--chars", "9")


def test_train_refuses_options_that_would_have_no_effect() -> None:
    succeed("prepare", "text.txt")
    assert "--unit is for a text file: text.corpus is prepared already" in misuse(
        "train", "text.corpus", "--unit", "byte"
    )
    assert "--beta2 is for adam and rmsprop" in misuse(*TRAIN, "--optimizer", "sgd", "--beta2", "0.9")
    both = ["--beta2", "0.9", "--beta2-chars", "1000"]
    assert "--beta2-chars takes the place of --beta2; give one of them" in misuse(*TRAIN, *both)


def test_a_start_that_fails_leaves_the_old_run_whole(mine: str) -> None:
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    Path("text.txt").write_text(prose(3000, seed=5), encoding="utf-8")
    for wrong in (["--streams", "5000"], ["--device", "nonsense"], ["--seed", "-1"]):
        refusal(*TRAIN, "--run", mine, "--force", *wrong)
        assert {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), MemoryError(), RuntimeError("cannot allocate memory")])
def test_no_failure_at_the_start_leaves_a_corpus_that_a_later_run_would_take(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr("rnnbptt.training.starting.create_network", fail)
        assert run(*TRAIN, "--run", "mine").exit_code == (130 if isinstance(failure, KeyboardInterrupt) else 1)
    assert not [path for path in Path("mine").rglob("*") if path.is_file()]


LONG = [*TRAIN, "--chars", "5000", "--trunc", "1", "--dropout", "0.2", "--eval-every", "600"]  # to be interrupted


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("text.txt").write_text(prose(3000), encoding="utf-8")
        succeed(*LONG, "--run", "whole")
    return folder / "whole"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_an_interrupted_run_resumes_bit_for_bit(whole: Path, number: signal.Signals, code: int) -> None:
    child = shell(*LONG, "--run", "parts")
    wait_for_records("parts")
    child.send_signal(number)
    if number != signal.SIGINT:  # a lost terminal sends it twice, and that must not cost what was done
        time.sleep(0.02)
        child.send_signal(number)
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (code, "")
    lines, all_lines = (len(Path(run, "metrics.jsonl").read_text().splitlines()) for run in ("parts", whole))
    assert lines < all_lines

    succeed("train", "text.txt", "--resume", "parts", "--quiet", "--threads", "1")
    tensors, expected = (load_file(Path(run, "last.safetensors")) for run in ("parts", whole))
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    records = [
        [
            {key: value for key, value in json.loads(line).items() if "second" not in key}
            for line in Path(run, "metrics.jsonl").read_text().splitlines()
        ]
        for run in ("parts", whole)
    ]
    assert records[0] == records[1]


def test_a_validation_is_given_up_at_once_and_made_when_the_run_goes_on() -> None:
    """This one reads most of the text, with a network that takes a minute for it."""
    Path("long.txt").write_text(prose(400_000), encoding="utf-8")
    slow = ["--hidden", "700", "--streams", "2", "--threads", "1", "--split", "0.01/0.99/0", "--chars", "40"]
    child = Fork("train", "long.txt", *slow, "--trunc", "20", "--run", "it", "--quiet")
    wait_for_records("it")
    child.send(signal.SIGINT)
    asked = time.monotonic()
    assert child.end() == (130, "", "")
    assert time.monotonic() - asked < 10  # of a second, but other processes may be busy
    standing = load_checkpoint(Path("it/last.safetensors")).document.standing
    assert (standing.axes.chars, standing.owing, standing.validations.nats) == (40, True, [])


def test_a_run_that_ignores_a_lost_terminal_goes_on_ignoring_it() -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        child = shell(*LONG, "--run", "it")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for_records("it")
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=60)
    assert child.returncode == 0


def wait_for_records(run: str) -> None:
    metrics, deadline = Path(run, "metrics.jsonl"), time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_resumed_run_may_go_on_for_longer(mine: str) -> None:
    succeed("train", "text.txt", "--resume", mine, "--chars", "2800", "--quiet")
    records = [json.loads(line) for line in Path("mine/metrics.jsonl").read_text().splitlines()]
    assert records[-1]["chars"] == 2800
    chars = [record["chars"] for record in records]
    assert chars == sorted(chars)


def test_resume_needs_nothing_else_and_takes_what_is_true_of_the_run(mine: str) -> None:
    succeed("train", "--resume", mine, "--chars", "2400", "--quiet")
    true = ["--hidden", "12", "--trunc", "016..64", "--precision", "auto", "--streams", "4", "--run", "./mine"]
    succeed("train", "text.txt", "--resume", mine, "--chars", "2800", "--quiet", *true)
    assert load_checkpoint(Path(mine, "last.safetensors")).document.standing.axes.chars == 2800


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lr", "0.1", "--hidden", "9"], "--lr 0.1: the run has 0.006, and goes on so; leave it out"),
        (["--hidden", "9", "--lr", "0.1"], "--hidden 9: the run has 12, and goes on so; leave it out"),
        (["--split", "1/0/0"], "--split 1/0/0: the run has 0.9/0.05/0.05, and goes on so; leave it out"),
        (["--trunc", "8"], "--trunc 8: the run has 16..64, and goes on so; leave it out"),
        (["--force"], "--force begins a run, and --resume goes on with one; give one of them"),
        (["--init-from", "x"], "--init-from begins a run, and --resume goes on with one; give one of them"),
        (["--run", "other"], "--run other: --resume goes on in mine; leave one of them out"),
    ],
)
def test_resume_refuses_the_first_option_that_is_not_true_of_the_run(mine: str, options: list[str], said: str) -> None:
    assert said in misuse("train", "--resume", mine, *options)


def test_resume_of_a_finished_run_says_how_to_go_on(mine: str) -> None:
    result = run("train", "--resume", mine, "--threads", "1")
    assert result.exit_code == 0
    assert result.stdout.startswith("mine ")
    assert result.stderr.startswith(
        "finished: 2,000 characters done\ngo on:          rnnbptt train --resume mine --chars 4000\n"
    )


def test_the_budget_of_a_resumed_run_is_more_than_it_has_done(mine: str) -> None:
    for budget, shown in (("--chars", "1000"), ("--epochs", "0.1"), ("--updates", "1")):
        said = refusal("train", "--resume", mine, budget, shown)
        done = r"no more than the run has done \(2,000 characters, \d+ updates\); give more, or leave it out"
        assert re.fullmatch(f"{budget} {shown}: {done}", said)
    assert load_checkpoint(Path(mine, "last.safetensors")).document.train.budget.amount == 2000


def test_a_resumed_run_has_the_threads_that_it_had(mine: str) -> None:
    torch.set_num_threads(2)
    succeed("train", "--resume", mine, "--chars", "2400", "--quiet")
    assert load_checkpoint(Path(mine, "last.safetensors")).document.threads == 1


def test_a_run_does_not_mix_with_other_files() -> None:
    Path("texts").mkdir()
    Path("texts/mine.txt").write_text("precious", encoding="utf-8")
    for force in ([], ["--force"]):
        assert refusal(*TRAIN, "--run", "texts", *force) == "texts: holds mine.txt and no run; give another --run"
    assert [path.name for path in Path("texts").iterdir()] == ["mine.txt"]


def test_a_run_is_no_text(mine: str) -> None:
    assert refusal("train", mine) == "'mine' is a run, not a text; go on with it by --resume mine"


def test_resume_wants_a_run() -> None:
    assert refusal("train", "--resume", "runs/it") == (
        "runs/it: no run to resume; give the folder of one, or leave --resume out to begin one"
    )
    assert "no text was given; give one, such as data/shakespeare.txt, or --resume RUN" in misuse("train")


def test_an_interrupted_run_says_what_resumes_it() -> None:
    child = Fork("train", "text.txt", *SMALL[:4], "--threads", "1", "--chars", "90000", "--trunc", "1", "--run", "a b")
    wait_for_records("a b")
    child.send(signal.SIGINT)
    code, _, stderr = child.end()
    assert code == 130
    assert re.search(
        r"^stopped at \d+%, and saved\ngo on:          rnnbptt train --resume 'a b'$", stderr, re.MULTILINE
    )


def test_texts_of_their_own_for_validation_and_test() -> None:
    for name, seed in (("valid.txt", 1), ("test.txt", 2)):
        Path(name).write_text(prose(300, seed), encoding="utf-8")
    own = ["--valid", "valid.txt", "--test", "test.txt"]
    succeed(*TRAIN, *own, "--chars", "400", "--run", "it")
    assert load_checkpoint(Path("it/last.safetensors")).document.corpus.options.split == "3000/300/300"
    more = ["--resume", "it", "--quiet", "--chars"]
    succeed("train", *more, "500")
    succeed("train", "text.txt", *own, *more, "600")
    for others in (["text.txt"], ["text.txt", "--valid", "test.txt", "--test", "valid.txt"], own[:2]):
        said = refusal("train", *others, *more, "700")
        assert said.endswith("not the text that it/last.safetensors was trained on; leave it out, or give that one")
    succeed("train", "it/corpus", *more, "800")
    prepared = "--valid is for a text file: it/corpus is prepared already"
    assert prepared in misuse("train", "it/corpus", *own, *more, "900")
    assert prepared in misuse("train", "it/corpus", *own)
    assert "--test is a text of its own, and --split shares out one; give one" in misuse(
        *TRAIN, "--test", "test.txt", "--split", "1/0/0"
    )


def test_resume_wants_the_same_text(mine: str) -> None:
    Path("text.txt").write_text(prose(3000, seed=1), encoding="utf-8")
    assert refusal("train", "text.txt", "--resume", mine) == (
        "text.txt: not the text that mine/last.safetensors was trained on; leave it out, or give that one"
    )


def test_a_run_begins_with_the_weights_of_another(mine: str) -> None:
    Path("other.txt").write_text(prose(3000, seed=1).replace("a", "ä"), encoding="utf-8")
    options = [*SMALL[2:4], "--threads", "1", "--chars", "8", "--lr", "1e-12", "--sample-length", "0"]
    result = run("train", "other.txt", "--init-from", mine, *options, "--dropout", "0", "--run", "it")
    assert result.exit_code == 0
    said = "1 symbol of the text new to it, 1 of its own left out"
    assert f"note: begins with the weights of {Path('mine/best.safetensors').resolve()}; {said}\n" in result.stderr
    before, after = (load_checkpoint(Path(name, "best.safetensors")) for name in (mine, "it"))
    assert (after.document.model.hidden, after.document.model.dropout) == (12, 0)
    assert after.document.initial is not None
    w_hh = [checkpoint.tensors["model.rnn.weight_hh_l0"] for checkpoint in (before, after)]
    assert torch.allclose(*w_hh, atol=1e-9)
    assert refusal("train", "other.txt", "--init-from", mine, "--hidden", "9", "--run", "no") == (
        "--hidden 9: mine/best.safetensors has 12; leave it out, or begin with fresh weights"
    )


def test_five_samples_are_shown_a_run() -> None:
    options = ["--hidden", "12", "--streams", "4", "--threads", "1", "--trunc", "4", "--chars", "1200"]
    options += ["--eval-every", "60"]
    result = run("train", "text.txt", *options)
    lines = result.stderr.splitlines()
    assert sum(bool(re.match(r"[ \d]\d\d?%", line)) for line in lines) == 19
    samples = [
        index for index, line in enumerate(lines) if line.startswith("    ") and not lines[index - 1][:4].isspace()
    ]
    assert len(samples) == 5


def test_curves_for_tensorboard() -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    succeed(*TRAIN, "--chars", "400", "--eval-every", "200", "--tensorboard", "--run", "it")
    succeed("train", "--resume", "it", "--chars", "800", "--tensorboard", "--quiet")
    events = accumulator.EventAccumulator("it/tensorboard").Reload()
    records = [json.loads(line) for line in Path("it/metrics.jsonl").read_text().splitlines()]
    evals = [(record["chars"], record["bpc"]) for record in records if record["kind"] == "eval"]
    shown = [(event.step, event.value) for event in events.Scalars("eval/bpc")]
    assert shown == [(chars, pytest.approx(bpc)) for chars, bpc in evals]
    succeed(*TRAIN, "--chars", "400", "--eval-every", "200", "--tensorboard", "--run", "it", "--force")
    assert len(accumulator.EventAccumulator("it/tensorboard").Reload().Scalars("eval/bpc")) == 2


def test_a_run_goes_on_elsewhere_where_it_is_told_so(mine: str) -> None:
    last = Path(mine, "last.safetensors")
    checkpoint = load_checkpoint(last)
    save_checkpoint(last, checkpoint.tensors, replace(checkpoint.document, device="nonsense"))
    again = ["train", "text.txt", "--resume", mine, "--chars", "2400", "--quiet"]
    assert refusal(*again) == "mine/last.safetensors: --device nonsense: torch has no such device here; give cpu"
    succeed(*again, "--device", "cpu")


def test_divergence_keeps_the_last_good_checkpoint() -> None:
    said = refusal(*TRAIN, "--optimizer", "sgd", "--lr", "1e38", "--clip", "0", "--trunc", "2", "--chars", "2000")
    assert re.fullmatch(
        r"the (loss|gradient) is not finite at character [\d,]+ \(update \d+\); what was saved before is kept;"
        r" try a lower --lr \(it was 1e\+38\) or a --clip above 0",
        said,
    )


@pytest.mark.parametrize(
    "options",
    [
        ["--hidden", "2000000"],
        ["--streams", "1000", "--hidden", "40", "--trunc", "1/999999999"],
    ],
)
def test_what_the_machine_cannot_hold_is_refused_before_it_is_made(options: list[str]) -> None:
    assert re.search(r"would take [\d,.]{4,} GiB, and this machine has ", refusal(*TRAIN, *options))
    assert not Path("runs").exists() or not any(Path("runs").rglob("*.safetensors"))


@pytest.mark.parametrize("trunc", ["snap:8", "rflo", "rtrl", "uoro:2", "shuffle(snap:1..snap:4)", "adaptive:0.5"])
def test_what_goes_back_through_the_state_is_refused_where_there_is_none(trunc: str) -> None:
    assert refusal(*TRAIN, "--cell", "window:2", "--trunc", trunc) == (
        f"--trunc {trunc}: --cell window:2 has no state for a gradient to go back through; give a plain K such as 16"
    )
    assert not Path("runs").exists() or not any(Path("runs").rglob("*.safetensors"))


def test_a_window_network_goes_through_the_same_commands(mine: str) -> None:
    options = [*TRAIN, "--trunc", "16", "--layers", "2", "--dropout", "0.2"]
    succeed(*options, "--cell", "window:2", "--chars", "1500", "--run", "parts")
    succeed("train", "text.txt", "--resume", "parts", "--chars", "3000", "--quiet")
    assert len(succeed("sample", "parts", "--length", "30")) == 31
    shown = succeed("compare", mine, "parts", "--sample-length", "0")
    assert re.search(r"parts +16 +window:2 ", shown), shown
