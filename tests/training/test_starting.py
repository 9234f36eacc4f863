"""How runs begin and go on, without a command line: also in a process of their own, and with nothing printed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from rnnbptt.bptt.engines import HINT
from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.storage.lock import is_ours
from rnnbptt.text.options import TextOptions
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import RunConfig, begin, default_folder, resume
from support.forks import CONTEXT
from support.processes import die_holding, held_elsewhere
from support.refusals import message_of
from support.runs import assert_same, follow
from support.texts import make_corpus, prose, tree


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A small run on a text file of its own."""
    source = tmp_path / "text.txt"
    source.write_text(prose(3000), encoding="utf-8")
    training = TrainConfig("4", Budget("chars", 240), streams=4, eval_every=40)
    return RunConfig([source], tmp_path / "run", training, ModelConfig(1, hidden=6), threads=1)


def test_a_run_begins_on_a_text_file(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int | None]] = []
    trainer = begin(config, lambda *at: told.append(at))
    assert told[-1] == (3000, 3000)
    assert trainer.corpus.path == config.folder / "corpus"
    assert trainer.model.config == replace(config.model, vocabulary=len(trainer.corpus.vocabulary))
    assert sorted(tree(config.folder)) == [".rnnbptt.lock", "corpus", "corpus/corpus.json", "corpus/ids.npy"]
    records = list(RunFolder(config.folder).follow(trainer))
    assert records[-1]["chars"] == 240
    assert capsys.readouterr() == ("", "")


def test_a_run_begins_on_a_prepared_corpus(config: RunConfig, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, prose(3000))
    trainer = begin(replace(config, sources=[corpus.path]), pytest.fail)
    assert trainer.corpus.path == corpus.path
    assert list(tree(config.folder)) == [".rnnbptt.lock"]


def test_a_process_of_its_own_makes_the_same_run(config: RunConfig, tmp_path: Path) -> None:
    follow(config)
    elsewhere = replace(config, folder=tmp_path / "elsewhere")
    worker = CONTEXT.Process(target=follow, args=(elsewhere,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    ours, theirs = (load_checkpoint(folder / "last.safetensors") for folder in (config.folder, elsewhere.folder))
    corpus = replace(theirs.document.corpus, path=ours.document.corpus.path)
    assert_same(ours, replace(theirs, document=replace(theirs.document, corpus=corpus)))


def test_a_run_that_is_there_is_replaced_only_by_force(config: RunConfig) -> None:
    follow(config)
    before = tree(config.folder)
    assert "holds a run; go on with it by --resume " in message_of(begin, config)
    assert tree(config.folder) == before
    begin(replace(config, force=True))
    assert sorted(tree(config.folder)) == [".rnnbptt.lock", "corpus", "corpus/corpus.json", "corpus/ids.npy"]


def test_one_process_trains_in_a_folder(config: RunConfig, tmp_path: Path) -> None:
    follow(config)
    before = tree(config.folder)
    run = RunFolder(config.folder)
    trainer = begin(replace(config, folder=tmp_path / "other"))
    with held_elsewhere(run.lock) as other:
        held = tree(config.folder)
        for start in (
            lambda: begin(replace(config, force=True)),
            lambda: resume(config.folder, config.sources),
            lambda: next(run.follow(trainer)),
        ):
            assert message_of(start) == (
                f"{config.folder}: process {other} is training here; wait for it, or give another --run"
            )
        assert tree(config.folder) == held
    resume(config.folder, config.sources)
    run.release()
    assert tree(config.folder) == before


def test_a_run_is_let_go_when_it_ends_or_fails(config: RunConfig) -> None:
    run = RunFolder(config.folder)
    trainer = begin(config)
    assert is_ours(run.lock)
    for _ in run.follow(trainer):
        assert is_ours(run.lock)
    assert not is_ours(run.lock)
    message_of(begin, config)
    message_of(resume, config.folder, [config.sources[0].with_name("missing")])
    assert not is_ours(run.lock)
    assert not run.lock.exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), MemoryError(), RuntimeError("cannot allocate memory")])
def test_a_start_that_fails_leaves_the_folder_as_it_was(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    follow(config)
    before = tree(config.folder)

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("rnnbptt.training.starting.create_network", fail)
    with pytest.raises(type(failure)):
        begin(replace(config, force=True))
    assert tree(config.folder) == before


@pytest.mark.parametrize("records", [0, 1, 4])
def test_a_run_killed_before_its_first_checkpoint_begins_anew(config: RunConfig, records: int) -> None:
    follow(replace(config, folder=config.folder.with_name("whole")))
    run = RunFolder(config.folder)
    going = run.follow(begin(config))
    kinds = [record["kind"] for record in islice(going, records)]
    assert kinds == ["train", "train", "train", "eval"][:records]
    die_holding(run.lock)
    for name in ("last", "best"):
        (config.folder / f"{name}.safetensors").unlink(missing_ok=True)
    assert "leave --resume out to begin one" in message_of(resume, config.folder, config.sources)
    follow(config)
    folders = (config.folder, config.folder.with_name("whole"))
    lines = [len((folder / "metrics.jsonl").read_text().splitlines()) for folder in folders]
    assert lines[0] == lines[1]


def test_a_run_goes_on_from_its_best_checkpoint_where_it_was_killed_before_the_last_was_saved(
    config: RunConfig,
) -> None:
    follow(config)
    (config.folder / "last.safetensors").unlink()
    assert "holds a run; go on with it by --resume " in message_of(begin, config)
    standing = load_checkpoint(config.folder / "best.safetensors").document.standing
    assert resume(config.folder, config.sources).standing.axes == standing.axes


def test_a_corpus_that_is_there_is_replaced_only_by_the_same_or_by_force(config: RunConfig) -> None:
    begin(config)
    before = tree(config.folder / "corpus")
    begin(config)
    assert tree(config.folder / "corpus") == before
    other = replace(config, text=TextOptions(min_count=9))
    assert message_of(begin, other) == (
        f"{config.folder / 'corpus'}: made of another text, or with other options;"
        " give --force to replace it, or another --run"
    )
    assert tree(config.folder / "corpus") == before
    assert begin(replace(other, force=True)).corpus.options == other.text


@pytest.mark.parametrize("source", ["missing.txt", "text.txt"])
def test_a_folder_of_the_user_is_not_touched(config: RunConfig, source: str) -> None:
    theirs = config.folder / ".corpus"
    theirs.mkdir(parents=True)
    (theirs / "precious").touch()
    try:
        begin(replace(config, sources=[config.sources[0].with_name(source)]))
    except UserError:
        assert list(tree(config.folder)) == [".corpus", ".corpus/precious"]
    assert list(tree(theirs)) == ["precious"]


def test_a_corpus_within_the_folder_of_the_run_is_read_and_kept(config: RunConfig, tmp_path: Path) -> None:
    config.folder.mkdir()
    source = make_corpus(tmp_path, prose(3000)).path.rename(config.folder / ".corpus")
    before = tree(source)
    follow(replace(config, sources=[source]))
    assert tree(source) == before


def test_a_run_goes_on_with_its_text_for_longer(config: RunConfig) -> None:
    follow(config)
    told: list[tuple[int, int | None]] = []
    trainer = resume(config.folder, config.sources, Budget("chars", 360), tell=lambda *at: told.append(at))
    assert told[-1] == (3000, 3000)
    assert trainer.standing.axes.chars == 240
    assert list(RunFolder(config.folder).follow(trainer))[-1]["chars"] == 360


def test_a_run_goes_on_with_its_prepared_corpus(config: RunConfig, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, prose(3000))
    follow(replace(config, sources=[corpus.path]))
    for sources in ([], [corpus.path], config.sources):  # the last is the text that it was made of
        assert resume(config.folder, sources).corpus.path == corpus.path


def test_a_run_goes_on_where_it_was_unless_told_otherwise(config: RunConfig) -> None:
    follow(config)
    last = config.folder / "last.safetensors"
    checkpoint = load_checkpoint(last)
    save_checkpoint(last, checkpoint.tensors, replace(checkpoint.document, device="nonsense"))
    assert message_of(resume, config.folder, config.sources) == (
        f"{last}: --device nonsense: torch has no such device here; give cpu"
    )
    assert str(resume(config.folder, config.sources, device="cpu").model.device) == "cpu"


def test_only_a_run_goes_on_and_only_with_its_text(config: RunConfig) -> None:
    assert message_of(resume, config.folder, config.sources) == (
        f"{config.folder}: no run to resume; give the folder of one, or leave --resume out to begin one"
    )
    follow(config)
    config.sources[0].write_text(prose(3000, seed=1), encoding="utf-8")
    assert message_of(resume, config.folder, config.sources) == (
        f"{config.sources[0]}: not the text that {config.folder / 'last.safetensors'} was trained on;"
        " leave it out, or give that one"
    )


def test_what_begins_a_run_is_what_its_checkpoint_says(config: RunConfig) -> None:
    follow(config)
    document = load_checkpoint(config.folder / "best.safetensors").document
    assert document.train == config.train
    assert document.model == replace(config.model, vocabulary=len(document.vocabulary))
    assert document.corpus.options == config.text


@pytest.mark.parametrize(
    ("source", "trunc", "name"),
    [
        ("data/shakespeare.txt", "16..64", "shakespeare-16..64"),
        ("v1.1.txt.gz", "8/2", "v1.1-8-2"),
        ("text.corpus", "stateless:8", "text-stateless-8"),
        ("-", "08", "stdin-8"),
        (".hidden", "1", "hidden-1"),
    ],
)
def test_the_folder_of_a_run_unless_one_is_given(source: str, trunc: str, name: str) -> None:
    assert default_folder([Path(source)], trunc) == Path("runs", name)


def test_a_pipe_in_the_place_of_the_records_is_not_waited_for(config: RunConfig) -> None:
    follow(config)
    metrics = config.folder / "metrics.jsonl"
    metrics.unlink()
    os.mkfifo(metrics)
    said = f"{metrics}: not a file; move it away, or give another --run"
    assert message_of(resume, config.folder, config.sources) == said
    (config.folder / "last.safetensors").unlink()
    (config.folder / "best.safetensors").unlink()
    assert message_of(begin, config) == said


def test_a_run_goes_on_where_it_has_moved_to_with_its_corpus(config: RunConfig, tmp_path: Path) -> None:
    follow(config)
    moved = config.folder.rename(tmp_path / "moved")
    assert resume(moved).corpus.path == moved / "corpus"
    shutil.rmtree(moved / "corpus")
    RunFolder(moved).release()
    assert message_of(resume, moved) == (
        f"{config.folder / 'corpus'}: the corpus that {moved / 'last.safetensors'} was trained on is no longer there;"
        " put it back, or beside the checkpoint as corpus"
    )


def test_several_texts_and_folders_of_them_make_a_run(config: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("b.txt", "a.txt", ".hidden"):
        (folder / name).write_text(name * 200, encoding="utf-8")
    config = replace(config, sources=[*config.sources, folder])
    names = [Path(source.name).name for source in begin(config).corpus.sources]
    assert names == ["text.txt", "a.txt", "b.txt"]
    RunFolder(config.folder).release()
    follow(config)
    resume(config.folder, config.sources)
    assert "not the text" in message_of(resume, config.folder, config.sources[:1])


def test_a_run_goes_on_with_the_engine_it_had_unless_told_otherwise(config: RunConfig) -> None:
    config = replace(config, train=replace(config.train, trunc="1", streams=1), engine="compiled")
    follow(config)
    budget = Budget("chars", 300)
    notes = {}
    for engine in (None, "compiled", "auto", "torch"):
        trainer = resume(config.folder, budget=budget, engine=engine)
        RunFolder(config.folder).release()
        notes[engine] = (trainer.engine.name, trainer.notes)
    assert notes[None] == notes["compiled"] == notes["auto"] == ("compiled", [])
    changed = "computed by --engine compiled so far, by torch from here on: these round otherwise"
    assert notes["torch"] == ("torch", [changed])
    list(RunFolder(config.folder).follow(resume(config.folder, budget=budget, engine="torch")))
    trainer = resume(config.folder, engine="compiled")
    assert trainer.notes == ["computed by --engine torch so far, by compiled from here on: these round otherwise"]


@pytest.mark.parametrize(("trunc", "engine", "told"), [("1", "auto", 1), ("1", "torch", 0), ("4", "auto", 0)])
def test_a_faster_engine_is_told_of(config: RunConfig, trunc: str, engine: str, told: int) -> None:
    config = replace(config, train=replace(config.train, trunc=trunc), model=ModelConfig(1, hidden=600), engine=engine)
    trainer = begin(config)
    RunFolder(config.folder).release()
    assert (trainer.engine.name, trainer.notes) == ("torch", [HINT] * told)


def test_an_engine_that_cannot_is_refused_before_the_text_is_read(config: RunConfig) -> None:
    config = replace(config, train=replace(config.train, trunc="uoro"), engine="compiled")
    assert message_of(begin, config, pytest.fail).startswith("--engine compiled: computes in --precision float32, ")
    assert not config.folder.exists()
