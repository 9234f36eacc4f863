"""The commands as a user types them: exact output, exit codes 0, 1, 2 and 130, and the files they leave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.main import get_command
from typer.testing import CliRunner, Result

from rnnbptt import __version__
from rnnbptt.cli.app import app
from rnnbptt.text.options import TextOptions
from support.texts import prose

SMALL = ["--hidden", "12", "--streams", "4", "--quiet", "--threads", "1"]
TRAIN = ["train", "text.txt", *SMALL]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one text in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("text.txt").write_text(prose(3000), encoding="utf-8")
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def succeed(*arguments: str) -> str:
    """Standard output of a command that must end well."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(*arguments: str) -> str:
    """The one line of standard error of a command that must end with 1."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ").rstrip("\n")


def misuse(*arguments: str) -> str:
    """What a command that must end with 2 says, on one line and without its frame."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


def shell(arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from rnnbptt.cli.app import main; main()", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


# --- all commands -----------------------------------------------------------------------------------------------------


def test_version_and_help() -> None:
    assert succeed("--version") == f"rnnbptt {__version__}\n"
    for command in ("prepare", "train", "sample", "compare", "probe"):
        assert command in succeed("--help")
        assert "Usage: " in succeed(command, "--help")


def test_help_and_refusals_do_not_load_torch() -> None:
    for arguments in (["--help"], ["train", "--help"], ["train"], ["train", "text.txt", "--trunc", "0"]):
        code = (
            "import sys\nfrom rnnbptt.cli.app import main\n"
            f"sys.argv[1:] = {arguments!r}\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "sys.exit(3 if 'torch' in sys.modules else 0)\n"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr


def test_the_options_are_these() -> None:
    """Frozen: a new option is a decision."""
    options = {
        name: sorted(option for parameter in command.params for option in parameter.opts if option.startswith("--"))
        for name, command in get_command(app).commands.items()
    }
    text = ["--encoding", "--min-count", "--nfc", "--split", "--unit"]
    machine = ["--device", "--threads"]
    assert options == {
        "prepare": sorted([*text, "--force", "--out"]),
        "train": sorted(
            [
                *text,
                *machine,
                *("--trunc", "--run", "--resume", "--force", "--quiet"),
                *("--epochs", "--chars", "--updates", "--minutes"),
                *("--cell", "--hidden", "--layers", "--dropout"),
                *("--streams", "--optimizer", "--lr", "--warmup", "--final-lr", "--weight-decay"),
                *("--beta2", "--beta2-chars", "--clip", "--seed"),
                *("--eval-every", "--sample-length", "--precision"),
            ]
        ),
        "sample": sorted(
            [
                *machine,
                *("--prompt", "--prompt-file", "--length", "--temperature", "--top-k", "--top-p"),
                *("--stop", "--count", "--seed"),
            ]
        ),
        "compare": sorted(["--text", "--plot", "--json", "--prompt", "--sample-length", "--seed", "--threads"]),
        "probe": sorted(["--depth", "--streams", "--trunc", "--check", "--plot", "--json", "--threads"]),
    }


def test_text_options_are_by_default_those_of_the_library() -> None:
    for name in ("prepare", "train"):
        defaults = {p.name: p.default for p in get_command(app).commands[name].params}
        assert {field: defaults[field] for field in asdict(TextOptions())} == asdict(TextOptions())


def test_running_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr("rnnbptt.training.loop.Trainer._update", fail)
    assert refusal(*TRAIN) == "out of memory; give a shorter --trunc or --depth, fewer --streams or less --hidden"


# --- prepare ----------------------------------------------------------------------------------------------------------


def test_prepare_shows_what_it_made() -> None:
    Path("tiny.txt").write_text("abcab " * 50, encoding="utf-8")
    lines = succeed("prepare", "tiny.txt", "--split", "0.8/0.2/0").splitlines()
    assert [re.split("  +", line.strip()) for line in lines] == [
        ["tiny.corpus"],
        ["characters", "300"],
        ["symbols", "4"],
        ["training", "240"],
        ["validation", "60"],
        ["test", "0"],
        ["order-0 entropy", "1.9183 bits per character"],
        ["most common", "'a' 33.3%", "'b' 33.3%", "' ' 16.7%", "'c' 16.7%"],
    ]
    assert sorted(path.name for path in Path("tiny.corpus").iterdir()) == ["corpus.json", "ids.npy"]


def test_prepare_says_what_is_unknown_and_unused() -> None:
    Path("tiny.txt").write_text("abab" * 30 + "ż", encoding="utf-8")
    shown = succeed("prepare", "tiny.txt", "--split", "50/20/20", "--min-count", "2", "--out", "other").splitlines()
    assert [line.split() for line in shown if line.startswith(("unknown", "in no part"))] == [
        ["in", "no", "part", "31"],
        ["unknown", "1"],
    ]


def test_prepare_refuses() -> None:
    assert refusal("prepare", "none.txt") == (
        "cannot read 'none.txt': No such file or directory; give the path of a readable text, or - for standard input"
    )
    succeed("prepare", "text.txt")
    assert refusal("prepare", "text.txt") == "'text.corpus' exists; give --force to prepare it again, or another folder"
    succeed("prepare", "text.txt", "--force")
    assert "Missing argument" in misuse("prepare")


# --- train ------------------------------------------------------------------------------------------------------------


def test_train_leaves_a_run() -> None:
    assert succeed(*TRAIN, "--chars", "2000", "--trunc", "4") == ""
    folder = Path("runs/text-4")
    names = ["best.safetensors", "corpus", "last.safetensors", "metrics.jsonl"]
    assert sorted(path.name for path in folder.iterdir()) == names
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert (lines[-1]["kind"], lines[-1]["chars"]) == ("eval", 2000)


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
        "train", "text.txt", *SMALL[:4], "--threads", "1", "--chars", "400", "--eval-every", "200", "--trunc", "5"
    )
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if "characters" in line]
    assert [line[:25] for line in lines] == [" 50%           200 charac", "100%           400 charac"]
    header, best, last, cost = result.stdout.splitlines()
    assert header.split() == ["runs/text-5", "characters", "bits", "per", "character", "nats"]
    assert best.split()[:2] == ["best", "400"]
    assert last.split()[:2] == ["last", "400"]
    assert re.fullmatch(r"20 updates, \d+ s of training", cost)


def test_train_refuses_a_used_folder() -> None:
    succeed(*TRAIN, "--chars", "400", "--run", "mine")
    before = Path("mine/last.safetensors").read_bytes()
    assert refusal(*TRAIN, "--chars", "400", "--run", "mine") == (
        "mine: holds a run; give --resume to continue it, --force to replace it, or another --run"
    )
    assert Path("mine/last.safetensors").read_bytes() == before
    succeed(*TRAIN, "--chars", "800", "--run", "mine", "--force")
    assert Path("mine/last.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trunc", "0"], "--trunc 0: at least 1 character is read for an update; give 1 or more"),
        (["--cell", "cnn"], "--cell cnn: unknown; give one of rnn, gru, lstm, elstm, window:N"),
        (
            ["--trunc", "rtrl", "--hidden", "200"],
            "--trunc rtrl would take 4.1 GiB for influences (400 units of state x parameters x 4 streams), of which 2"
            " are allowed; give snap, which keeps one number a parameter and stream, or less --hidden or fewer"
            " --streams",
        ),
        (["--optimizer", "lion"], "--optimizer lion: unknown; give one of adam, rmsprop, sgd"),
        (["--epochs", "0"], "--epochs 0: must be a number above 0 and at most 1e+15"),
        (
            ["--streams", "5000"],
            "--streams 5000: too many for the 2700 symbols of the training text, give at most 1349",
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
    assert "--force cannot be given with --resume" in misuse("train", "text.txt", "--resume", "--force")
    assert "--lr cannot be given with --resume" in misuse("train", "text.txt", "--resume", "--lr", "0.1")


def test_train_refuses_options_that_would_have_no_effect() -> None:
    succeed("prepare", "text.txt")
    assert "--unit is for a text file: text.corpus is prepared already" in misuse(
        "train", "text.corpus", "--unit", "byte"
    )
    assert "--beta2 is for adam and rmsprop" in misuse(*TRAIN, "--optimizer", "sgd", "--beta2", "0.9")
    both = ["--beta2", "0.9", "--beta2-chars", "1000"]
    assert "--beta2-chars takes the place of --beta2; give one of them" in misuse(*TRAIN, *both)


def test_a_start_that_fails_leaves_the_old_run_whole() -> None:
    succeed(*TRAIN, "--chars", "400", "--run", "mine")
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    Path("text.txt").write_text(prose(3000, seed=5), encoding="utf-8")
    for wrong in (["--streams", "5000"], ["--device", "nonsense"], ["--seed", "-1"]):
        refusal(*TRAIN, "--run", "mine", "--force", *wrong)
        assert {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), MemoryError(), RuntimeError("cannot allocate memory")])
def test_no_failure_at_the_start_leaves_a_corpus_that_a_later_run_would_take(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    from rnnbptt.bptt.network import CharRNN

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(CharRNN, "create", fail)
        assert run(*TRAIN, "--run", "mine").exit_code == (130 if isinstance(failure, KeyboardInterrupt) else 1)
    assert not [path for path in Path("mine").rglob("*") if path.is_file()]


def test_a_corpus_that_a_killed_start_has_left_is_not_taken() -> None:
    succeed("prepare", "text.txt")
    Path("mine").mkdir()
    Path("text.corpus").rename("mine/.corpus")
    succeed("prepare", "text.txt", "--split", "0.8/0.1/0.1")
    succeed("train", "text.corpus", *SMALL, "--chars", "400", "--run", "mine")
    assert not Path("mine/corpus").exists()


def test_an_interrupted_run_resumes_bit_for_bit() -> None:
    options = ["train", "text.txt", *SMALL, "--chars", "24000", "--trunc", "1", "--dropout", "0.2"]
    succeed(*options, "--run", "whole")
    child = shell([*options, "--run", "parts"])
    metrics = Path("parts/metrics.jsonl")
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (130, "")
    assert len(metrics.read_text().splitlines()) < len(Path("whole/metrics.jsonl").read_text().splitlines())

    succeed("train", "text.txt", "--run", "parts", "--resume", "--quiet", "--threads", "1")
    whole, parts = (load_file(Path(name, "last.safetensors")) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    records = [
        [
            {key: value for key, value in json.loads(line).items() if "second" not in key}
            for line in Path(name, "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "parts")
    ]
    assert records[0] == records[1]


def test_a_resumed_run_may_go_on_for_longer() -> None:
    succeed(*TRAIN, "--chars", "400", "--run", "mine")
    succeed("train", "text.txt", "--run", "mine", "--resume", "--chars", "1200", "--quiet")
    records = [json.loads(line) for line in Path("mine/metrics.jsonl").read_text().splitlines()]
    assert records[-1]["chars"] == 1200
    chars = [record["chars"] for record in records]
    assert chars == sorted(chars)


def test_resume_wants_a_run() -> None:
    assert refusal("train", "text.txt", "--resume") == (
        "runs/text-16..64: no run to resume; name its folder with --run, or leave --resume out to begin one"
    )


def test_resume_of_a_prepared_text_wants_that_folder() -> None:
    succeed("prepare", "text.txt")
    succeed("train", "text.corpus", *SMALL, "--chars", "400", "--run", "mine")
    prepared = Path("text.corpus").resolve()
    assert refusal("train", "text.txt", "--run", "mine", "--resume") == (
        f"text.txt: mine/last.safetensors was trained on the prepared {prepared}; give that to resume"
    )


def test_a_run_goes_on_elsewhere_where_it_is_told_so() -> None:
    from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint

    succeed(*TRAIN, "--chars", "400", "--run", "mine")
    last = Path("mine/last.safetensors")
    checkpoint = load_checkpoint(last)
    save_checkpoint(last, checkpoint.tensors, replace(checkpoint.document, device="nonsense"))
    again = ["train", "text.txt", "--run", "mine", "--resume", "--chars", "800", "--quiet"]
    assert refusal(*again) == "mine/last.safetensors: --device nonsense: torch has no such device here; give cpu"
    succeed(*again, "--device", "cpu")


def test_resume_wants_the_same_text() -> None:
    succeed(*TRAIN, "--chars", "400", "--run", "mine")
    Path("text.txt").write_text(prose(3000, seed=1), encoding="utf-8")
    assert refusal("train", "text.txt", "--run", "mine", "--resume") == (
        "text.txt: not the text that mine/last.safetensors was trained on; give that one to resume"
    )


def test_divergence_keeps_the_last_good_checkpoint() -> None:
    said = refusal(*TRAIN, "--optimizer", "sgd", "--lr", "1e38", "--clip", "0", "--trunc", "2", "--chars", "2000")
    assert re.fullmatch(
        r"the (loss|gradient) is not finite at character [\d,]+ \(update \d+\); what was saved before is kept;"
        r" try a lower --lr \(it was 1e\+38\) or a --clip above 0",
        said,
    )


@pytest.mark.parametrize("trunc", ["snap:8", "rtrl", "shuffle(snap:1..snap:4)", "adaptive:0.5"])
def test_what_goes_back_through_the_state_is_refused_where_there_is_none(trunc: str) -> None:
    assert refusal(*TRAIN, "--cell", "window:2", "--trunc", trunc) == (
        f"--trunc {trunc}: --cell window:2 has no state for a gradient to go back through; give a plain K such as 16"
    )
    assert not Path("runs").exists() or not any(Path("runs").rglob("*.safetensors"))


def test_a_window_network_goes_through_the_same_commands() -> None:
    options = [*TRAIN, "--trunc", "16", "--layers", "2", "--dropout", "0.2"]
    succeed(*options, "--cell", "window:2", "--chars", "1500", "--run", "parts")
    succeed("train", "text.txt", "--run", "parts", "--resume", "--chars", "3000", "--quiet")
    succeed(*options, "--cell", "lstm", "--chars", "3000", "--run", "lstm")
    assert len(succeed("sample", "parts", "--length", "30")) == 31
    shown = succeed("compare", "lstm", "parts", "--sample-length", "0")
    assert re.search(r"parts +16 +window:2 ", shown), shown


# --- sample -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint() -> str:
    succeed(*TRAIN, "--chars", "2000", "--run", "mine")
    return "mine"


def test_sample_writes_the_text_and_nothing_else(checkpoint: str) -> None:
    result = run("sample", checkpoint, "--prompt", "the ", "--length", "40")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout) == len("the ") + 40 + 1
    assert result.stdout.startswith("the ")
    assert run("sample", checkpoint, "--prompt", "the ", "--length", "40").stdout == result.stdout
    Path("prompt.txt").write_text("the ", encoding="utf-8")
    assert run("sample", checkpoint, "--prompt-file", "prompt.txt", "--length", "40").stdout == result.stdout


def test_sample_makes_several(checkpoint: str) -> None:
    text = succeed("sample", checkpoint, "--count", "3", "--length", "10", "--top-k", "2", "--prompt", "a")
    assert len(text) == 3 * 11 + 2 * 2 + 1


def test_sample_refuses(checkpoint: str) -> None:
    assert refusal("sample", "nowhere") == (
        "nowhere: no such checkpoint; give a run folder (such as runs/NAME) or a .safetensors file"
    )
    assert "'é' (U+00E9" in refusal("sample", checkpoint, "--prompt", "café")
    assert refusal("sample", checkpoint, "--temperature", "-1") == "--temperature -1: must be 0 or more"
    assert "--prompt and --prompt-file both give a prompt" in misuse(
        "sample", "x", "--prompt", "a", "--prompt-file", "b"
    )


def test_sample_ends_quietly_when_the_pipe_closes(checkpoint: str) -> None:
    child = shell(["sample", checkpoint, "--length", "0"])
    assert child.stdout
    assert child.stderr
    assert len(child.stdout.read(50)) == 50
    child.stdout.close()
    assert child.wait(timeout=60) == 0
    assert child.stderr.read() == ""
    child.stderr.close()


def test_sample_ends_with_130_when_interrupted(checkpoint: str) -> None:
    child = shell(["sample", checkpoint, "--length", "0"])
    assert child.stdout
    child.stdout.read(50)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (130, "")


# --- compare ----------------------------------------------------------------------------------------------------------


def test_compare_shows_tables_samples_plot_and_json() -> None:
    Path("long.txt").write_text(prose(30000), encoding="utf-8")
    succeed("prepare", "long.txt")
    for trunc in ("1", "8"):
        succeed("train", "long.corpus", *SMALL, "--trunc", trunc, "--chars", "4000")
    runs = ["runs/long-1", "runs/long-8"]
    result = run("compare", *runs, "--plot", "curves.png", "--json", "all.json", "--sample-length", "20")
    assert result.exit_code == 0
    assert "warning" not in result.stderr
    document = json.loads(Path("all.json").read_text())
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["truncation", "cell", "parameters", "characters", "updates", "seconds", "char/s"]
    assert lines[1].split()[:5] == ["long-1", "1", "lstm", f"{document['rows'][0]['parameters']:,}", "4,000"]
    assert document["pairs"][0]["verdict"] in result.stdout
    assert [line for line in lines if line.startswith("--- ")] == ["--- long-1 (1)", "--- long-8 (8)"]
    swapped = run("compare", *runs[::-1], "--sample-length", "0").stdout
    assert document["pairs"][0]["verdict"] in swapped


def test_compare_says_before_the_work_what_it_cannot_sample_and_keeps_what_it_found_where_it_cannot_draw() -> None:
    for trunc in ("1", "8"):
        succeed(*TRAIN, "--trunc", trunc, "--chars", "2000")
    runs = ["runs/text-1", "runs/text-8"]
    assert refusal("compare", *runs, "--prompt", "€").startswith("the vocabulary has no character '€'")
    assert refusal("compare", *runs, "--seed", f"{2**64}").startswith("--seed 18446744073709551616: must be from 0")
    for folder in runs:
        Path(folder, "metrics.jsonl").unlink()
    result = run("compare", *runs, "--plot", "curves.svg", "--json", "all.json")
    assert (result.exit_code, result.stderr.splitlines()[-1][:26]) == (1, "error: --plot curves.svg: ")
    assert json.loads(Path("all.json").read_text())["pairs"][0]["verdict"] in result.stdout


def test_compare_warns_of_other_differences() -> None:
    succeed("prepare", "text.txt")
    for name, hidden in (("a", "8"), ("b", "9")):
        succeed("train", "text.corpus", *SMALL[2:], "--hidden", hidden, "--chars", "400", "--run", name)
    result = run("compare", "a", "b", "--sample-length", "0")
    assert "warning: a and b have the same truncation and differ in: hidden 8 / 9\n" in result.stderr


def test_compare_refuses() -> None:
    assert "2 run folders" in refusal("compare", "nowhere") or "no such checkpoint" in refusal("compare", "nowhere")


# --- probe ------------------------------------------------------------------------------------------------------------


def test_probe_shows_tables_plot_json_and_check() -> None:
    succeed(*TRAIN, "--chars", "2000", "--run", "mine")
    arguments = ["probe", "mine", "--depth", "16", "--streams", "4", "--threads", "1"]
    more = [word for spec in ("4/8", "16/32", "rtrl:4") for word in ("--trunc", spec)]
    result = run(*arguments, *more, "--check", "--plot", "p.png", "--json", "p.json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == (
        "note: the gradient of depth 16 on 4 streams keeps 0 MiB and influences 3 MiB;"
        " a smaller --depth or fewer --streams take less"
    )
    assert all(line.startswith("note: ") for line in result.stderr.splitlines())
    document = json.loads(Path("p.json").read_text())
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    lines = [line.split() for line in result.stdout.splitlines()]
    truncs = ["1", "2", "4", "8", "16", "snap", "snap:1", "snap:8", "4/8", "16/32", "rtrl:4"]
    assert [found["trunc"] for found in document["gradients"]] == truncs
    assert [line[0] for line in lines if len(line) == 5 and line[0] in truncs] == truncs
    assert ["16/32", "1.0000", "0.0000", "1.0000", "0.0000"] in lines
    assert ["cosine", *truncs] in lines
    assert ["relative", "bias", *truncs] in lines
    assert [str(document["contexts"][-1]["characters"]), f"{document['contexts'][-1]['bpc']:.4f}"] in lines
    assert [
        "layer",
        "0",
        *(f"{document['staleness'][0][of]:.2%}" for of in ("median", "largest", "unsettled")),
    ] in lines
    assert len(document["checks"]) == 6
    for check in document["checks"]:
        assert check["autograd_error"] < 1e-12
        assert check["finite_difference_error"] < 1e-5
        assert f"{check['written_out']:.15f}" in result.stdout
    assert "autograd" not in succeed(*arguments)


def test_probe_refuses() -> None:
    assert refusal("probe", "nowhere") == (
        "nowhere: no such checkpoint; give a run folder (such as runs/NAME) or a .safetensors file"
    )
    assert refusal("probe", "nowhere", "--plot", "p.pdf") == (
        "--plot p.pdf: cannot tell the format from '.pdf'; give a name in .png or .svg"
    )
    for command in ("probe", "compare"):
        for option in ("--json", "--plot"):
            assert refusal(command, "nowhere", option, "none/result.png") == (
                "cannot write none/result.png: No such file or directory; give a file that can be written"
            )
        assert refusal(command, "nowhere", "--json", ".") == (
            "cannot write .: Is a directory; give a file that can be written"
        )
    assert refusal("probe", "nowhere", "--trunc", "0") == (
        "--trunc 0: at least 1 character is read for an update; give 1 or more"
    )
    succeed(*TRAIN, "--chars", "400", "--run", "mine")
    assert refusal("probe", "mine") == (
        "--depth 512: 16 streams of twice as many characters take 16,385, and the held-out text has 300; "
        "give a smaller --depth or fewer --streams"
    )
    assert "Invalid value for '--depth'" in misuse("probe", "mine", "--depth", "1")
