"""From texts to a corpus: the folder that `Corpus.open` opens, written whole or not at all.

The vocabulary is known only after the whole text has been read once, and standard input cannot be read twice. So the
text is first copied into a scratch file, block by block as code points, while these are counted; then the scratch file
is read back, and the code points become ids. Neither takes more memory for a longer text.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError, check_option
from rnnbptt.storage.files import writing
from rnnbptt.storage.lock import hold, release
from rnnbptt.storage.scratch import made_folder, replace_by_new, scratch_folder
from rnnbptt.text.corpus import (
    IDS_NAME,
    JSON_NAME,
    Corpus,
    Description,
    Ids,
    Source,
    Task,
    id_dtype,
    may_be_replaced,
    start_digest,
)
from rnnbptt.text.options import ONE_TEXT, PARTS, HeldOut, TextOptions, split_offsets
from rnnbptt.text.reading import Reader, Tell, code_blocks
from rnnbptt.text.sources import files_by_part
from rnnbptt.text.tasks import Made
from rnnbptt.text.updown import UpDown
from rnnbptt.text.vocabulary import UNKNOWN, Vocabulary


def prepare(
    sources: Sequence[str | Path],
    out: str | Path,
    options: TextOptions,
    *,
    held_out: HeldOut = ONE_TEXT,
    force: bool = False,
    tell: Tell | None = None,
) -> Corpus:
    """Turn one or more texts, joined in order, into the corpus folder `out`. Memory does not grow with the text.

    Where there are texts `held_out`, the parts end exactly where the texts do, and the options of the corpus have the
    split that says so. The vocabulary is that of all of them.

    A source is a file (decompressed when it ends in .gz, .bz2 or .xz), a folder of files, or "-" for standard input.
    Where a text has no newline at its end, one comes between it and the next. `tell` is given the
    bytes read, as they lie on disk, and their total (None when unknown). On any failure, an interrupt included, nothing
    is left behind; an existing `out` is replaced only with `force`, and only when it is empty or a prepared corpus.

    UserError: an unreadable, damaged, undecodable or empty source; a text too short for the split; `out` in the way.
    """
    parts = files_by_part(sources, held_out)
    reader = Reader([name for names in parts.values() for name in names], tell)
    # Errors of reading are UserErrors already: what is left is about the folder.
    with writing(repr(str(out))), _taking_place_of(Path(out), force) as folder:
        blocks = {part: code_blocks(reader, names, options) for part, names in parts.items()}
        _build(folder, blocks, reader.finished, options)
    return Corpus.open(out)


def prepare_task(
    posed: Made | UpDown, out: str | Path, options: TextOptions, *, force: bool = False, tell: Tell | None = None
) -> Corpus:
    """The same of a text that poses a task: only `options.split` is of any matter.

    UserError also where a split would have no character that is scored, or training none that shows what is asked.
    """
    if isinstance(posed, Made):
        _check_span(posed, options)
    pieces, sources = posed.text(tell)
    with writing(repr(str(out))), _taking_place_of(Path(out), force) as folder:
        _build(folder, {"train": pieces}, sources, options, posed.task)
        _check_scored(Corpus.open(folder))
    return Corpus.open(out)


def _check_span(made: Made, options: TextOptions) -> None:
    _, length = split_offsets(options.split, made.size)["train"]
    advice = (
        f"{made.task.spec} takes {made.problem.span:,} characters to show once what it asks, and the training part has"
        f" {length:,}; give a larger --size"
    )
    check_option(made.problem.span <= length, "size", f"{made.size:,}", advice)


def _check_scored(corpus: Corpus) -> None:
    for name, (start, stop) in (corpus.validation_part(), ("test", corpus.splits["test"])):
        if start < stop and not corpus.count_scored(start, stop):
            part = "the end of the training part" if name == "train" else f"the {name} part"
            advice = f"{part} has no character that is scored; give a larger --size, or another split"
            raise UserError(f"--split {corpus.options.split}: {advice}")


@contextmanager
def _taking_place_of(out: Path, force: bool) -> Iterator[Path]:
    """Give an empty folder that takes the place of `out` at the end, or vanishes if anything goes wrong.

    Folders on the way to `out` that had to be made vanish then, too.
    """
    target = out.resolve()  # with a symbolic link, what it points to is replaced, and the link stays
    _refuse_to_overwrite(out, target, force)
    # Beside `out`, so that the renames stay within one file system.
    with made_folder(target.parent), _one_writer(out, target), scratch_folder(target.parent) as scratch:
        new = scratch / "new" / target.name
        new.mkdir()
        yield new
        _refuse_to_overwrite(out, target, force)  # again: somebody may have put a file there meanwhile
        replace_by_new(scratch, [target.name])


@contextmanager
def _one_writer(out: Path, target: Path) -> Iterator[None]:
    """UserError where another process prepares `out`, which is `target` or a link to it."""
    lock = target.with_name(f".rnnbptt.{target.name}.lock")
    hold(lock, repr(str(out)), "preparing it", "--out")
    try:
        yield
    finally:
        release(lock)


def _refuse_to_overwrite(out: Path, target: Path, force: bool) -> None:
    """UserError where `out`, which is `target` or a link to it, may not be replaced."""
    if target.exists() and not force:
        raise UserError(f"{str(out)!r} exists; give --force to prepare it again, or another folder")
    if target.exists() and not may_be_replaced(target):
        raise UserError(f"{str(out)!r} is not a prepared corpus, and --force replaces nothing else; move it away")


def _build(
    folder: Path,
    parts: Mapping[str, Iterable[NDArray[Any]]],
    finished: Sequence[Source],
    options: TextOptions,
    task: Task | None = None,
) -> None:
    """Write both files of the corpus into `folder`: code points, block by block, part after part; what is `finished`
    of their sources grows as they are read.
    """
    sizes, sources = dict.fromkeys(PARTS, 0), list[Source]()
    counts = np.zeros(sys.maxunicode + 1, dtype=np.int64)  # of each code point
    with tempfile.TemporaryFile(dir=folder) as scratch:
        for part, blocks in parts.items():
            for codes in blocks:
                found = np.bincount(codes)
                counts[: len(found)] += found
                sizes[part] += len(codes)
                np.save(scratch, codes)
            sources += [replace(source, part=part) for source in finished[len(sources) :]]
        n = sum(sizes.values())
        if not n:
            raise UserError(f"the text is empty: {', '.join(repr(source.name) for source in sources)}")
        if len(parts) > 1:
            options = replace(options, split=_split_between(parts, sources, sizes))
        splits = split_offsets(options.split, n)
        vocabulary, table = _choose_symbols(counts, options)
        if task:
            task = replace(task, scored="".join(symbol for symbol in vocabulary.symbols if symbol in task.scored))
        digest = start_digest(vocabulary, task)
        with (folder / IDS_NAME).open("xb") as file:
            header = {"descr": table.dtype.str, "fortran_order": False, "shape": (n,)}
            np.lib.format.write_array_header_1_0(file, header)
            end = scratch.tell()
            scratch.seek(0)
            while scratch.tell() < end:
                ids = table.take(np.load(scratch))
                digest.update(ids.data)
                file.write(ids.data)
    symbol_counts = np.bincount(table, counts).astype(np.int64).tolist()
    description = Description(digest.hexdigest(), splits, tuple(sources), options, vocabulary, symbol_counts, task=task)
    (folder / JSON_NAME).write_text(description.to_json(), encoding="ascii")


def _split_between(parts: Iterable[str], sources: Sequence[Source], sizes: Mapping[str, int]) -> str:
    """The `--split` that ends where the texts of the parts do. UserError where one of them is too short."""
    for part in parts:
        if sizes[part] < 2:
            which = ", ".join(repr(source.name) for source in sources if source.part == part)
            raise UserError(f"{which}: {sizes[part]} symbols, and a part needs 2; give a longer text")
    return "/".join(map(str, sizes.values()))


def _choose_symbols(counts: NDArray[np.int64], options: TextOptions) -> tuple[Vocabulary, Ids]:
    """The vocabulary, and the id of each code point: for one that is rare that of the unknown symbol."""
    kept = np.flatnonzero(counts >= options.min_count)
    advice = f"no character occurs so often; the most frequent one occurs {counts.max()} times"
    check_option(kept.size > 0, "min_count", options.min_count, advice)
    symbols, unknown = tuple(map(chr, kept)), None
    if counts[kept].sum() < counts.sum():
        symbols, unknown = (*symbols, UNKNOWN), len(symbols)
    # What the text does not have at all has the last id, too; nobody will look it up.
    table = np.full(len(counts), len(symbols) - 1, dtype=id_dtype(len(symbols)))
    table[kept] = np.arange(len(kept))
    return Vocabulary(options.unit, symbols, unknown), table
