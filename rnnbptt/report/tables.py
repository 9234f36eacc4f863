"""Results, on standard output: tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rnnbptt.report.outlets import printing
from rnnbptt.report.terminal import shown

if TYPE_CHECKING:
    from rnnbptt.study.probe.checking import Check
    from rnnbptt.study.probe.probing import Probe
    from rnnbptt.study.results import Comparison
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.training.loop import Trainer

WIDE = 160  # characters of a line


class _Console(Console):
    """What tables are printed with. A closed pipe is an error like any other."""

    def on_broken_pipe(self) -> None:
        """Where rich would end the program."""
        raise


def _console() -> Console:
    """As wide as the terminal."""
    console = _Console(highlight=False, markup=False, emoji=False)  # what is printed may come from anybody's file
    if not console.is_terminal:
        console.width = WIDE  # nothing is cut where a file or a pipe reads along
    return console


def _table(*columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(shown(column), justify="right" if index else "left", overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """A row of it."""
    table.add_row(*map(shown, cells))


@printing
def show_corpus(corpus: Corpus) -> None:
    """The closing table of `prepare`."""
    console = _console()
    total = len(corpus.ids)
    table = _table("", str(corpus.path))
    _add(table, "characters" if corpus.vocabulary.unit == "char" else "bytes", f"{total:,}")
    _add(table, "symbols", f"{len(corpus.vocabulary):,}")
    for name, label in (("train", "training"), ("valid", "validation"), ("test", "test")):
        _add(table, label, f"{len(corpus.split(name)):,}")
    if corpus.unused:
        _add(table, "in no part", f"{corpus.unused:,}")
    if corpus.vocabulary.unknown is not None:
        _add(table, "unknown", f"{corpus.unknown_count:,}")
    _add(table, "order-0 entropy", f"{corpus.entropy():.4f} bits per character")
    console.print(table)
    common = "  ".join(f"{symbol!r} {count / total:.1%}" for symbol, count in corpus.most_common(8))
    console.print(shown(f"most common      {common}"))


@printing
def show_run(folder: Path, trainer: Trainer) -> None:
    """The closing table of `train`, after a validation at least."""
    axes, chars, nats = trainer.standing.axes, trainer.standing.validations.chars, trainer.standing.validations.nats
    table = _table(str(folder), "characters", "bits per character", "nats")
    for label, index in (("best", nats.index(min(nats))), ("last", -1)):
        _add(table, label, f"{chars[index]:,}", f"{nats[index] / math.log(2):.4f}", f"{nats[index]:.4f}")
    console = _console()
    console.print(table)
    console.print(f"{axes.updates:,} updates, {axes.seconds:,.0f} s of training")


@printing
def show_comparison(comparison: Comparison) -> None:
    """The tables of `compare`: the runs, then for each text their scores, with a verdict for each against the first."""
    console = _console()
    console.print(_runs_table(comparison))
    for split in comparison.splits:
        console.print()
        console.print(_scores_table(comparison, split))


def _runs_table(comparison: Comparison) -> Table:
    """What each checkpoint is, and what its training has cost."""
    table = _table("", "truncation", "cell", "parameters", "characters", "updates", "seconds", "char/s")
    for row in comparison.rows:
        speed = f"{row.characters_per_second:,.0f}" if row.characters_per_second else "-"
        counts = (f"{number:,.0f}" for number in (row.parameters, row.chars, row.updates, row.seconds))
        _add(table, row.name, row.trunc, row.cell, *counts, speed)
    return table


def _scores_table(comparison: Comparison, split: str) -> Table:
    """How well each checkpoint reads one text."""
    verdicts = {pair.second: pair.verdict for pair in comparison.pairs if pair.split == split}
    scores = [score for row in comparison.rows for score in row.scores if score.split == split]
    table = _table(f"{split}: {scores[0].characters:,} characters", "bits per character", "perplexity", "verdict")
    table.columns[-1].justify = "left"
    for row, score in zip(comparison.rows, scores, strict=True):
        verdict = verdicts.get(row.name, "")
        _add(table, row.name, f"{score.bpc:.4f}", f"{score.perplexity:.3f}", verdict)
    return table


@printing
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
        _add(table, f"{check.parameter}[{entry}]", *decimals, *errors)
    _print_wide(table)


@printing
def show_probe(probe: Probe) -> None:
    """The tables of `probe`."""
    name = shown(f"{probe.path} ({probe.cell}, trunc {probe.trunc})")
    print(f"{name}\n{probe.streams} streams x {probe.depth} characters of {probe.text}, {probe.precision}\n")
    for table in (*_fidelity_tables(probe), _fading_table(probe), _context_table(probe), _staleness_table(probe)):
        _print_wide(table)


def _print_wide(table: Table) -> None:
    """Print a table and an empty line. Too wide for a terminal it is wrapped there, not cut."""
    console = _console()
    console.width = max(console.width, WIDE)
    console.print(table)
    console.print()


def _fidelity_tables(probe: Probe) -> Iterator[Table]:
    """Of all parameters but the head's, and of all; then cosine and bias by parameter."""
    from rnnbptt.study.probe.fidelity import ALL, RECURRENT

    table = _table("trunc", "cosine", "relative bias", "with the head: cosine", "relative bias")
    for found in probe.gradients:
        figures = (figure[group] for group in (RECURRENT, ALL) for figure in (found.cosine, found.bias))
        _add(table, found.trunc, *(f"{figure:.4f}" for figure in figures))
    yield table
    cosines, biases = zip(*((found.cosine, found.bias) for found in probe.gradients), strict=True)
    for title, by_trunc in (("cosine", cosines), ("relative bias", biases)):
        table = _table(title, *(found.trunc for found in probe.gradients))
        for group in (group for group in by_trunc[0] if group not in (RECURRENT, ALL)):
            _add(table, group, *(f"{figure[group]:.3f}" for figure in by_trunc))
        yield table


def _fading_table(probe: Probe) -> Table:
    """The norms at lags 0, 1, 2, 4, ..., and the decay."""
    from rnnbptt.study.probe.probing import FAINTEST

    fading = probe.fading
    table = _table("characters back", "norm of the gradient of one loss")
    for lag in (0, *(context.characters for context in probe.contexts)):
        norm = fading.norms[lag]
        _add(table, str(lag), f"{norm:.3g}" if norm > FAINTEST else f"below {FAINTEST:g}")
    first, stop = fading.fitted
    if 0 < fading.beta < math.inf:  # not where there were too few lags to fit a decay on
        fate = f"halves in {fading.half_life:.1f}" if fading.beta < 1 else "does not fade"
        _add(table, f"from {first} to {stop - 1}", f"x {fading.beta:.4f} a character: {fate}")
    return table


def _context_table(probe: Probe) -> Table:
    """How well the model reads after so many characters."""
    table = _table("characters read since a reset", f"bits per character, the same {probe.targets:,} targets")
    for context in probe.contexts:
        _add(table, str(context.characters), f"{context.bpc:.4f}")
    return table


def _staleness_table(probe: Probe) -> Table:
    """How far the state that training carries along has fallen behind, by layer."""
    table = _table("carried state off the fresh one by", "median", "largest", "the fresh one, of half the text")
    for layer in probe.staleness:
        shares = (layer.median, layer.largest, layer.unsettled)
        _add(table, f"layer {layer.layer}", *("-" if math.isnan(share) else f"{share:.2%}" for share in shares))
    return table
