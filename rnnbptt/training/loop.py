"""Training: one configuration, one loop. It yields records and prints nothing.

Schedules count characters, not updates, so that two runs differ only in truncation: an update reads k characters of
each of B streams, and its loss is their mean.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict

import torch

from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.update import Engine, Outcome, TorchEngine
from rnnbptt.errors import UserError, check_bytes, check_option
from rnnbptt.inference.evaluation import LN2, GivenUpError, remarks, score
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.streams import Streams
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.document import Initial
from rnnbptt.training.optimizers import OPTIMIZERS, clip, decay
from rnnbptt.training.records import Record, Standing, Sums
from rnnbptt.truncation.plan import Plan, Progress
from rnnbptt.truncation.specs import parse_truncation


class DivergedError(UserError):
    """The loss or the gradient is no longer a finite number."""


VALIDATIONS = 20  # of a run, unless it says after how many characters
RECORDS_PER_VALIDATION = 10


class Trainer:
    """A run in progress: `run` goes on with it; state.py saves and restores it.

    model     the network that is trained
    engine    computes the updates
    standing  where the run stands
    initial   whose weights it began with
    remarks   what to know of its best validation
    """

    def __init__(self, model: CharRNN, corpus: Corpus, config: TrainConfig) -> None:
        self.model, self.corpus, self.config = model, corpus, config
        self.strategy = parse_truncation(config.trunc)
        advice = f"--cell {model.config.cell} has no state for a gradient to go back through; give a plain K such as 16"
        check_option(not (self.strategy.needs_state and model.config.window), "trunc", config.trunc, advice)
        self.streams = Streams(corpus.split("train"), config.streams)
        self.engine: Engine = TorchEngine(model, self.strategy, config.streams, config.seed)
        self.optimizer = OPTIMIZERS[config.optimizer](model.parameters.flat)
        self.standing = Standing()
        self.initial: Initial | None = None
        self.remarks: list[str] = []
        check_bytes(self.memory, "the longest update", "give a shorter --trunc, fewer --streams or less --hidden")

    @property
    def spent(self) -> float:
        """The share of the budget that is used, 0 to 1."""
        return self.config.budget.spent(self.standing.axes, self.streams.epoch_chars)

    @property
    def memory(self) -> int:
        """Bytes that the longest update keeps for its backward pass."""
        return self.engine.memory(self.strategy.longest(self._room()))

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
        """One update, and its record where one is due; it says whether a validation is."""
        standing = self.standing
        before, started = self._validations_due(), time.perf_counter()
        plan = self.strategy.next(self._progress())
        self.corpus.check_unchanged()
        outcome = self.engine.update(plan, self.streams.take(plan.advance))
        self._step(plan, outcome)
        seconds = time.perf_counter() - started
        standing.axes.seconds += seconds
        standing.sums.seconds += seconds
        now, done = self._validations_due(), self.spent >= 1
        standing.owing = done or (int(now) > int(before) and self._affords_validation())
        if int(now * RECORDS_PER_VALIDATION) > int(before * RECORDS_PER_VALIDATION) or done:
            yield self._train_record()

    def _validations_due(self) -> float:
        """How many validations should have been made by now."""
        every = self.config.eval_every
        return self.standing.axes.chars / every if every else VALIDATIONS * self.spent

    def _affords_validation(self) -> bool:
        """Whether one more validation leaves training with no less to read than all of them."""
        made = len(self.standing.validations.nats)
        return bool(self.config.eval_every) or (made + 1) * self.validation_chars <= self.standing.axes.chars

    @property
    def validation_chars(self) -> int:
        """Characters that a validation reads."""
        _, (start, stop) = self.corpus.validation_part()
        return stop - start

    @property
    def affordable_validations(self) -> int | None:
        """How many validations there will be before the last one where these are fewer than usual, because they would
        read more than training does; None: as many as usual, or the budget does not tell.
        """
        chars = self.config.budget.chars(self.streams.epoch_chars)
        if self.config.eval_every or chars is None or chars >= VALIDATIONS * self.validation_chars:
            return None
        return chars // self.validation_chars

    def _progress(self) -> Progress:
        """What the strategy may look at."""
        standing = self.standing
        validations, measured = tuple(standing.validations.nats), tuple(standing.measured)
        in_updates, updates = self.config.budget.unit == "updates", standing.axes.updates
        return Progress(self.spent, self._room(), updates, self.config.seed, validations, measured, in_updates)

    def _room(self) -> int:
        """Characters a stream can read before one wraps or the budget ends."""
        chars, room = self.config.budget.chars(self.streams.epoch_chars), self.streams.until_wrap()
        return room if chars is None else min(room, -(-(chars - self.standing.axes.chars) // self.config.streams))

    def _step(self, plan: Plan, outcome: Outcome) -> None:
        """Clip, decay, step and count; no weight is changed where the loss or the gradient is not finite."""
        config, parameters, standing = self.config, self.model.parameters, self.standing
        axes, sums, chars = standing.axes, standing.sums, outcome.chars
        norm = clip(parameters.grad, config.clip)
        if not math.isfinite(outcome.loss + norm):
            what = "gradient" if math.isfinite(outcome.loss) else "loss"
            raise self._diverged(what, axes.chars + chars, axes.updates + 1)
        beta2 = math.exp(-chars / config.beta2_chars) if config.beta2_chars else config.beta2
        rate = config.learning_rate(self.spent, axes.chars)
        decay(parameters.weights, rate * config.weight_decay, axes.chars, axes.chars + chars)
        standing.k1, standing.k2, standing.lr = plan.advance, plan.depth, plan.lr_scale * rate
        self.optimizer.step(parameters.flat, parameters.grad, standing.lr, beta2)
        parameters.refresh_operands()
        if outcome.measured is not None:
            standing.measured.append(outcome.measured)
        axes.chars += chars
        axes.updates += 1
        axes.flops += outcome.flops
        sums.chars += chars
        sums.updates += 1
        sums.nats += outcome.loss * chars
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
        return self._record("train", sums.nats / sums.chars) | {
            "grad_norm": sums.grad_norm / sums.updates,
            "clip_rate": sums.clipped / sums.updates,
            "chars_per_second": sums.chars / sums.seconds,
        }

    def _validate(self, give_up: Callable[[], bool]) -> Record:
        axes, validations = self.standing.axes, self.standing.validations
        split, (start, stop) = self.corpus.validation_part()
        self.corpus.check_unchanged()
        nats, stretches, settled = score(self.model, self.corpus.ids, start, stop, give_up=give_up)
        if not math.isfinite(nats):
            raise self._diverged("validation loss", axes.chars, axes.updates)
        validations.chars.append(axes.chars)
        validations.nats.append(nats)
        self.standing.owing = False
        if validations.latest_is_best():
            self.remarks = remarks(nats, stretches, settled, self.model.config.vocabulary)
        return self._record("eval", nats) | {"split": split, "settled": settled}
