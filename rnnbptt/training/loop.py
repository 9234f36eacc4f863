"""Training: one configuration, one loop. It yields records and prints nothing.

Schedules count characters, not updates, so that two runs differ only in truncation: an update reads k characters of
each of B streams, and its loss is their mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt import __version__
from rnnbptt.bptt.influence import INFLUENCES
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError
from rnnbptt.inference.evaluation import LN2, mean_nats
from rnnbptt.text.corpus import Corpus, stand_in
from rnnbptt.text.streams import Streams
from rnnbptt.training.budget import Budget, LearningRate
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.document import Document, Standing, TrainedOn, Versions
from rnnbptt.training.optimizers import OPTIMIZERS
from rnnbptt.training.records import Axes, Record, Sums, Validations
from rnnbptt.truncation.plan import Plan, Progress
from rnnbptt.truncation.specs import parse_truncation


class DivergedError(UserError):
    """The loss or the gradient is no longer a finite number."""


VALIDATIONS = 20  # of a run, unless it says after how many characters
RECORDS_PER_VALIDATION = 10
DECAY_EVERY = 1000  # characters between two decays of the weights


class Trainer:
    """A run in progress: `run` goes on with it, `snapshot` is all that it takes to go on bit for bit elsewhere."""

    def __init__(self, model: CharRNN, corpus: Corpus, config: TrainConfig) -> None:
        self.model, self.corpus, self.config = model, corpus, config
        self.strategy = parse_truncation(config.trunc)
        if self.strategy.needs_state and model.config.window:
            raise UserError(
                f"--trunc {config.trunc}: --cell {model.config.cell} has no state for a gradient to go back through;"
                " give a plain K such as 16"
            )
        self.streams = Streams(corpus.split("train"), config.streams)
        self.state = model.zero_state(config.streams)
        self.optimizer = OPTIMIZERS[config.optimizer](model.parameters.flat)
        self.dropout = torch.Generator(device=model.device).manual_seed(config.seed)
        self.axes, self.sums, self.validations = Axes(), Sums(), Validations()
        self.schedule = LearningRate(config.lr, config.warmup, config.final_lr)
        self.influence = INFLUENCES[self.strategy.influence](model, config.streams)
        self.measured: list[int] = []
        self.plan, self.rate = Plan(0, 0), 0.0  # the last one carried out, and its learning rate

    @classmethod
    def resume(
        cls, checkpoint: Checkpoint, corpus: Corpus, precision: str, device: str = "cpu", budget: Budget | None = None
    ) -> Trainer:
        """The run that left this checkpoint, where it left off.

        With another `budget` its schedules stretch to that; the precision "auto" is the one it was trained in.
        """
        document = checkpoint.document
        if corpus.fingerprint != document.corpus.fingerprint:
            raise UserError(
                f"{corpus.path}: not the text that {checkpoint.path} was trained on; give that one to resume"
            )
        if corpus.splits != document.corpus.splits:
            raise UserError(
                f"{corpus.path}: split otherwise than for {checkpoint.path}; prepare it with the same --split"
            )
        config = replace(document.train, budget=budget) if budget else document.train
        precision = document.precision if precision == "auto" else precision
        trainer = cls(checkpoint.build_model(precision, device), corpus, config)
        try:
            trainer._restore(checkpoint)
        except (KeyError, RuntimeError) as error:  # RuntimeError: a tensor of another shape
            raise UserError(f"{checkpoint.path}: damaged: {error}; begin a new run") from None
        return trainer

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Be where the checkpoint was."""
        standing = checkpoint.document.standing
        self.streams = Streams(self.corpus.split("train"), self.config.streams, standing.position)
        self.axes, self.sums, self.validations = standing.axes, standing.sums, standing.validations
        self.plan, self.rate = Plan(standing.k1, standing.k2), standing.lr
        self.state.copy_(checkpoint.tensors["state.carried"])
        for name, tensor in self.optimizer.state.items():
            tensor.copy_(checkpoint.tensors[f"optimizer.{name}"])
        self.dropout.set_state(checkpoint.tensors["rng.dropout"])
        self.measured = standing.measured
        for name, tensor in self.influence.state.items():
            tensor.copy_(checkpoint.tensors[f"influence.{name}"])
        if history := checkpoint.group("history"):
            self.model.recall(self.config.streams, history)

    def snapshot(self) -> tuple[dict[str, Tensor], Document]:
        """Tensors and document of a checkpoint."""
        tensors = {f"model.{name}": value for name, value in self.model.parameters.values.items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state.items()}
        tensors |= {"state.carried": self.state, "rng.dropout": self.dropout.get_state()}
        tensors |= {f"influence.{name}": tensor for name, tensor in self.influence.state.items()}
        held = self.model.remember(self.config.streams, self.strategy.history)
        tensors |= {f"history.{name}": value for name, value in held.items()}
        corpus = self.corpus
        document = Document(
            model=self.model.config,
            train=self.config,
            vocabulary=corpus.vocabulary,
            corpus=TrainedOn(str(corpus.path.resolve()), corpus.fingerprint, corpus.splits, corpus.options),
            standing=Standing(
                position=self.streams.position,
                axes=replace(self.axes),
                sums=replace(self.sums),
                validations=Validations(list(self.validations.chars), list(self.validations.nats)),
                measured=list(self.measured),
                k1=self.plan.advance,
                k2=self.plan.depth,
                lr=self.rate,
            ),
            device=str(self.model.device),
            precision=str(self.model.precision.operand).removeprefix("torch."),
            threads=torch.get_num_threads(),
            versions=Versions(__version__, str(torch.__version__)),
        )
        return tensors, document

    def tape_bytes(self) -> int:
        """Memory that the longest update keeps for its backward pass, and the influences."""
        longest, history = self.strategy.longest(self._room()), self.strategy.history
        return self.model.tape_bytes(history + max(longest, history), self.config.streams) + self.influence.bytes

    @property
    def spent(self) -> float:
        """The share of the budget that is used, 0 to 1."""
        return self.config.budget.spent(self.axes, self.streams.epoch_chars)

    @torch.no_grad()
    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Train until the budget is spent or `stop()`, asked before each update, says so.

        Yields a "train" record ten times a validation, and an "eval" record for each validation.
        """
        while self.spent < 1 and not stop():
            before, started = self._validations_due(), time.perf_counter()
            self._update()
            seconds = time.perf_counter() - started
            self.axes.seconds += seconds
            self.sums.seconds += seconds
            now, done = self._validations_due(), self.spent >= 1
            if int(now * RECORDS_PER_VALIDATION) > int(before * RECORDS_PER_VALIDATION) or done:
                yield self._train_record()
            if int(now) > int(before) or done:
                yield self._validate()

    def _validations_due(self) -> float:
        """How many validations should have been made by now."""
        every = self.config.eval_every
        return self.axes.chars / every if every else VALIDATIONS * self.spent

    def _update(self) -> None:
        """One update: read, predict, back-propagate, step."""
        plan = self.strategy.next(self._progress())
        segment = self.streams.take(plan.advance)
        self._reset(plan, segment.reset)
        x, y = (torch.from_numpy(ids).to(self.model.device) for ids in (segment.x, segment.y))
        logits, tape = self.model.forward(x, self.state, self.dropout, self.strategy.history, plan.rerun)
        nats, d_logits = cross_entropy(logits, y)
        if plan.scale != 1:
            d_logits.mul_(plan.scale)
        self.model.backward(tape, d_logits, plan.depth, plan.carry, self.influence.boundary)
        self.influence.update(tape)
        if plan.measure:
            self.measured.append(plan.measure(self.model.gradient_norms(tape, d_logits[-self.config.streams :])))
        self.plan = plan
        self._step(float(nats.mean()), plan, nats.numel())
        self.axes.flops += self._flops(plan, tape.last(plan.depth).length)

    def _progress(self) -> Progress:
        validations, measured = tuple(self.validations.nats), tuple(self.measured)
        in_updates = self.config.budget.unit == "updates"
        return Progress(
            self.spent, self._room(), self.axes.updates, self.config.seed, validations, measured, in_updates
        )

    def _flops(self, plan: Plan, gone_back: int) -> float:
        """Of an update that has gone back through so many characters."""
        streams = self.config.streams
        carried = gone_back - 1 if plan.carry is None else sum(factor != 0 for factor in plan.carry)
        again = gone_back - plan.advance if plan.rerun else 0
        again += plan.advance if plan.measure else 0  # a state's gradient takes the products of a forward pass
        update = self.model.flops(plan.advance * streams, gone_back * streams, carried * streams, again * streams)
        return update + self.influence.flops(plan.advance)

    def _room(self) -> int:
        """Characters a stream can read before one wraps or the budget ends."""
        chars, room = self.config.budget.chars(self.streams.epoch_chars), self.streams.until_wrap()
        return room if chars is None else min(room, -(-(chars - self.axes.chars) // self.config.streams))

    def _reset(self, plan: Plan, wrapped: NDArray[np.bool_]) -> None:
        """Zero the state of streams that have wrapped, of all where the plan says so; no gradient goes back beyond."""
        if not plan.reset and not wrapped.any():
            return
        streams = torch.from_numpy(wrapped | plan.reset).to(self.model.device)
        self.state[:, :, streams] = 0
        self.influence.reset(streams)
        self.model.forget(self.config.streams)

    def _step(self, loss: float, plan: Plan, chars: int) -> None:
        """Clip, step and count; no weight is changed where the loss or the gradient is not finite."""
        config, grad = self.config, self.model.parameters.grad
        norm = float(torch.linalg.vector_norm(grad))
        if not math.isfinite(loss + norm):
            what = "gradient" if math.isfinite(loss) else "loss"
            raise self._diverged(what, self.axes.chars + chars, self.axes.updates + 1)
        clipped = 0 < config.clip < norm
        if clipped:
            grad.mul_(config.clip / norm)
        beta2 = math.exp(-chars / config.beta2_chars) if config.beta2_chars else config.beta2
        rate = self.schedule.at(self.spent, self.axes.chars)
        self._decay(rate, chars)
        self.rate = plan.lr_scale * rate
        self.optimizer.step(self.model.parameters.flat, grad, self.rate, beta2)
        self.model.parameters.refresh_operands()
        axes, sums = self.axes, self.sums
        axes.chars += chars
        axes.updates += 1
        sums.chars += chars
        sums.updates += 1
        sums.nats += loss * chars
        sums.grad_norm += norm
        sums.clipped += clipped

    def _decay(self, rate: float, chars: int) -> None:
        """Decoupled weight decay (Loshchilov & Hutter 2019), of weights alone: a bias says how long a unit remembers,
        not how much it fits.

        Once for each 1,000 characters read, whatever the updates: at the same learning rate all truncations have the
        same over a text, and a short update's own share would be lost in the rounding of float32.
        """
        due = (self.axes.chars + chars) // DECAY_EVERY - self.axes.chars // DECAY_EVERY
        if due and self.config.weight_decay:
            kept = math.exp(-rate * self.config.weight_decay * due)
            for weight in self.model.parameters.weights:
                weight.mul_(kept)

    def _diverged(self, what: str, chars: int, updates: int) -> DivergedError:
        clip = "a lower --clip" if self.config.clip else "a --clip above 0"
        return DivergedError(
            f"the {what} is not finite at character {chars:,} (update {updates:,}); what was saved before is kept;"
            f" try a lower --lr (it was {self.config.lr:g}) or {clip}"
        )

    def _axes(self, kind: str) -> Record:
        axes = self.axes
        return {
            "kind": kind,
            **asdict(axes),
            "epoch": axes.chars / self.streams.epoch_chars,
            "k1": self.plan.advance,
            "k2": self.plan.depth,
            "lr": self.rate,
        }

    def _train_record(self) -> Record:
        sums, self.sums = self.sums, Sums()
        nats = sums.nats / sums.chars
        return self._axes("train") | {
            "bpc": nats / LN2,
            "nats": nats,
            "grad_norm": sums.grad_norm / sums.updates,
            "clip_rate": sums.clipped / sums.updates,
            "chars_per_second": sums.chars / sums.seconds,
        }

    def _validate(self) -> Record:
        split, (start, stop) = self.validation_split()
        nats = mean_nats(self.model, self.corpus.ids, start, stop)
        if not math.isfinite(nats):
            raise self._diverged("validation loss", self.axes.chars, self.axes.updates)
        self.validations.chars.append(self.axes.chars)
        self.validations.nats.append(nats)
        return self._axes("eval") | {"bpc": nats / LN2, "nats": nats, "split": split}

    def validation_split(self) -> tuple[str, tuple[int, int]]:
        """What is scored: the validation split; where it is empty, the last twentieth of the training text."""
        start, stop = self.corpus.splits["valid"]
        if start < stop:
            return "valid", (start, stop)
        return "train", stand_in(self.corpus.splits)
