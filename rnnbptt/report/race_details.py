"""What a race was: its command, settings, text, versions and machine, in plain text for its page."""

import shlex
from collections.abc import Iterator

from rnnbptt.report.inventory import chosen
from rnnbptt.study.race.folder import CORPUS, Race
from rnnbptt.study.race.machine import versions_and_machine
from rnnbptt.study.race.varied import spelled


def details(race: Race) -> Iterator[tuple[str, str]]:
    """Titles and texts."""
    yield "Commands", "\n".join(_commands(race))
    yield "Settings", "\n".join(f"{name:<16}{_plain(value)}" for name, value in race.config.settings().items())
    yield "Text", "\n".join(_text(race))
    yield "Versions and machine", "\n".join(f"{what:<16}{value}" for what, value in versions_and_machine().items())


def command(race: Race) -> str:
    """What makes the race again."""
    config, corpus = race.config, race.corpus
    own = corpus.path.parent.resolve() == race.folder.resolve() and corpus.path.name == CORPUS
    texts = [source.name for source in corpus.sources] if own else [str(corpus.path)]
    truncs = [f"--trunc {shlex.quote(trunc)}" for trunc in config.truncs]
    varied = [f"--vary {values}" for values in spelled(config.vary)]
    rates = [*(f"--lr {rate!r}" for rate in config.rates), *([f"--tune {config.tune}"] if config.tune else [])]
    budget = f"--{config.train.budget.unit} {config.train.budget.amount:.15g}"
    text = chosen(config.text) if own else ""
    how = [f"--seeds {config.seeds}", f"--precision {config.precision}", f"--engine {config.engine}"]
    options = filter(None, [chosen(config.model, config.train), text, budget, *how])
    return " ".join(["rnnbptt race", *map(shlex.quote, texts), *truncs, *varied, *rates, *options])


def _commands(race: Race) -> Iterator[str]:
    yield command(race)
    for arm in race.config.contestants:
        done = (cell for cell in arm.cells if (outcome := race.outcome(cell)) and outcome.state == "done")
        if cell := next(done, None):
            yield f"rnnbptt sample {shlex.quote(str(race.folder / cell.place))}"


def _text(race: Race) -> Iterator[str]:
    corpus = race.corpus
    for source in corpus.sources:
        yield f"{source.name}  SHA-256 {source.sha256}"
    if task := corpus.task:
        made = "" if task.seed is None else f" --size {len(corpus.ids)} --seed {task.seed}"
        options = " ".join(filter(None, [shlex.quote(task.spec) + made, chosen(corpus.options)]))
        yield f"rnnbptt prepare --task {options}"
    yield f"{len(corpus.vocabulary):,} symbols; fingerprint {corpus.fingerprint}"
    for name, (start, stop) in corpus.splits.items():
        yield f"{name:<6}{stop - start:>14,} characters"


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
