"""Results, on standard output: tables. What `probe` finds is in probe_tables.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from rnnbptt.report.layout import add_row, bold, make_console, make_table, number
from rnnbptt.report.outlets import printing
from rnnbptt.report.race_words import against_cells
from rnnbptt.report.terminal import counted, shown

if TYPE_CHECKING:
    from rnnbptt.study.results import Comparison, Pair
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.training.loop import Trainer

COMMON = 4  # symbols of a line


@printing
def show_corpus(corpus: Corpus) -> None:
    """What `prepare` has made."""
    table = make_table("", "")
    table.show_header = False
    add_row(table, "characters" if corpus.vocabulary.unit == "char" else "bytes", f"{len(corpus.ids):,}")
    add_row(table, "symbols", f"{len(corpus.vocabulary):,}")
    for name, label in (("train", "training"), ("valid", "validation"), ("test", "test")):
        add_row(table, label, f"{len(corpus.split(name)):,}")
    if corpus.unused:
        add_row(table, "in no part", f"{corpus.unused:,}")
    if corpus.vocabulary.unknown is not None:
        add_row(table, "unknown", f"{corpus.unknown_count:,}")
    console = make_console()
    console.print(bold(str(corpus.path)), soft_wrap=True)
    console.print(table)
    for label, line in _task_lines(corpus):
        console.print(shown(f"{label:15}  {line}"), soft_wrap=True)
    console.print(f"order-0 entropy  {corpus.entropy():.4f} bits per character")
    common = [f"{symbol!r} {count / len(corpus.ids):5.1%}" for symbol, count in corpus.most_common(2 * COMMON)]
    for label, start in (("most common", 0), ("", COMMON)):
        if symbols := "  ".join(common[start : start + COMMON]):
            console.print(shown(f"{label:15}  {symbols}"), soft_wrap=True)


def _task_lines(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """The task that it poses, if any."""
    if not (task := corpus.task):
        return
    yield "task", task.spec if task.seed is None else f"{task.spec}, seed {task.seed}"
    if corpus.scored is None:
        yield "scored", "every character"
    else:
        share = sum(np.array(corpus.counts)[corpus.scored]) / len(corpus.ids)
        yield "scored", f"{task.scored!r} alone, {share:.1%} of the text"
    if task.optimum is not None:
        yield "optimum", f"{task.optimum:.4f} bits per scored character"


@printing
def show_run(folder: Path, trainer: Trainer) -> None:
    """The closing table of `train`, after a validation at least."""
    axes, chars, nats = trainer.standing.axes, trainer.standing.validations.chars, trainer.standing.validations.nats
    table = make_table(str(folder), "characters", "bits per character", "nats")
    for label, index in (("best validation", nats.index(min(nats))), ("last validation", -1)):
        figures = (f"{chars[index]:,}", f"{nats[index] / math.log(2):.4f}", f"{nats[index]:.4f}")
        add_row(table, label, *figures, bold=label.startswith("best"))
    console = make_console()
    console.print(table)
    console.print(f"{axes.chars:,} characters, {counted(axes.updates, 'update')}, {axes.seconds:,.1f} s of training")


@printing
def show_comparison(comparison: Comparison) -> None:
    """The tables of `compare`: the checkpoints, what their training has cost, and for each text how well they read it,
    each against the first.
    """
    console = make_console()
    console.print(_models_table(comparison))
    console.print()
    console.print(_costs_table(comparison))
    for split in comparison.splits:
        console.print()
        console.print(_scores_table(comparison, split))
        if any(group.split == split for group in comparison.groups):
            console.print()
            console.print(_groups_table(comparison, split))
    if any(row.contexts for row in comparison.rows):
        console.print()
        console.print(_contexts_table(comparison))


def _models_table(comparison: Comparison) -> Table:
    """What each checkpoint is."""
    table = make_table("", "truncation", "cell", "parameters")
    for row in comparison.rows:
        add_row(table, row.name, row.trunc, row.cell, f"{row.parameters:,}")
    return table


def _costs_table(comparison: Comparison) -> Table:
    """What the training of each has cost so far."""
    table = make_table("trained for", "characters", "updates", "seconds", "char/s")
    for row in comparison.rows:
        counts = (f"{count:,.0f}" for count in (row.chars, row.updates, row.seconds))
        add_row(table, row.name, *counts, number(row.characters_per_second or math.nan, ",.0f"))
    return table


def _scores_table(comparison: Comparison, split: str) -> Table:
    """How well each checkpoint reads one text: the best stands out, and what the differences to the first amount to;
    and how well it is read without any network.
    """
    pairs = {pair.second: pair for pair in comparison.pairs if pair.split == split}
    scores = [score for row in comparison.rows for score in row.scores if score.split == split]
    best = min(score.bpc for score in scores)
    digits = max((pair.interval.digits for pair in pairs.values() if pair.interval), default=3)
    heading = f"{split}: {scores[0].characters:,} chars"
    table = make_table(heading, "bits/char", "perplexity", "difference", "verdict")
    table.columns[-1].justify = "left"
    for row, score in zip(comparison.rows, scores, strict=True):
        bpc = f"{score.bpc:.4f}"
        perplexity = format(score.perplexity, ".3f" if score.perplexity < 1e6 else ".2e")
        difference, verdict = _against_first(pairs[row.name], digits) if row.name in pairs else ("the first", "")
        name, stands_out = shown(row.name), score.bpc == best
        table.add_row(name, bold(bpc) if stands_out else bpc, perplexity, shown(difference), bold(verdict))
    for yardstick in comparison.yardsticks:
        if yardstick.split == split:
            add_row(table, f"({yardstick.label})", f"{yardstick.bpc:.4f}", "", "", "")
    return table


def _groups_table(comparison: Comparison, split: str) -> Table:
    """What the runs that differ in the seed alone show together, each group against the first."""
    table = make_table(f"{split}: by seeds", "seeds", "mean", "sd", "difference", "p", "verdict")
    for group in comparison.groups:
        if group.split == split:
            sd = number(math.nan if group.sd is None else group.sd, ".4f")
            cells = against_cells(group.against) if group.against else ("", "", "")
            add_row(table, group.label, str(len(group.seeds)), f"{group.mean:.4f}", sd, *cells)
    return table


def _contexts_table(comparison: Comparison) -> Table:
    """Bits per character with few characters before."""
    first = comparison.rows[0].contexts
    table = make_table(f"{comparison.splits[-1]}: bits/char after", *(f"{each.characters:,} chars" for each in first))
    for row in comparison.rows:
        add_row(table, row.name, *(f"{each.bpc:.4f}" for each in row.contexts))
    return table


def _against_first(pair: Pair, digits: int) -> tuple[str, str]:
    """The difference to the first, with so many decimals, and in a word what it amounts to."""
    difference = f"{pair.difference:+z.{digits}f}"
    if pair.interval is None:
        return difference, "text too short"
    told = "better" if pair.difference < 0 else "worse"
    verdict = told if pair.interval.shows(pair.difference) else "not told apart"
    return f"{difference} ± {pair.interval.half_width:.{digits}f}", verdict
