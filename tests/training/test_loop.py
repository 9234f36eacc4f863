"""The training loop against a second one made of torch.nn, autograd and torch.optim, and what it records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rnnbptt.bptt.generators import stream
from rnnbptt.bptt.influence import INFLUENCES
from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.evaluation import score
from rnnbptt.inference.sampling import sample
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.resets import Resets
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.loop import Trainer
from rnnbptt.training.records import Validations
from rnnbptt.truncation.plan import Plan
from support.networks import TorchNetwork, error, independent
from support.runs import a_score
from support.texts import make_corpus, prose, task_corpus
from support.trainers import FROZEN, Plans, Spy, carried, frozen_copy, make_trainer, of_kind, some_updates, train

AXES = ["kind", "chars", "updates", "seconds", "flops", "epoch", "k1", "k2", "lr", "bpc", "nats"]


# --- the same in other words ------------------------------------------------------------------------------------------


class Moment(NamedTuple):
    """Where the lanes (B,) of a text stand, and the characters that each has read since any has wrapped."""

    text: Tensor
    lanes: Tensor
    since: int

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """x and y, (stop - start, B), from so many characters on."""
        return tuple(self.text[self.lanes + at + torch.arange(start, stop)[:, None]] for at in (0, 1))

    def met(self, state: Tensor) -> Tensor:
        """Zero in a lane at the start of the text, which has read nothing."""
        return state * (self.lanes != 0)[:, None]


Scheme = Callable[[TorchNetwork, Moment, int, Tensor], tuple[Tensor, Tensor]]  # k, state: the loss, the state after


def all_losses(network: TorchNetwork, moment: Moment, k: int, state: Tensor) -> tuple[Tensor, Tensor]:
    return network.loss(*moment.read(0, k), moment.met(state))


def of_the_lane_before(network: TorchNetwork, moment: Moment, k: int, state: Tensor) -> tuple[Tensor, Tensor]:
    return all_losses(network, moment, k, state.roll(1, 2))


def last_loss(network: TorchNetwork, moment: Moment, k: int, state: Tensor) -> tuple[Tensor, Tensor]:
    x, y = moment.read(0, k)
    logits, after = network(x, moment.met(state))
    return torch.nn.functional.cross_entropy(logits.unflatten(0, x.shape)[-1], y[-1]), after.detach()


def windows_of_7(network: TorchNetwork, moment: Moment, k: int, state: Tensor) -> tuple[Tensor, Tensor]:
    x, y = moment.read(-min(4, moment.since), k)
    logits, after = network(x, torch.zeros_like(state))
    return torch.nn.functional.cross_entropy(logits.unflatten(0, x.shape)[-1], y[-1]), after.detach()


def reset_by_chance() -> Scheme:
    """Before each update the states of those lanes are zero whose place lies in the update before; seed 0, 3 lanes."""
    resets, update_before = Resets(3, 9, stream(0, "resets")), [0, 0]

    def scheme(network: TorchNetwork, moment: Moment, k: int, state: Tensor) -> tuple[Tensor, Tensor]:
        kept = torch.from_numpy(~resets.between(*update_before))
        update_before[:] = update_before[1], update_before[1] + k
        return network.loss(*moment.read(0, k), moment.met(state) * kept[:, None])

    return scheme


def share_of_rate(config: TrainConfig, spent: float) -> float:
    """What is left of the learning rate when that share of the budget is used."""
    falls = {"cosine": math.cos(math.pi * spent / 2) ** 2, "linear": 1 - spent}
    return falls[config.decay] * (1 - config.final_lr) + config.final_lr


def other_loop(
    trainer: Trainer, network: TorchNetwork, k_at: Callable[[float], int], scheme: Scheme = all_losses
) -> Iterator[tuple[float, Tensor]]:
    """What `trainer` should do, update by update, to the network: the loss, and the state after it."""
    config, ids = trainer.config, torch.from_numpy(trainer.corpus.split("train").astype("int64"))
    pairs = len(ids) - 1
    lanes = torch.tensor([b * pairs // config.streams for b in range(config.streams)])
    state, chars, since = trainer.model.zero_state(config.streams), 0, 0
    budget = math.ceil(config.budget.amount * pairs)
    weights, biases = ([p for name, p in network.named_parameters() if kind in name] for kind in ("weight", "bias"))
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": biases}], betas=(0.9, 0.99))
    while chars < budget:
        room = math.ceil((budget - chars) / config.streams)
        k = min(k_at(chars / budget), int(pairs - lanes.max()), room)
        loss, state = scheme(network, Moment(ids, lanes, since), k, state)
        read = k * config.streams
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in network.parameters()]).norm()
        for parameter in network.parameters():
            parameter.grad *= min(1.0, config.clip / norm)
        lr = config.lr * share_of_rate(config, chars / budget) * min(1.0, (chars + 1) / config.warmup)
        passed = sum(at % 1000 == 0 for at in range(chars + 1, chars + read + 1))
        kept = math.exp(-lr * config.weight_decay) ** passed
        of_weights, of_biases = optimizer.param_groups
        of_weights |= {"lr": lr, "weight_decay": (1 - kept) / lr}
        of_biases |= {"lr": lr, "weight_decay": 0.0}
        optimizer.step()
        chars += read
        lanes = (lanes + k) % pairs
        since = 0 if (lanes == 0).any() else since + k
        yield loss.item(), state


@pytest.mark.parametrize(
    ("trunc", "clip", "k_at", "scheme"),
    [
        ("1", 0.9, lambda spent: 1, all_losses),
        ("7", 0.3, lambda spent: 7, all_losses),
        ("full", 0.21, lambda spent: 10**9, all_losses),
        ("2..8", 0.4, lambda spent: 2 if spent < 0.3 else 4 if spent < 0.6 else 8, all_losses),
        ("shuffled-state:5", 0.4, lambda spent: 5, of_the_lane_before),
        ("last-carried:5", 0.7, lambda spent: 5, last_loss),
        ("last:7/3", 0.7, lambda spent: 3, windows_of_7),
        ("5", 0.4, lambda spent: 5, reset_by_chance()),
    ],
)
def test_training_equals_a_loop_of_autograd_and_torch_optim(
    small: Corpus,
    trunc: str,
    clip: float,
    k_at: Callable[[float], int],
    scheme: Scheme,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # each update is followed by a validation here
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(0.0))
    settings = {"lr": 0.02, "warmup": 100, "final_lr": 0.2, "weight_decay": 20.0, "beta2": 0.99, "clip": clip}
    settings["decay"] = "linear" if trunc == "7" else "cosine"
    trainer = make_trainer(
        small,
        "lstm",
        layers=2,
        precision="float64",
        trunc=trunc,
        budget=Budget("epochs", 2.3),
        eval_every=1,
        reset_every=9 * (trunc == "5"),
        **settings,
    )
    network = TorchNetwork(trainer.model)
    expected, clipped = other_loop(trainer, network, k_at, scheme), set()
    for record in of_kind("train", trainer.run()):
        loss, state = next(expected)
        assert record["nats"] == pytest.approx(loss, rel=1e-11)
        assert error(carried(trainer), state) < 1e-11
        for name, parameter in network.named_parameters():
            assert error(trainer.model.parameters.values[name], parameter.detach()) < 1e-11, name
        clipped.add(record["clip_rate"])
    assert next(expected, None) is None
    assert clipped == {0, 1}, "clipping should be at work, but not always"


class PastOf:
    """The text a trainer has read, and the states it met, by a network of torch.nn whose weights stay."""

    def __init__(self, trainer: Trainer, network: torch.nn.Module) -> None:
        ids, streams = torch.from_numpy(trainer.corpus.split("train").astype("int64")), trainer.config.streams
        self._pairs, self._network, self._ids = len(ids) - 1, network, ids
        self._lanes = torch.tensor([lane * self._pairs // streams for lane in range(streams)])
        self._keep = trainer.strategy.history
        self._states, self._since = [trainer.model.zero_state(streams)], 0  # the row of the last reset
        self.row, self.deepest = 0, 0

    def update(self, plan: Plan) -> tuple[float, list[Tensor]]:
        """Loss and gradients of the next update, one character at a time."""
        self._states[-1] = self._states[-1].roll(plan.hand_on, 2)
        wrapped = ((self._lanes + self.row) % self._pairs == 0) & (self.row > 0)
        self._states[-1][:, :, wrapped] = 0
        if wrapped.any():
            self._since = self.row
        older = max(0, min(plan.depth - plan.advance, self._keep, self.row - self._since))
        start, stop = self.row - older, self.row + plan.advance
        state, losses = torch.zeros_like(self._states[start]) if plan.reset else self._states[start], []
        for row in range(start, stop):
            x, y = (self._ids[(self._lanes + row) % self._pairs + place] for place in (0, 1))
            logits, state = self._network(x[None], state)
            if row >= stop - plan.scored:
                losses.append(torch.nn.functional.cross_entropy(logits, y))
            if row >= self.row:
                self._states.append(state.detach())
            factor = plan.carry[row - start] if plan.carry and row + 1 < stop else 1.0
            state = state.detach() + factor * (state - state.detach())  # the same value, its gradient scaled
        self.row, self.deepest = stop, max(self.deepest, stop - start)
        loss = torch.stack(losses).mean()
        return loss.item(), list(torch.autograd.grad(plan.scale * loss, list(self._network.parameters())))


DEEPEST = {
    "4": 4,
    "2/6": 6,
    "1/5": 5,
    "4/10": 10,
    "2/6@rerun": 6,  # while the weights rest, the same as without
    "6/2": 6,
    "stateless:4": 4,
    "shuffled-state:4": 4,
    "last:6/2": 6,
    "last:4/4": 4,
    "last-carried:4": 4,
    "random:8": 12,
    "artbp:4": 12,
    "1/1..1/8": 8,
    "8..1": 8,
    "shuffle(4/1..4/8)": 8,
    "adaptive:0.5": 64,  # a measurement, in pieces
}


@pytest.mark.parametrize(
    ("cell", "trunc"),
    [
        (cell, trunc)
        for cell in ("lstm", "window:3")
        for trunc in DEEPEST
        if cell != "window:3" or trunc not in ("adaptive:0.5", "last:6/2")
    ],
)
def test_each_update_carries_out_its_plan(
    small: Corpus, cell: str, trunc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradient are those of autograd, with a cut where the text wraps and no memory of it in any stream."""
    # each update is followed by a validation here
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))
    settings = {"precision": "float64", "lr": FROZEN, "clip": 0.0, "eval_every": 1, "budget": Budget("epochs", 1.5)}
    trainer = make_trainer(small, cell, layers=2, trunc=trunc, **settings)
    memory = trainer.memory
    network, spy = independent(trainer.model), Spy(trainer)
    past, plans = PastOf(trainer, network), Plans(trainer)
    for record in of_kind("train", trainer.run()):
        loss, grads = past.update(plans.made[-1])
        assert record["nats"] == pytest.approx(loss, abs=1e-12)
        ours = trainer.model.parameters.views(spy.grads[-1])
        ordered = torch.cat([ours[name].flatten() for name, _ in network.named_parameters()])
        assert error(ordered, torch.cat([grad.flatten() for grad in grads])) < 1e-12, past.row
        assert (record["k1"], record["k2"]) == (plans.made[-1].advance, plans.made[-1].depth)
    assert past.row == trainer.streams.position == 100 > 67, "the lanes should wrap"
    assert past.deepest >= DEEPEST[trunc]
    _, tape = trainer.model.forward(torch.zeros(1, 3, dtype=torch.int64), trainer.model.zero_state(3))
    assert trainer.model.tape_bytes(tape.capacity, 3) <= memory


@pytest.mark.parametrize(
    ("trunc", "same"), [("last:1", "stateless:1"), ("last-carried:1", "1"), ("shuffled-state:4", "4")]
)
@pytest.mark.parametrize("cell", ["lstm", "window:3"])
def test_what_is_the_same_in_other_words_ends_the_same(tmp_path: Path, cell: str, trunc: str, same: str) -> None:
    """Three streams that read the same text, until the first one wraps."""
    corpus = make_corpus(tmp_path, "abcab" * 30 + "a", split="1/0/0")
    settings = {"layers": 2, "precision": "float64", "eval_every": 10**6, "budget": Budget("chars", 150)}
    ours, theirs = (train(corpus, cell, trunc=spec, lr=0.02, **settings)[0] for spec in (trunc, same))
    assert error(ours.model.parameters.flat, theirs.model.parameters.flat) < 1e-10


def test_loss_falls_well_below_that_of_single_symbols(corpus: Corpus) -> None:
    settings = {"hidden": 32, "streams": 8, "trunc": "1..16", "lr": 0.02}
    _, records = train(corpus, "lstm", budget=Budget("epochs", 4), eval_every=1800, **settings)
    evals = list(of_kind("eval", records))
    assert evals[0]["bpc"] > evals[-1]["bpc"]
    assert evals[-1]["bpc"] < corpus.entropy() - 1


@pytest.mark.parametrize(("cell", "nats"), [("window:1", math.log(2)), ("window:2", 0.0)])
def test_a_window_of_2_learns_what_two_characters_decide(tmp_path: Path, cell: str, nats: float) -> None:
    """After an a, or a b, either comes as often; after two characters the next is certain."""
    settings = {"trunc": "16", "lr": 0.02, "final_lr": 0.1, "budget": Budget("chars", 20_000)}
    _, records = train(make_corpus(tmp_path, "aabb" * 500), cell, hidden=8, eval_every=20_000, **settings)
    assert records[-1]["nats"] == pytest.approx(nats, abs=0.02)


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trunc", ["1", "3", "full", "1..16", "1..16@plateau"])
@pytest.mark.parametrize("layers", [1, 2])
def test_state_is_carried_whatever_k_and_reset_only_where_a_lane_wraps(small: Corpus, trunc: str, layers: int) -> None:
    rows = 170  # two wraps and more of each of the three lanes: every lane reads 199 pairs in turn
    settings = {"precision": "float64", "trunc": trunc, "lr": FROZEN, "eval_every": 70}
    trainer, _ = train(small, "lstm", layers=layers, budget=Budget("chars", 3 * rows), **settings)
    assert trainer.streams.position == rows
    theirs, ids = TorchNetwork(trainer.model), torch.from_numpy(small.split("train").astype("int64"))
    for lane, start in enumerate((0, 66, 132)):
        read = (start + torch.arange(rows)) % 199
        since_wrap = read[int((read == 0).nonzero()[-1]) if (read == 0).any() else 0 :]
        with torch.no_grad():
            _, state = theirs(ids[since_wrap][:, None], trainer.model.zero_state(1))
        assert error(carried(trainer)[:, :, lane : lane + 1], state) < 1e-12


def test_stateless_training_carries_no_state(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """It meets every segment with zeros, and leaves a state all the same."""
    trainer, met = make_trainer(small, "lstm", trunc="stateless:4", lr=0.05), []
    forward = trainer.model.forward

    def spy(x: Tensor, state: Tensor, *args: Any) -> Any:
        met.append(state.abs().max().item())
        return forward(x, state, *args)

    monkeypatch.setattr(trainer.model, "forward", spy)
    list(trainer.run())
    assert len(met) == trainer.standing.axes.updates == 17
    assert set(met) == {0}
    assert carried(trainer).abs().max() > 0


@pytest.mark.parametrize("trunc", ["snap:4", "rtrl:4"])
def test_influences_go_along_the_lanes_and_end_where_one_wraps(small: Corpus, trunc: str) -> None:
    trainer, _ = train(small, "lstm", trunc=trunc, precision="float64", lr=FROZEN, budget=Budget("chars", 3 * 100))
    model, ids = trainer.model, torch.from_numpy(small.split("train").astype("int64"))
    for lane, start in enumerate((0, 66, 132)):
        read = (start + torch.arange(100)) % 199
        since_wrap = read[int((read == 0).nonzero()[-1]) if (read == 0).any() else 0 :]
        alone = INFLUENCES[trainer.strategy.influence](model, 1)
        logits, tape = model.forward(ids[since_wrap][:, None], model.zero_state(1))
        model.backward(tape, logits, boundary=alone.boundary)
        alone.update(tape)
        for name, influence in alone.state.items():
            ours = trainer.engine.state_dict()[f"influence.{name}"][:, lane]
            torch.testing.assert_close(ours, influence[:, 0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_ends_of_the_range_of_seeds_train(small: Corpus, seed: int) -> None:
    assert train(small, seed=seed, dropout=0.2, trunc="random:8")[0].spent == 1


@pytest.mark.parametrize(
    ("trunc", "steps"),
    [
        *(("7", 7), ("500", 67), ("full", 67), ("1..8", 8), ("8..1", 8), ("7/3", 7), ("stateless:7", 7)),
        *(("random:8", 58), ("random:60", 67), ("artbp:4", 40)),
        *(("last:6/2", 8), ("last:4/4", 4), ("last-carried:7", 7)),
        *(("4/6", 6), ("4/7", 7), ("2/6", 8), ("1/5", 8), ("1/1..1/8", 14), ("2/6@rerun", 8), ("adaptive:0.5", 67)),
    ],
)
def test_memory_of_the_longest_update(small: Corpus, trunc: str, steps: int) -> None:
    """Where older characters are kept, twice their number at least, so that they are seldom moved to the front."""
    trainer = make_trainer(small, trunc=trunc)
    assert trainer.memory == trainer.model.tape_bytes(steps, 3)


# --- records ----------------------------------------------------------------------------------------------------------


def test_keys_of_the_records_are_frozen(small: Corpus) -> None:
    _, records = train(small)
    for record in records:
        more = {"train": ["grad_norm", "clip_rate", "chars_per_second"], "eval": ["split", "settled"]}[record["kind"]]
        assert list(record) == AXES + more


def test_records_come_by_characters_and_agree_with_what_was_done(small: Corpus) -> None:
    trainer, records = train(small, trunc="1", budget=Budget("chars", 600), eval_every=200)
    assert [record["chars"] for record in of_kind("eval", records)] == [201, 402, 600]
    trains = [record["chars"] for record in of_kind("train", records)]
    assert len(trains) == 30
    assert all(abs(chars - 20 * (i + 1)) < 3 for i, chars in enumerate(trains))
    for record in records:
        assert record["chars"] == 3 * record["updates"]
        head, recurrent = 6 * len(small.vocabulary), 3 * 6 * 6  # nothing is carried back in time at truncation 1
        assert record["flops"] == pytest.approx(record["chars"] * (6 * head + 4 * recurrent))
        assert record["epoch"] == record["chars"] / 199
        assert record["k1"] == record["k2"] == 1
        assert record["bpc"] == pytest.approx(record["nats"] / math.log(2))
        share = share_of_rate(trainer.config, (record["chars"] - 3) / 600)  # when the last update was made
        warm = min(1.0, (record["chars"] - 2) / trainer.config.warmup) if trainer.config.warmup else 1.0
        assert record["lr"] == pytest.approx(trainer.config.lr * share * warm, rel=1e-12)
    assert records[-1]["nats"] == score(trainer.model, small.ids, 200, 220).nats
    assert trainer.standing.validations.nats == [record["nats"] for record in of_kind("eval", records)]


@pytest.mark.parametrize(
    ("trunc", "depths", "cuts"),
    [
        ("1", lambda row: 1, 0),
        ("3", lambda row: 3, 0),
        ("6/2", lambda row: 6, 2),
        ("6/1", lambda row: 6, 5),
        ("stateless:3", lambda row: 3, 0),
        ("last-carried:3", lambda row: 3, 0),
        ("last:6/2", lambda row: min(row % 66 + 2, 6), 0),
        ("1/5", lambda row: min(row % 66 + 1, 5), 0),
        ("2/6", lambda row: min(row % 66 + 2, 6), 0),
        ("3/12", lambda row: min(row % 66 + 3, 12), 0),
        ("3/12@rerun", lambda row: min(row % 66 + 3, 12), 0),
    ],
)
def test_operations_follow_the_depth_really_gone_back(
    tmp_path: Path, trunc: str, depths: Callable[[int], int], cuts: int
) -> None:
    """2 a weight and character read, 4 a weight and character gone back through; in the head, that has a loss,
    and 2 of W_hh are for a step back in time: one fewer than characters, and none where the gradient is cut. Where
    older characters are read once more, 2 a weight of the layers.
    """
    corpus = make_corpus(tmp_path, prose(219), split="199/20/0")  # three lanes of 66 rows
    settings = {"budget": Budget("chars", 3 * 132), "eval_every": 10**6}
    trainer, row, flops = make_trainer(corpus, layers=2, trunc=trunc, **settings), 0, 0.0
    head, w_hh, w_ih = 6 * len(corpus.vocabulary), 2 * 3 * 6 * 6, 3 * 6 * 6
    while row < 132:
        some_updates(trainer, 1)
        read = trainer.standing.k1
        depth, carried = depths(row), depths(row) - 1 - cuts
        again = depth if trunc.endswith("@rerun") or trunc.startswith("last:") else read
        losses = 1 if "last" in trunc else read
        flops += 3 * ((2 * read + 4 * losses) * head + 2 * (w_hh + w_ih) * again)
        flops += 3 * ((2 * w_hh + 4 * w_ih) * depth + 2 * w_hh * carried)
        row += read
        assert trainer.standing.axes.flops == pytest.approx(flops, rel=1e-12), row


def test_reading_once_more_differs_from_remembering_only_where_the_weights_move(small: Corpus) -> None:
    for lr, same in ((FROZEN, True), (0.05, False)):
        spies = []
        for trunc in ("2/6", "2/6@rerun"):
            settings = {"precision": "float64", "layers": 2, "budget": Budget("updates", 9), "clip": 0.0}
            trainer = make_trainer(small, "lstm", trunc=trunc, lr=lr, eval_every=10**6, **settings)
            spies.append(Spy(trainer))
            list(trainer.run())
        stored, rerun = (torch.stack(spy.grads) for spy in spies)
        assert (error(rerun, stored) < 1e-12) == same
        assert torch.equal(stored[0], rerun[0]), "at first nothing came before"


@pytest.mark.parametrize(("trunc", "losses"), [("8", (2, 2, 1)), ("last-carried:8", (1, 1, 1))])
def test_a_train_record_is_the_mean_of_the_losses_of_its_updates(
    small: Corpus, trunc: str, losses: tuple[int, ...]
) -> None:
    """All in one record, where the first two updates have 8 rows and the last has 4: it counts half, unless each has
    the loss of one row.
    """
    settings = {"trunc": trunc, "budget": Budget("chars", 60), "clip": 0.0}
    one = make_trainer(small, eval_every=1000, **settings)
    (record,) = of_kind("train", one.run())
    _, each = train(small, eval_every=1, **settings)
    nats, norms = ([r[key] for r in of_kind("train", each)] for key in ("nats", "grad_norm"))
    assert record["nats"] == pytest.approx(sum(map(math.prod, zip(nats, losses, strict=True))) / sum(losses))
    assert record["grad_norm"] == pytest.approx(sum(norms) / 3)


def test_the_document_tells_the_device_and_the_rate_of_the_last_update(small: Corpus) -> None:
    trainer = make_trainer(small, trunc="random:8", lr=0.01)
    spy = Spy(trainer)
    (*_, record) = trainer.run()
    document = frozen_copy(trainer).document
    assert document.device == "cpu"
    assert document.standing.lr == record["lr"] == spy.steps[-1].lr


def test_validation_does_not_disturb_training(small: Corpus) -> None:
    def final(eval_every: int, precision: str) -> Tensor:
        settings = {"layers": 2, "dropout": 0.3, "precision": precision, "trunc": "5"}
        return train(small, eval_every=eval_every, budget=Budget("chars", 90), **settings)[0].model.parameters.flat

    for precision in ("float32", "float64"):
        assert torch.equal(final(10**6, precision), final(1, precision))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_validation_does_not_disturb_what_is_gone_back_to(small: Corpus, precision: str) -> None:
    """Also where it reads as many lanes side by side as training does: here one."""

    def final(eval_every: int) -> Tensor:
        settings = {"streams": 1, "precision": precision, "trunc": "2/6", "lr": 0.01, "budget": Budget("chars", 24)}
        return train(small, eval_every=eval_every, **settings)[0].model.parameters.flat

    assert torch.equal(final(10**6), final(6))


def test_neither_validation_nor_a_sample_touches_the_tape_of_a_float64_run(small: Corpus) -> None:
    trainer = make_trainer(small, streams=1, layers=2, precision="float64", trunc="2/6", eval_every=10**6)
    some_updates(trainer, 5)
    model = trainer.model
    other = model.at_precision("float32")
    before = {name: tensor.clone() for name, tensor in model.tapes.history(1, 4).items()}
    other.forward(torch.zeros(1, 1, dtype=torch.int64), other.zero_state(1))
    score(model, small.ids, 200, 220)
    assert len("".join(sample(model, small.vocabulary, SampleConfig(length=20)))) == 20
    after = model.tapes.history(1, 4)
    assert len(before["x"]) == 4
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_without_a_validation_split_the_last_twentieth_of_the_training_text_is_scored(tmp_path: Path) -> None:
    trainer, records = train(make_corpus(tmp_path, prose(210), split="0.9/0/0.1"))
    evals = list(of_kind("eval", records))
    assert {record["split"] for record in evals} == {"train"}
    assert evals[-1]["nats"] == score(trainer.model, trainer.corpus.ids, 189 - 10, 189).nats


def test_the_validation_split_is_scored_where_there_is_one(small: Corpus) -> None:
    assert small.validation_part() == ("valid", (200, 220))


def test_of_a_task_validations_score_only_what_is_asked_for(tmp_path: Path) -> None:
    corpus = task_corpus(tmp_path, "copy:2", 500)
    trainer, records = train(corpus)
    whole, asked = (score(trainer.model, corpus.ids, 400, 450, scored=scored).nats for scored in (None, corpus.scored))
    assert records[-1]["nats"] == asked != whole


@pytest.mark.parametrize(
    ("nats", "best"),
    [([3.0], True), ([3.0, 2.9], True), ([3.0, 3.0], False), ([3.0, 2.0, 2.5], False), ([3.0, math.nan], False)],
)
def test_latest_is_best(nats: list[float], best: bool) -> None:
    assert Validations(chars=[0] * len(nats), nats=nats).latest_is_best() is best


def test_validations_drive_growth_by_plateaus(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))  # never any better
    _, records = train(small, trunc="1..8@plateau", budget=Budget("chars", 900), eval_every=60)
    evals, largest = 0, {}
    for record in records:
        largest[evals] = max(record["k1"], largest.get(evals, 0))
        evals += record["kind"] == "eval"
    assert [largest[evals] for evals in range(6)] == [1, 1, 2, 4, 8, 8]
