"""What `info` says of runs, checkpoints and prepared texts, on standard output."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from rich import filesize

from rnnbptt.inference.evaluation import LN2
from rnnbptt.report.layout import add_row, make_console, make_table
from rnnbptt.report.outlets import printing
from rnnbptt.report.tables import show_corpus
from rnnbptt.report.terminal import counted, shown
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.corpora import find_corpus
from rnnbptt.training.document import Document

Line = tuple[str, str]


@printing
def show_runs(folder: Path, checkpoints: Sequence[Checkpoint]) -> None:
    """A line for each run in the folder, by its last checkpoint."""
    table = make_table(f"in {folder}/", "truncation", "model", "done", "best, bpc", "saved")
    for checkpoint in checkpoints:
        document = checkpoint.document
        nats = document.standing.validations.nats
        best = f"{min(nats) / LN2:.4f}" if nats else "-"
        model = f"{document.model.cell} {document.model.hidden}"
        saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(checkpoint.path.stat().st_mtime))
        done = f"{_spent(document):.0%}"
        add_row(table, checkpoint.path.parent.name, document.train.trunc, model, done, best, saved)
    make_console().print(table)


@printing
def show_trained(path: Path, checkpoint: Checkpoint) -> None:
    """A run, where `path` is its folder, or a checkpoint."""
    lines = [*_lines(checkpoint), *(_files(path) if path.is_dir() else ())]
    print(shown(str(path)))
    for label, line in lines:
        print(f"  {label:<10}{shown(line)}")


@printing
def show_prepared(corpus: Corpus) -> None:
    """A prepared text: its table, how it was made, and of what."""
    show_corpus(corpus)
    print(f"options          {shown(chosen(corpus.options) or 'the usual ones')}")
    for source in corpus.sources:
        print(f"made of          {shown(source.name)}: {source.bytes:,} bytes, sha256 {source.sha256[:12]}")
    print(f"fingerprint      {corpus.fingerprint[:12]}")


def _lines(checkpoint: Checkpoint) -> Iterator[Line]:
    document, standing = checkpoint.document, checkpoint.document.standing
    parameters = sum(tensor.numel() for tensor in checkpoint.group("model").values())
    layers = "" if document.model.layers == 1 else f", {document.model.layers} layers"
    yield "model", f"{document.model.cell} of {document.model.hidden}{layers}: {parameters:,} parameters"
    corpus = find_corpus(checkpoint)
    place = str(corpus.path) if corpus else f"{document.corpus.path}, no longer there"
    yield "text", f"{place}, {counted(len(document.vocabulary), 'symbol')}"
    yield from (("", note) for note in (corpus.task_notes() if corpus else ()))
    yield "trained", f"{_spent(document):.0%} of {document.train.budget} with truncation {document.train.trunc}"
    axes = standing.axes
    yield "", f"{axes.chars:,} characters, {counted(axes.updates, 'update')}, {axes.seconds:,.1f} s of training"
    yield from _validations(document)
    yield "options", chosen(document.train, document.model, document.corpus.options) or "the usual ones"
    if document.initial:
        yield "initial", f"the weights of {document.initial.path}"
    versions, threads = (
        document.versions,
        counted(document.threads, "thread") if document.threads else "unknown threads",
    )
    yield "made by", f"rnnbptt {versions.rnnbptt}, torch {versions.torch}, the {document.engine} engine"
    yield "", f"{document.precision} on {document.device}, {threads}"


def _validations(document: Document) -> Iterator[Line]:
    chars, nats = document.standing.validations.chars, document.standing.validations.nats
    for label, index in (("best", nats.index(min(nats))), ("latest", -1)) if nats else ():
        yield label, f"{nats[index] / LN2:.4f} bits per character ({nats[index]:.4f} nats) at {chars[index]:,}"


def _files(folder: Path) -> Iterator[Line]:
    """What lies in the folder, with sizes."""
    for number, path in enumerate(sorted(folder.iterdir())):
        size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
        yield "" if number else "files", f"{path.name}{'/' * path.is_dir()}, {filesize.decimal(size)}"


def _spent(document: Document) -> float:
    """The share of the budget that is used."""
    start, stop = document.corpus.splits["train"]
    return document.train.budget.spent(document.standing.axes, max(1, stop - start - 1))


def chosen(*configs: Any) -> str:
    """The options that are not as they are unless given, as they are typed."""
    return " ".join(option for config in configs for option in _options(config))


def _options(config: Any) -> Iterator[str]:
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name != "vocabulary" and field.default is not MISSING and value != field.default:
            name = f"--{field.name.replace('_', '-')}"
            yield name if value is True else f"{name} {value}"
