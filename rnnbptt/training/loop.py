"""Training: one configuration, one loop. It yields records and prints nothing.

Schedules count characters, not updates, so that two runs differ only in truncation: an update reads k characters of
each of B streams, and its loss is their mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.bptt.influence import INFLUENCES
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError
from rnnbptt.inference.evaluation import LN2, mean_nats
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.streams import Streams
from rnnbptt.training.budget import Budget, Counts, LearningRate
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.optimizers import OPTIMIZERS
from rnnbptt.truncation.plan import Plan, Progress
from rnnbptt.truncation.specs import parse_truncation

Record = dict[str, Any]


@dataclass
class Interval:
    """Sums since the last train record."""

    chars: int = 0
    updates: int = 0
    seconds: float = 0.0
    nats: float = 0.0
    grad_norm: float = 0.0
    clipped: int = 0


@dataclass
class Validations:
    """The validations so far: characters seen and nats per character."""

    chars: list[int] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)

    def latest_is_best(self) -> bool:
        """Whether the last one is better than all before it."""
        return all(self.nats[-1] < earlier for earlier in self.nats[:-1])


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
        self.counts, self.interval, self.validations = Counts(), Interval(), Validations()
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
        if corpus.fingerprint != document["corpus"]["fingerprint"]:
            raise UserError(
                f"{corpus.path}: not the text that {checkpoint.path} was trained on; give that one to resume"
            )
        if {name: list(part) for name, part in corpus.splits.items()} != document["corpus"]["splits"]:
            raise UserError(
                f"{corpus.path}: split otherwise than for {checkpoint.path}; prepare it with the same --split"
            )
        try:
            config = TrainConfig.from_json(document["train"])
            config = replace(config, budget=budget) if budget else config
            precision = document["precision"] if precision == "auto" else precision
            trainer = cls(checkpoint.build_model(precision, device), corpus, config)
            trainer._restore(checkpoint)
        except (KeyError, TypeError) as error:
            raise UserError(f"{checkpoint.path}: damaged: {error!r}; begin a new run") from None
        return trainer

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Be where the checkpoint was."""
        progress = checkpoint.document["progress"]
        self.streams = Streams(self.corpus.split("train"), self.config.streams, progress["position"])
        self.counts = Counts(**progress["counts"])
        self.interval = Interval(**progress["interval"])
        self.validations = Validations(**progress["validations"])
        self.plan, self.rate = Plan(progress["k1"], progress["k2"]), progress["lr"]
        self.state.copy_(checkpoint.tensors["state.carried"])
        for name, tensor in self.optimizer.state.items():
            tensor.copy_(checkpoint.tensors[f"optimizer.{name}"])
        self.dropout.set_state(checkpoint.tensors["rng.dropout"])
        self.measured = list(progress.get("measured", []))  # runs of before there were measurements lack it
        for name, tensor in self.influence.state.items():
            tensor.copy_(checkpoint.tensors[f"influence.{name}"])
        if history := checkpoint.group("history"):
            self.model.recall(self.config.streams, history)

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and document of a checkpoint."""
        tensors = {f"model.{name}": value for name, value in self.model.parameters.values.items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state.items()}
        tensors |= {"state.carried": self.state, "rng.dropout": self.dropout.get_state()}
        tensors |= {f"influence.{name}": tensor for name, tensor in self.influence.state.items()}
        held = self.model.remember(self.config.streams, self.strategy.keep)
        tensors |= {f"history.{name}": value for name, value in held.items()}
        corpus = self.corpus
        document = {
            "model": asdict(self.model.config),
            "train": asdict(self.config),
            "vocabulary": corpus.vocabulary.to_json(),
            "corpus": {
                "path": str(corpus.path.resolve()),
                "fingerprint": corpus.fingerprint,
                "splits": corpus.splits,
                "options": asdict(corpus.options),
            },
            "device": str(self.model.device),
            "precision": str(self.model.precision.operand).removeprefix("torch."),
            "progress": {
                "position": self.streams.position,
                "counts": asdict(self.counts),
                "interval": asdict(self.interval),
                "validations": asdict(self.validations),
                "measured": self.measured,
                "k1": self.plan.advance,
                "k2": self.plan.depth,
                "lr": self.rate,
            },
        }
        return tensors, document

    def tape_bytes(self) -> int:
        """Memory that the longest update keeps for its backward pass, and the influences."""
        longest, keep = self.strategy.longest(self._room()), self.strategy.keep
        return self.model.tape_bytes(keep + max(longest, keep), self.config.streams) + self.influence.bytes

    @property
    def spent(self) -> float:
        """The share of the budget that is used, 0 to 1."""
        return self.config.budget.spent(self.counts, self.streams.epoch_chars)

    @torch.no_grad()
    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Train until the budget is spent or `stop()`, asked before each update, says so.

        Yields a "train" record ten times a validation, and an "eval" record for each validation.
        """
        while self.spent < 1 and not stop():
            before, started = self._validations_due(), time.perf_counter()
            self._update()
            seconds = time.perf_counter() - started
            self.counts.seconds += seconds
            self.interval.seconds += seconds
            now, done = self._validations_due(), self.spent >= 1
            if int(now * RECORDS_PER_VALIDATION) > int(before * RECORDS_PER_VALIDATION) or done:
                yield self._train_record()
            if int(now) > int(before) or done:
                yield self._validate()

    def _validations_due(self) -> float:
        """How many validations should have been made by now."""
        every = self.config.eval_every
        return self.counts.chars / every if every else VALIDATIONS * self.spent

    def _update(self) -> None:
        """One update: read, predict, back-propagate, step."""
        plan = self.strategy.next(self._progress())
        segment = self.streams.take(plan.advance)
        self._reset(plan, segment.reset)
        x, y = (torch.from_numpy(ids).to(self.model.device) for ids in (segment.x, segment.y))
        logits, tape = self.model.forward(x, self.state, self.dropout, self.strategy.keep, plan.rerun)
        nats, d_logits = cross_entropy(logits, y)
        if plan.scale != 1:
            d_logits.mul_(plan.scale)
        self.model.backward(tape, d_logits, plan.depth, plan.carry, self.influence.boundary)
        self.influence.update(tape)
        if plan.measure:
            self.measured.append(plan.measure(self.model.gradient_norms(tape, d_logits[-self.config.streams :])))
        self.plan = plan
        self._step(float(nats.mean()), plan, nats.numel())
        self.counts.flops += self._flops(plan, tape.last(plan.depth).length)

    def _progress(self) -> Progress:
        validations, measured = tuple(self.validations.nats), tuple(self.measured)
        in_updates = self.config.budget.unit == "updates"
        return Progress(
            self.spent, self._room(), self.counts.updates, self.config.seed, validations, measured, in_updates
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
        return room if chars is None else min(room, -(-(chars - self.counts.chars) // self.config.streams))

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
            raise self._diverged(what, self.counts.chars + chars, self.counts.updates + 1)
        clipped = 0 < config.clip < norm
        if clipped:
            grad.mul_(config.clip / norm)
        beta2 = math.exp(-chars / config.beta2_chars) if config.beta2_chars else config.beta2
        rate = self.schedule.at(self.spent, self.counts.chars)
        self._decay(rate, chars)
        self.rate = plan.lr_scale * rate
        self.optimizer.step(self.model.parameters.flat, grad, self.rate, beta2)
        self.model.parameters.refresh_operands()
        counts, interval = self.counts, self.interval
        counts.chars += chars
        counts.updates += 1
        interval.chars += chars
        interval.updates += 1
        interval.nats += loss * chars
        interval.grad_norm += norm
        interval.clipped += clipped

    def _decay(self, rate: float, chars: int) -> None:
        """Decoupled weight decay (Loshchilov & Hutter 2019), of weights alone: a bias says how long a unit remembers,
        not how much it fits.

        Once for each 1,000 characters read, whatever the updates: at the same learning rate all truncations have the
        same over a text, and a short update's own share would be lost in the rounding of float32.
        """
        due = (self.counts.chars + chars) // DECAY_EVERY - self.counts.chars // DECAY_EVERY
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
        counts = self.counts
        return {
            "kind": kind,
            **asdict(counts),
            "epoch": counts.chars / self.streams.epoch_chars,
            "k1": self.plan.advance,
            "k2": self.plan.depth,
            "lr": self.rate,
        }

    def _train_record(self) -> Record:
        interval, self.interval = self.interval, Interval()
        nats = interval.nats / interval.chars
        return self._axes("train") | {
            "bpc": nats / LN2,
            "nats": nats,
            "grad_norm": interval.grad_norm / interval.updates,
            "clip_rate": interval.clipped / interval.updates,
            "chars_per_second": interval.chars / interval.seconds,
        }

    def _validate(self) -> Record:
        split, (start, stop) = self.validation_split()
        nats = mean_nats(self.model, self.corpus.ids, start, stop)
        if not math.isfinite(nats):
            raise self._diverged("validation loss", self.counts.chars, self.counts.updates)
        self.validations.chars.append(self.counts.chars)
        self.validations.nats.append(nats)
        return self._axes("eval") | {"bpc": nats / LN2, "nats": nats, "split": split}

    def validation_split(self) -> tuple[str, tuple[int, int]]:
        """What is scored: the validation split; where it is empty, the last twentieth of the training text."""
        start, stop = self.corpus.splits["valid"]
        if start < stop:
            return "valid", (start, stop)
        start, stop = self.corpus.splits["train"]
        return "train", (stop - math.ceil((stop - start) / 20), stop)
