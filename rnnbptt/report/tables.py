"""What the commands show: tables and text on standard output, progress and notes on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

if TYPE_CHECKING:
    from rnnbptt.inference.sampling import SampleConfig
    from rnnbptt.study.probe.checking import Check
    from rnnbptt.study.probe.probing import Probe
    from rnnbptt.study.probe.subject import Subject
    from rnnbptt.study.results import Comparison
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.training.folder import RunFolder
    from rnnbptt.training.loop import Trainer
    from rnnbptt.training.records import Record

WIDE = 160  # characters of a line
MEMORY_NOTE = 2**30  # bytes a tape may take before the user is told


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE  # nothing is cut where a file or a pipe reads along
    return console


def _table(*columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns are text and whose others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index < left else "right")
    return table


@contextmanager
def reading_bar(quiet: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for `prepare`, told the bytes done and, where it is known, their total."""
    with tqdm(unit="B", unit_scale=True, desc="prepare", file=sys.stderr, disable=quiet or None, leave=False) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def show_corpus(corpus: Corpus) -> None:
    """The closing table of `prepare`."""
    console = _console()
    total = int(corpus.counts.sum())
    table = _table("", str(corpus.path))
    table.add_row("characters" if corpus.vocabulary.unit == "char" else "bytes", f"{total:,}")
    table.add_row("symbols", f"{len(corpus.vocabulary):,}")
    for name, label in (("train", "training"), ("valid", "validation"), ("test", "test")):
        start, stop = corpus.splits[name]
        table.add_row(label, f"{stop - start:,}")
    if corpus.unused:
        table.add_row("in no part", f"{corpus.unused:,}")
    if corpus.vocabulary.unknown is not None:
        table.add_row("unknown", f"{corpus.unknown_count:,}")
    table.add_row("order-0 entropy", f"{corpus.entropy():.4f} bits per character")
    console.print(table)
    common = "  ".join(f"{symbol!r} {count / total:.1%}" for symbol, count in corpus.most_common(8))
    console.print(f"most common      {common}", markup=False)


def say_memory(trainer: Trainer, quiet: bool) -> None:
    """Say how much the longest update keeps, where that is a lot."""
    size = trainer.memory
    if size > MEMORY_NOTE and not quiet:
        advice = "a shorter --trunc, fewer --streams or less --hidden takes less"
        print(f"note: the longest update keeps {size / 2**30:.1f} GiB; {advice}", file=sys.stderr)


class TrainingView:
    """One bar, a sample after each validation; plain lines where standard error is no terminal."""

    def __init__(self, trainer: Trainer, quiet: bool, sample_length: int) -> None:
        self._trainer, self._quiet, self._sample_length = trainer, quiet, sample_length
        self._plain = not sys.stderr.isatty()
        self._train = self._valid = self._speed = "-"
        self._bar = tqdm(
            total=1.0,
            initial=trainer.spent,
            file=sys.stderr,
            disable=quiet or self._plain,
            bar_format="{percentage:3.0f}% {bar:20} {desc} [{elapsed}<{remaining}]",
            dynamic_ncols=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._bar.close()

    def show(self, record: Record) -> None:
        """Bring the bar up to date; a validation is also written above it, with a sample."""
        if self._quiet:
            return
        if record["kind"] == "train":
            self._train = f"{record['bpc']:.3f}"
            self._speed = f"{record['chars_per_second']:,.0f} char/s"
        else:
            self._valid = f"{record['bpc']:.3f}"
            self._write(self._line(record))
            if self._sample_length:
                self._write(self._sample())
        losses = f"train {self._train}  valid {self._valid} bpc"
        self._bar.set_description_str(
            f"epoch {record['epoch']:.1f}  k {record['k1']}  {losses}  {self._speed}", refresh=False
        )
        self._bar.update(self._trainer.spent - self._bar.n)

    def _line(self, record: Record) -> str:
        return (
            f"{self._trainer.spent:4.0%}  {record['chars']:>12,} characters"
            f"  epoch {record['epoch']:6.2f}  k {record['k1']:>4}  train {self._train}"
            f"  {record['split']} {record['bpc']:.4f} bpc ({record['nats']:.4f} nats)"
            f"  {record['seconds']:,.0f} s  {self._speed}"
        )

    def _sample(self) -> str:
        from rnnbptt.inference.sampling import SampleConfig, sample

        config = SampleConfig(length=self._sample_length, temperature=0.8, seed=self._trainer.standing.axes.updates)
        text = "".join(sample(self._trainer.model, self._trainer.corpus.vocabulary, config))
        return "\n".join(f"    {line}" for line in text.strip("\n").split("\n")) + "\n"

    def _write(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)


def show_run(folder: RunFolder, trainer: Trainer) -> None:
    """The closing table of `train`."""
    from rnnbptt.inference.evaluation import LN2

    validations, axes = trainer.standing.validations, trainer.standing.axes
    if not validations.nats:
        print(f"stopped before the first validation; saved in {folder.path}", file=sys.stderr)
        return
    best = min(range(len(validations.nats)), key=validations.nats.__getitem__)
    table = _table(str(folder.path), "characters", "bits per character", "nats", left=1)
    for label, index in (("best", best), ("last", len(validations.nats) - 1)):
        nats = validations.nats[index]
        table.add_row(label, f"{validations.chars[index]:,}", f"{nats / LN2:.4f}", f"{nats:.4f}")
    console = _console()
    console.print(table)
    console.print(f"{axes.updates:,} updates, {axes.seconds:,.0f} s of training", markup=False)


def stream(prompt: str, pieces: Iterable[str]) -> None:
    """Write a sample to standard output as it is made."""
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()


def show_samples(prompt: str, texts: list[str]) -> None:
    """Write several samples, a blank line between them."""
    sys.stdout.write("\n\n".join(prompt + text for text in texts) + "\n")
    sys.stdout.flush()


@contextmanager
def counting_bar(command: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for `compare` and `probe`, told the characters read and how many there will be."""
    with tqdm(unit="char", unit_scale=True, desc=command, file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def show_comparison(comparison: Comparison) -> None:
    """The table of `compare`, then a verdict for each checkpoint against the first; warnings to standard error."""
    console = _console()
    console.print(_runs_table(comparison))
    for split in comparison.splits:
        console.print()
        console.print(_scores_table(comparison, split))
    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    say_notes(comparison.notes)


def say_notes(notes: Iterable[str]) -> None:
    """To standard error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _runs_table(comparison: Comparison) -> Table:
    table = _table("", "truncation", "cell", "parameters", "characters", "updates", "seconds", "char/s")
    for row in comparison.rows:
        speed = f"{row.characters_per_second:,.0f}" if row.characters_per_second else "-"
        counts = (f"{number:,.0f}" for number in (row.parameters, row.chars, row.updates, row.seconds))
        table.add_row(Text(row.name), row.trunc, row.cell, *counts, speed)
    return table


def _scores_table(comparison: Comparison, split: str) -> Table:
    pairs = {pair.second: pair for pair in comparison.pairs if pair.split == split}
    scores = [score for row in comparison.rows for score in row.scores if score.split == split]
    table = _table(f"{split}: {scores[0].characters:,} characters", "bits per character", "perplexity", "verdict")
    table.columns[-1].justify = "left"
    for row, score in zip(comparison.rows, scores, strict=True):
        verdict = pairs[row.name].verdict if row.name in pairs else ""
        table.add_row(Text(row.name), f"{score.bpc:.4f}", f"{score.perplexity:.3f}", Text(verdict))
    return table


def show_comparison_samples(comparison: Comparison, config: SampleConfig) -> None:
    """A sample of each checkpoint, from the same prompt and seed."""
    from rnnbptt.inference.sampling import sample
    from rnnbptt.training.checkpoint import load_checkpoint

    for row in comparison.rows:
        checkpoint = load_checkpoint(row.path)
        print(f"\n--- {row.name} ({row.trunc})")
        stream(config.prompt, sample(checkpoint.build_model(), checkpoint.vocabulary, config))


def say_probe(subject: Subject) -> None:
    """What the measurements keep in memory, before they do."""
    influences = f" and influences {subject.influence_bytes / 2**20:,.0f} MiB" if subject.influence_bytes else ""
    print(
        f"note: the gradient of depth {subject.depth} on {subject.streams} streams keeps"
        f" {subject.tape_bytes / 2**20:,.0f} MiB{influences}; a smaller --depth or fewer --streams take less",
        file=sys.stderr,
    )


def show_checks(checks: Iterable[Check]) -> None:
    """The table of `probe --check`, nothing where there are none."""
    if not checks:
        return
    values = ("written out", "autograd", "finite difference")
    table = _table("where its gradient is largest", *values, "off autograd by", "off differences by")
    for check in checks:
        entry = ", ".join(map(str, check.entry))
        decimals = (f"{value:.15f}" for value in (check.written_out, check.autograd, check.finite_difference))
        errors = (f"{error:.1e}" for error in (check.autograd_error, check.finite_difference_error))
        table.add_row(Text(f"{check.parameter}[{entry}]"), *decimals, *errors)
    _print_wide(table)


def show_probe(probe: Probe) -> None:
    """The tables of `probe`; what they mean to standard error."""
    name = f"{probe.path} ({probe.cell}, trunc {probe.trunc})"
    print(f"{name}\n{probe.streams} streams x {probe.depth} characters of {probe.text}, {probe.precision}\n")
    for table in (_overall_table(probe), *_group_tables(probe), _fading_table(probe), _context_table(probe)):
        _print_wide(table)
    table = _table("carried state off the fresh one by", "median", "largest", "the fresh one, of half the text")
    for layer in probe.staleness:
        shares = (layer.median, layer.largest, layer.unsettled)
        table.add_row(f"layer {layer.layer}", *("-" if math.isnan(share) else f"{share:.2%}" for share in shares))
    _print_wide(table)
    notes = (
        "Cosine and relative bias are against the full gradient, which goes back at least"
        f" {probe.depth} characters from every loss: a bias of 0.1 is off by a tenth of that gradient's length.",
        "In segments of k characters a loss goes back through (k + 1) / 2 of them in the mean, not k.",
        "The gradient of the head is never cut, so figures that include it flatter.",
    )
    say_notes(notes)


def _print_wide(table: Table) -> None:
    """Print a table and an empty line. Too wide for a terminal it is wrapped there, not cut."""
    console = _console()
    console.width = max(console.width, WIDE)
    console.print(table)
    console.print()


def _overall_table(probe: Probe) -> Table:
    """Of all parameters but the head's, and of all."""
    from rnnbptt.study.probe.fidelity import ALL, RECURRENT

    table = _table("trunc", "cosine", "relative bias", "with the head: cosine", "relative bias")
    for found in probe.gradients:
        figures = (figure[group] for group in (RECURRENT, ALL) for figure in (found.cosine, found.bias))
        table.add_row(found.trunc, *(f"{figure:.4f}" for figure in figures))
    return table


def _group_tables(probe: Probe) -> Iterator[Table]:
    """The same by parameter."""
    from rnnbptt.study.probe.fidelity import ALL, RECURRENT

    for title, of in (("cosine", "cosine"), ("relative bias", "bias")):
        table = _table(title, *(found.trunc for found in probe.gradients))
        figures = [getattr(found, of) for found in probe.gradients]
        for group in (group for group in figures[0] if group not in (RECURRENT, ALL)):
            table.add_row(group, *(f"{figure[group]:.3f}" for figure in figures))
        yield table


def _fading_table(probe: Probe) -> Table:
    """The norms at lags 0, 1, 2, 4, ..., and the decay."""
    from rnnbptt.study.probe.probing import FAINTEST

    fading = probe.fading
    table = _table("characters back", "norm of the gradient of one loss")
    for lag in (0, *(context.characters for context in probe.contexts)):
        norm = fading.norms[lag]
        table.add_row(str(lag), f"{norm:.3g}" if norm > FAINTEST else f"below {FAINTEST:g}")
    first, stop = fading.fitted
    if 0 < fading.beta < math.inf:  # not where there were too few lags to fit a decay on
        fate = f"halves in {fading.half_life:.1f}" if fading.beta < 1 else "does not fade"
        table.add_row(f"from {first} to {stop - 1}", f"x {fading.beta:.4f} a character: {fate}")
    return table


def _context_table(probe: Probe) -> Table:
    table = _table("characters read since a reset", f"bits per character, the same {probe.targets:,} targets")
    for context in probe.contexts:
        table.add_row(str(context.characters), f"{context.bpc:.4f}")
    return table
