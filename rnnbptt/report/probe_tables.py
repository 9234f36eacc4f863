"""What `probe` finds, on standard output: what it amounts to in words, and the tables."""

import math
from collections.abc import Iterator, Sequence

from rich.table import Table

from rnnbptt.report.layout import GAP, WIDTH, add_row, bold, make_console, make_table, number
from rnnbptt.report.outlets import printing
from rnnbptt.report.terminal import shown
from rnnbptt.study.probe.checking import Check
from rnnbptt.study.probe.concluding import ENOUGH, GAIN
from rnnbptt.study.probe.fidelity import ALL, RECURRENT, Fidelity
from rnnbptt.study.probe.probing import FAINTEST
from rnnbptt.study.probe.results import REREAD, Probe


@printing
def show_checks(checks: Sequence[Check]) -> None:
    """The tables of `probe --check`, nothing where there are none."""
    values = make_table("largest gradient", "written out", "autograd", "differences")
    errors = make_table("off by, relative", "autograd", "differences")
    for check in checks:
        name = f"{check.parameter}[{', '.join(map(str, check.entry))}]"
        add_row(values, name, *(f"{v:.12f}" for v in (check.written_out, check.autograd, check.finite_difference)))
        add_row(errors, name, *(f"{error:.1e}" for error in (check.autograd_error, check.finite_difference_error)))
    if checks:
        _print(values, errors)


@printing
def show_probe(probe: Probe, full: bool) -> None:
    """The main table of `probe` and its conclusion; between them, if `full`, all other tables."""
    name = shown(f"{probe.path} ({probe.cell}, trunc {probe.trunc})")
    print(f"{name}\n{probe.streams} streams x {probe.depth} characters of {probe.text}, {probe.precision}\n")
    if probe.conclusion.gradient:
        _print(_main_table(probe))
    if full:
        _print(_heads_table(probe), *_parameter_tables(probe.gradients), _fading_table(probe), _decay(probe))
        _print(_context_table(probe), _staleness_table(probe))
    console = make_console()
    for sentence in conclusion(probe):
        console.print(bold(sentence))


def _print(*parts: Table | str) -> None:
    """Each, and an empty line."""
    console = make_console()
    for part in parts:
        console.print(part)
        console.print()


def conclusion(probe: Probe) -> list[str]:
    """What it amounts to, in sentences."""
    found = probe.conclusion
    if not found.gradient:
        return ["There is no gradient: this text leaves nothing to predict, so no truncation can be told from another."]
    return [_truncation(probe), _memory(probe), _state(probe)]


def _truncation(probe: Probe) -> str:
    found = probe.conclusion
    if found.enough is not None:
        return (
            f"Truncation {found.enough} is enough for a gradient within {_percent(ENOUGH)} of the full one:"
            f" its relative bias is {_percent(found.bias)}."
        )
    return (
        f"No truncation K up to {probe.depth} brings the gradient within {_percent(ENOUGH)} of the full one:"
        f" {found.nearest} comes nearest, with a relative bias of {_percent(found.bias)}."
    )


def _percent(share: float) -> str:
    """In prose."""
    return f"{100 * share:.3g} %"


def _memory(probe: Probe) -> str:
    found, some = probe.conclusion, f"{GAIN:g} bits per character"
    if not found.ends:
        return (
            f"The model uses {found.memory} characters of what it has read, or more: the last of them still gain"
            f" {some} or more; a larger --depth shows where that ends."
        )
    characters = "1 character" if found.memory == 1 else f"{found.memory} characters"
    return f"The model uses about {characters} of what it has read: more context gains less than {some}."


def _state(probe: Probe) -> str:
    found, read = probe.conclusion, REREAD * probe.depth
    state = "The state that training carries along"
    off = f"it is off by {_percent(found.staleness)} from one that is read again with the weights of now"
    if found.carried == "fresh":
        return f"{state} is in order: {off}."
    if found.carried == "stale":
        return f"{state} is stale: {off}; the weights move faster than it is renewed."
    if found.carried == "handed on":
        return f"{state} is handed from stream to stream: {off}."
    if found.carried == "unsettled":
        return (
            f"{state} may be stale or not: {off}, but the model remembers more than the {read:,} characters of that;"
            " a larger --depth can tell."
        )
    return f"{state} cannot be judged: this checkpoint has read no text yet."


def _main_table(probe: Probe) -> Table:
    """Of all parameters but the head's."""
    table = make_table("trunc", "cosine", "relative bias")
    for found in probe.gradients:
        figures = (number(figure[RECURRENT], ".4f") for figure in (found.cosine, found.bias))
        add_row(table, found.trunc, *figures, bold=found.trunc == str(probe.conclusion.enough))
    return table


def _heads_table(probe: Probe) -> Table:
    """Of all parameters."""
    table = make_table("with the head", "cosine", "relative bias")
    for found in probe.gradients:
        add_row(table, found.trunc, *(number(figure[ALL], ".4f") for figure in (found.cosine, found.bias)))
    return table


def _parameter_tables(gradients: Sequence[Fidelity]) -> Iterator[Table]:
    """Cosine and bias of each parameter by itself, with as many truncations side by side as fit."""
    names = [name for name in gradients[0].cosine if name not in (RECURRENT, ALL)]
    for title in ("cosine", "relative bias"):
        for some in _side_by_side(gradients, WIDTH - max(map(len, (title, *names)))):
            table = make_table(title, *(found.trunc for found in some))
            for name in names:
                by_trunc = ((found.cosine if title == "cosine" else found.bias)[name] for found in some)
                add_row(table, name, *(number(figure, ".3f") for figure in by_trunc))
            yield table


def _side_by_side(gradients: Sequence[Fidelity], room: int) -> Iterator[list[Fidelity]]:
    """Them in order, as many at a time as have room in so many characters, and one at least."""
    some: list[Fidelity] = []
    left = room
    for found in gradients:
        width = GAP + max(len(found.trunc), len("0.000"))
        if some and width > left:
            yield some
            some, left = [], room
        some.append(found)
        left -= width
    yield some


def _fading_table(probe: Probe) -> Table:
    """The norms at lags 0, 1, 2, 4, ..."""
    table = make_table("characters back", "norm of the gradient of one loss")
    for lag in (0, *(context.characters for context in probe.contexts)):
        norm = probe.fading.norms[lag]
        add_row(table, str(lag), f"{norm:.2e}" if norm > FAINTEST else f"below {FAINTEST:g}")
    return table


def _decay(probe: Probe) -> str:
    """How the norms fade."""
    fading, (first, stop) = probe.fading, probe.fading.fitted
    if not 0 < fading.beta < math.inf:
        return "too few norms to fit a decay on"
    fate = f"halves in {fading.half_life:.1f}" if fading.beta < 1 else "does not fade"
    return f"from {first} to {stop - 1} characters back x {fading.beta:.4f} a character: {fate}"


def _context_table(probe: Probe) -> Table:
    """How well the model reads after so many characters."""
    table = make_table("characters read since a reset", f"bits per character, the same {probe.targets:,} targets")
    for context in probe.contexts:
        memory = context.characters == probe.conclusion.memory
        add_row(table, str(context.characters), f"{context.bpc:.4f}", bold=memory)
    return table


def _staleness_table(probe: Probe) -> Table:
    """How far the state that training carries along has fallen behind, by layer."""
    table = make_table("carried state off the fresh one by", "median", "largest", "that of half the text")
    for layer in probe.staleness:
        shares = (layer.median, layer.largest, layer.unsettled)
        add_row(table, f"layer {layer.layer}", *(number(share, ".2%") for share in shares))
    return table
