"""The answer of a race: what its finished runs show, and a text by each contestant."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.prompts import as_trained
from rnnbptt.inference.sampling import sample
from rnnbptt.study.race.claims import Claim
from rnnbptt.study.race.concluding import conclude
from rnnbptt.study.race.config import Arm, RaceConfig
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.grid import SHARE, share_of
from rnnbptt.study.race.reading import Entrant, Finished
from rnnbptt.study.race.results import RaceResult
from rnnbptt.text.reading import Tell
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.folder import RunFolder


def answer(race: Race, thresholds: Sequence[float], claims: Sequence[Claim], tell: Tell) -> RaceResult:
    """What the runs that have come to their end show; see `conclude`."""
    entrants = [_entrant(race, arm) for arm in race.config.contestants]
    result = conclude(entrants, _entrant(race, race.config.again), race.corpus, thresholds, claims, tell)
    return replace(result, tuning=race.config.tuning, notes=(*result.notes, *notes_on_rates(race.config)))


def notes_on_rates(config: RaceConfig) -> Iterator[str]:
    """Where the learning rates come from."""
    if config.tuning:
        share, seed = f"{share_of(config.train.budget)}, {SHARE:.0%} of the budget", config.tuning_seed
        yield (
            f"The learning rate of each is that of its best validation on {share}, by seed {seed}, which no run of the"
            " race has; all of the budget, or another seed, might have preferred another."
        )
    elif len({arm.train.lr for arm in config.contestants}) == 1:
        yield "One learning rate serves all, and may suit one better than another: see --tune."
    for each in config.tuning:
        if each.at_edge:
            end = "lowest" if each.chosen == each.rates[0] else "highest"
            yield f"{each.label}: the best learning rate, {each.chosen!r}, is the {end} that was tried."


def _entrant(race: Race, arm: Arm) -> Entrant:
    """Its runs that are done or have diverged: of one that failed nothing is known."""
    ended = ((cell, race.outcomes.get(cell.place)) for cell in arm.cells)
    runs = [
        Finished(cell.seed, race.folder / cell.place, outcome.state == "diverged")
        for cell, outcome in ended
        if outcome and outcome.state in ("done", "diverged")
    ]
    return Entrant(arm.label, runs)


def samples(race: Race, config: SampleConfig) -> Iterator[tuple[str, str]]:
    """By the best checkpoint of each contestant's first run that is done: its label, and prompt and text.

    UserError where the vocabulary lacks a character of the prompt.
    """
    for arm in race.config.contestants:
        done = (cell for cell in arm.cells if (outcome := race.outcomes.get(cell.place)) and outcome.state == "done")
        if cell := next(done, None):
            checkpoint = load_checkpoint(RunFolder(race.folder / cell.place).best)
            read, _ = as_trained(config, checkpoint.vocabulary, race.corpus.options)
            text = "".join(sample(checkpoint.build_model(), checkpoint.vocabulary, read))
            yield cell.name, config.prompt + text
