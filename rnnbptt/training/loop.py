"""Training: one configuration, one loop. It yields records and prints nothing.

Schedules count characters, not updates, so that two runs differ only in truncation: an update reads k characters of
each of B streams, and its loss is the mean over those of them that have one: all, unless the plan says otherwise.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict

import torch

from rnnbptt.bptt.engines import make_engine
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.update import Steps, TorchEngine
from rnnbptt.errors import UserError, check_bytes, check_option
from rnnbptt.inference.evaluation import LN2, GivenUpError, remarks, score
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.course import Course
from rnnbptt.training.document import Initial
from rnnbptt.training.lanes import streams_of
from rnnbptt.training.optimizers import kept_share, make_optimizer
from rnnbptt.training.records import Record, Standing, Sums
from rnnbptt.training.updating import Made, make_updates
from rnnbptt.truncation.plan import Plan
from rnnbptt.truncation.specs import parse_truncation


class DivergedError(UserError):
    """The loss or the gradient is no longer a finite number."""


WORK = 4e8  # operations in one call of a kernel: some hundredths of a second, till Ctrl-C is heard


class Trainer:
    """A run in progress: `run` goes on with it; state.py saves and restores it.

    model     the network that is trained
    engine    computes the updates
    standing  where the run stands
    initial   whose weights it began with
    notes     what to know before it goes on
    """

    def __init__(self, model: CharRNN, corpus: Corpus, config: TrainConfig, engine: str = "torch") -> None:
        self.model, self.corpus, self.config = model, corpus, config
        self.strategy = parse_truncation(config.trunc)
        advice = f"--cell {model.config.cell} has no state for a gradient to go back through; give a plain K such as 16"
        check_option(not (self.strategy.needs_state and model.config.window), "trunc", config.trunc, advice)
        advice = "--cell window:1 has no state to set to zero; leave it out"
        check_option(not (config.reset_every and model.config.window == 1), "reset_every", config.reset_every, advice)
        self.streams = streams_of(corpus.split("train"), config)
        self.engine = make_engine(engine, model, self.strategy, config.streams, config.seed)
        self.optimizer = make_optimizer(config.optimizer, model.parameters, model.config.hidden)
        self.standing = Standing()
        self.initial: Initial | None = None
        self.notes: list[str] = []
        check_bytes(self.memory, "the longest update", "give a shorter --trunc, fewer --streams or less --hidden")

    @property
    def course(self) -> Course:
        """What is due, and how far it can read on."""
        _, (start, stop) = self.corpus.validation_part()
        return Course(self.config, self.streams, self.standing, stop - start)

    @property
    def spent(self) -> float:
        """The share of the budget that is used, 0 to 1."""
        return self.course.spent(self.standing.axes)

    @property
    def memory(self) -> int:
        """Bytes that the longest update keeps for its backward pass."""
        return self.engine.memory(self.strategy.longest(self.course.room(self.standing.axes)))

    @torch.no_grad()
    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Train until the budget is spent or `stop()`, asked before each update and in the course of validations, says
        so. A validation that was given up comes first when the run goes on.

        Yields a "train" record ten times a validation, and an "eval" record for each validation. These read no more
        than training does, but for the last one, unless the run says when to make them.
        """
        standing = self.standing
        while not (self.finished or stop()):
            if not standing.owing:
                yield from self._update()
            if standing.owing:
                with suppress(GivenUpError):
                    yield self._validate(stop)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.spent >= 1 and not self.standing.owing

    def _update(self) -> Iterator[Record]:
        """One update, or some that are alike, and their record where one is due; it says whether a validation is."""
        standing, course = self.standing, self.course
        validations, records = course.validations_due(standing.axes), course.records_due(standing.axes)
        started = time.perf_counter()
        plan = self.strategy.next(course.progress(standing.axes))
        self.corpus.check_unchanged()
        self._count(plan, *self._make(plan))
        seconds = time.perf_counter() - started
        standing.axes.seconds += seconds
        standing.sums.seconds += seconds
        due, done = int(course.validations_due(standing.axes)) > int(validations), course.spent(standing.axes) >= 1
        standing.owing = done or (due and course.affords_validation())
        if course.records_due(standing.axes) > records or done:
            yield self._train_record()

    def _make(self, plan: Plan) -> tuple[Made, float]:
        """Read on and move the weights by this plan; with the learning rate that it came to."""
        config, course, axes, updates = self.config, self.course, self.standing.axes, self._alike(plan)
        segment = self.streams.take(updates * plan.advance)
        chars = segment.x.size // updates
        moments = [course.later(made, chars) for made in range(updates)]
        rates = [config.learning_rate(course.spent(moment), moment.chars) for moment in moments]
        kept = [
            kept_share(rate * config.weight_decay, moment.chars, moment.chars + chars)
            for rate, moment in zip(rates, moments, strict=True)
        ]
        beta2 = math.exp(-chars / config.beta2_chars) if config.beta2_chars else config.beta2
        steps = Steps([plan.lr_scale * rate for rate in rates], kept, beta2, config.clip)
        made = make_updates(self.engine, self.optimizer, self.model.parameters, plan, segment, steps)
        if not math.isfinite(made.nats[-1] + made.norms[-1]):
            what = "gradient" if math.isfinite(made.nats[-1]) else "loss"
            raise self._diverged(what, axes.chars + len(made.nats) * chars, axes.updates + len(made.nats))
        return made, steps.rates[-1]

    def _alike(self, plan: Plan) -> int:
        """How many updates by this plan can be made in one call: until a state must be zero, a record is due, the
        budget ends or another plan is next.
        """
        if isinstance(self.engine, TorchEngine) or not self.strategy.steady:
            return 1
        course, chars = self.course, plan.advance * self.config.streams
        records = course.records_due(self.standing.axes)

        def something_else(made: int) -> bool:
            then = course.later(made, chars)
            if course.records_due(then) > records or course.spent(then) >= 1:
                return True
            return self.strategy.next(course.progress(then)) != plan

        most = 1 + int(WORK / self.engine.flops(plan))
        few = range(1, min(most, self.streams.segments_until_reset(plan.advance)))
        return 1 + bisect_left(few, True, key=something_else)

    def _count(self, plan: Plan, made: Made, rate: float) -> None:
        """Updates that were made, the last one with that learning rate."""
        config, standing = self.config, self.standing
        axes, sums, updates = standing.axes, standing.sums, len(made.nats)
        standing.k1, standing.k2, standing.lr = plan.advance, plan.depth, rate
        if made.measured is not None:
            standing.measured.append(made.measured)
        axes.chars += updates * made.chars
        axes.updates += updates
        sums.chars += updates * made.chars
        sums.unscored += updates * (made.chars - made.scored)
        sums.updates += updates
        for nats, norm, flops in zip(made.nats, made.norms, made.flops, strict=True):  # one by one: sums are rounded
            axes.flops += flops
            sums.nats += nats * made.scored
            sums.grad_norm += norm
            sums.clipped += 0 < config.clip < norm

    def _diverged(self, what: str, chars: int, updates: int) -> DivergedError:
        advice = "a lower --clip" if self.config.clip else "a --clip above 0"
        return DivergedError(
            f"the {what} is not finite at character {chars:,} (update {updates:,}); what was saved before is kept;"
            f" try a lower --lr (it was {self.config.lr:g}) or {advice}"
        )

    def _record(self, kind: str, nats: float) -> Record:
        standing = self.standing
        epoch = standing.axes.chars / self.streams.epoch_chars
        now = {"epoch": epoch, "k1": standing.k1, "k2": standing.k2, "lr": standing.lr}
        return {"kind": kind, **asdict(standing.axes), **now, "bpc": nats / LN2, "nats": nats}

    def _train_record(self) -> Record:
        sums, self.standing.sums = self.standing.sums, Sums()
        return self._record("train", sums.nats / (sums.chars - sums.unscored)) | {
            "grad_norm": sums.grad_norm / sums.updates,
            "clip_rate": sums.clipped / sums.updates,
            "chars_per_second": sums.chars / sums.seconds,
        }

    def _validate(self, give_up: Callable[[], bool]) -> Record:
        axes, validations = self.standing.axes, self.standing.validations
        split, (start, stop) = self.corpus.validation_part()
        self.corpus.check_unchanged()
        scored = self.corpus.scored
        nats, stretches, settled = score(self.model, self.corpus.ids, start, stop, give_up=give_up, scored=scored)
        if not math.isfinite(nats):
            raise self._diverged("validation loss", axes.chars, axes.updates)
        validations.chars.append(axes.chars)
        validations.nats.append(nats)
        self.standing.owing = False
        if validations.latest_is_best():
            self.standing.remarks = remarks(nats, stretches, settled, self.model.config.vocabulary)
        return self._record("eval", nats) | {"split": split, "settled": settled}
