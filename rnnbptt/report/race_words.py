"""What a race has found, in sentences and in the cells of tables: for the terminal and for the page alike."""

from collections.abc import Iterator, Sequence

from rnnbptt.report.layout import GAP, WIDTH
from rnnbptt.report.page import Table
from rnnbptt.study.bootstrap import SHORTEST_TEXT
from rnnbptt.study.race.crossings import Reached
from rnnbptt.study.race.differences import FEWEST_SEEDS, PairedDifference
from rnnbptt.study.race.grid import Tuned
from rnnbptt.study.race.results import AXES, Overtaking, RaceResult, Spread
from rnnbptt.study.race.seeds import ALPHA
from rnnbptt.study.race.verdicts import Against

UNITS = {"chars": "characters", "updates": "updates", "seconds": "seconds", "flops": "operations"}
BROADEST = 14  # characters of a cell of the table of learning rates
WORDS = {"better": "better", "worse": "worse", "no difference shown": "not shown"}


def sentences(result: RaceResult) -> Iterator[str]:
    """The answer: each strategy against the reference, the reference against itself, who overtakes the reference, or is
    overtaken by it, and where. The table has the crossings of the others, too.
    """
    reference, *others = result.contestants
    for each in others:
        if each.against:
            yield _verdict_sentence(each.label, each.against, reference.label)
    if result.again.against:
        apart = _measured(result.again.against.difference, reference.label)
        yield f"{reference.label} against itself, by other seeds: {apart}, which is luck alone."
    for overtaking in result.overtakings:
        sure = overtaking.crossing.low is not None or overtaking.crossing.high is not None
        if overtaking.axis == "chars" and sure and reference.label in (overtaking.first, overtaking.second):
            yield _overtaking_sentence(overtaking)
    for claim in result.judgements:
        yield f"Claim: {claim.says} {claim.word.capitalize()}: {claim.figures}."


def _verdict_sentence(label: str, against: Against, reference: str) -> str:
    apart, verdict = against.difference, against.verdict
    measured, p = _measured(apart, reference), f"p = {verdict.p:.3g}"
    if not verdict.lacks:
        return f"{label} is {verdict.word} than {reference}: {measured} ({p})."
    reasons = {
        "p": f"{p} is above {ALPHA:g}",
        "interval": "an interval as wide as the number of comparisons asks for holds 0",
        "no interval": f"fewer than {FEWEST_SEEDS} seeds, or {SHORTEST_TEXT:,} characters, make no interval",
        "median": "mean and median, or ranks, point to different sides",
        "A/A": f"{reference} is as far from itself",
    }
    why = ", ".join(reasons[lack] for lack in verdict.lacks)
    return f"Between {label} and {reference} no difference is shown: {measured}; {why}."


def _measured(apart: PairedDifference, reference: str) -> str:
    if apart.mean is None:
        return f"{apart.diverged} of its runs diverged, {apart.reference_diverged} of {reference}'s"
    return f"{difference(apart)} bits per character"


def _overtaking_sentence(overtaking: Overtaking) -> str:
    never = f"in {overtaking.crossing.never:.0%} of resamples never"
    where = _crossing(overtaking, " characters")
    return f"The mean of {overtaking.second} overtakes that of {overtaking.first} at {where}; {never}."


def tables(result: RaceResult) -> list[Table]:
    """All figures, at most 80 columns wide as far as names are short."""
    found = [_test_table(result), _validation_table(result), _cost_table(result)]
    if result.overtakings:
        found.append(_overtakings_table(result))
    return [*found, *_threshold_tables(result), *map(_tuning_table, _side_by_side(result.tuning))]


def _side_by_side(tuning: Sequence[Tuned]) -> Iterator[list[Tuned]]:
    """As many at a time as have room beside each other."""
    some: list[Tuned] = []
    for each in tuning:
        if some and sum(max(len(one.label), BROADEST) + GAP for one in (*some, each)) > WIDTH - BROADEST - GAP:
            yield some
            some = []
        some.append(each)
    if some:
        yield some


def _tuning_table(tuning: Sequence[Tuned]) -> Table:
    rates = sorted({rate for each in tuning for rate in each.rates})
    rows = [[f"{rate:.6g}", *(_tuned(each, rate) for each in tuning)] for rate in rates]
    note = "Best validation of each that was tried, in bits per character; *: chosen."
    return Table("learning rates", ["--lr", *(each.label for each in tuning)], rows, note)


def _tuned(tuned: Tuned, rate: float) -> str:
    if rate not in tuned.rates:
        return ""
    bpc = tuned.bpc[tuned.rates.index(rate)]
    score = "diverged" if bpc is None else _bits(bpc, ".4f")
    return f"* {score}" if rate == tuned.chosen else score


def _test_table(result: RaceResult) -> Table:
    reference = result.contestants[0].label
    columns = ["strategy", "bits/char", "sd", f"to {reference}", "p", "verdict"]
    rows = []
    for each in (*result.contestants, result.again):
        cells = against_cells(each.against) if each.against else ("the reference", "", "")
        rows.append([each.label, *spread(each.test), *cells])
    known = [each for each in result.yardsticks if each.split == result.split]
    rows += [[f"({each.label})", f"{each.bpc:.4f}", "", "", "", ""] for each in known]
    note = "± is half of the 95 % interval over seeds and text; p of the sign-flip test, by Holm's correction."
    return Table(f"{result.split}: {result.characters:,} characters", columns, rows, note)


def _validation_table(result: RaceResult) -> Table:
    columns = ["strategy", "last", "sd", "best", "sd", "seeds", "diverged"]
    rows = [
        [each.label, *spread(each.last), *spread(each.best), str(len(each.runs)), str(each.diverged)]
        for each in (*result.contestants, result.again)
    ]
    return Table("validation, bits per character", columns, rows)


def _cost_table(result: RaceResult) -> Table:
    rows = [[each.label, *(amount(each.cost[axis], axis) for axis in AXES)] for each in result.contestants]
    return Table("training, mean over seeds", ["strategy", *UNITS.values()], rows)


def _overtakings_table(result: RaceResult) -> Table:
    rows = [
        [f"{each.second} overtakes {each.first}", UNITS[each.axis], _crossing(each), f"{each.crossing.never:.0%}"]
        for each in result.overtakings
    ]
    columns = ["crossings of mean curves", "axis", "at, with 95 % interval", "never"]
    note = "never: share of resamples of the seeds in which it is not ahead at the end."
    return Table("crossings", columns, rows, note)


def _threshold_tables(result: RaceResult) -> Iterator[Table]:
    for bpc in dict.fromkeys(threshold.bpc for threshold in result.thresholds):
        rows = [
            [each.label, f"{each.reached['chars'].count} of {len(each.reached['chars'].places)}"]
            + [_reached(each.reached[axis], axis) for axis in AXES]
            for each in result.thresholds
            if each.bpc == bpc
        ]
        note = "Median over seeds; a dash where half of them or more never came down to it."
        yield Table(f"until {bpc:.4f} bpc", ["strategy", "reached", *UNITS.values()], rows, note)


def against_cells(against: Against) -> tuple[str, str, str]:
    """Difference, p and verdict."""
    verdict = against.verdict
    return difference(against.difference), f"{verdict.p:.3f}", WORDS[verdict.word]


def spread(values: Spread) -> Sequence[str]:
    """Mean and standard deviation over seeds; dashes where there is none."""
    return ["-" if value is None else _bits(value, ".4f") for value in (values.mean, values.sd)]


def difference(apart: PairedDifference) -> str:
    """The mean and half its interval; where a run diverged, there is none."""
    if apart.mean is None:
        return "diverged"
    if not apart.interval:
        return _bits(apart.mean, "+z.3f")
    return f"{_bits(apart.mean, '+z.3f')} ± {_bits(apart.mean - apart.interval.low, '.3f')}"


def _bits(value: float, form: str) -> str:
    """What has gone astray, as at far too high a rate, is not to be read to the last digit."""
    return format(value, form if abs(value) < 1000 else ".1e")


def amount(value: float, axis: str) -> str:
    """So much of an axis, without its unit."""
    if axis in ("chars", "updates"):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if axis == "seconds" else f"{value:.3g}"


def _crossing(overtaking: Overtaking, unit: str = "") -> str:
    crossing, axis = overtaking.crossing, overtaking.axis
    low, high = ("open" if end is None else amount(end, axis) for end in (crossing.low, crossing.high))
    return f"{amount(crossing.at or 0, axis)}{unit} [{low} to {high}]"


def _reached(reached: Reached, axis: str) -> str:
    return "-" if reached.median is None else amount(reached.median, axis)
