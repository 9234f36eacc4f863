"""What `compare` and `probe` may find, made up."""

from __future__ import annotations

from pathlib import Path

from rnnbptt.study.bootstrap import Interval
from rnnbptt.study.contexts import ContextLoss
from rnnbptt.study.probe.concluding import conclude
from rnnbptt.study.probe.fidelity import ALL, RECURRENT, Fidelity
from rnnbptt.study.probe.results import Fading, Probe, Staleness
from rnnbptt.study.results import Comparison, Pair, Row, Score, Yardstick


def a_probe(beta: float = 0.5) -> Probe:
    """Of a model with two parameters below the head."""
    names = ["rnn.weight_ih_l0", "rnn.bias_ih_l0", "head.weight", RECURRENT, ALL]
    truncs = {"1": 0.2, "2": 0.4, "4": 0.6, "8": 0.9, "snap": 0.3, "snap:1": 0.5, "snap:8": 0.95}
    elsewhere = ("1/8", "8/2", "stateless:4", "random:8", "artbp:2", "rtrl:4", "1..8", "snap:1..snap:8", "full")
    truncs |= dict.fromkeys(elsewhere, 1.0)  # these have no place on an axis of segments
    gradients = tuple(
        Fidelity(trunc, dict.fromkeys(names, value), dict.fromkeys(names, 1 - value)) for trunc, value in truncs.items()
    )
    contexts, staleness = tuple(ContextLoss(n, 5 - 0.1 * n) for n in (1, 2, 4, 8)), (Staleness(0, 0.1, 0.2, 0.0),)
    return Probe(
        path=Path("runs/one/best.safetensors"),
        trunc="4",
        cell="lstm",
        precision="float32",
        text="held-out text",
        depth=8,
        streams=2,
        tape_bytes=1000,
        targets=50,
        gradients=gradients,
        fading=Fading(tuple(3 * beta**lag for lag in range(9)), beta, (3, 8), 1.0),
        staleness=staleness,
        contexts=contexts,
        conclusion=conclude(gradients, contexts, staleness),
    )


def a_comparison(name: str = "first", half: float | None = 0.01) -> Comparison:
    """Of three checkpoints on two texts: the second is better than the first, the third not told apart."""
    names, losses = (name, "second", "third"), (2.5, 2.25, 2.501)
    rows = [
        Row(
            who,
            Path("runs", who, "best.safetensors"),
            *("16..64@plateau", "window:16", 12_345_678, 1_000_000_000, 1_000_000_000, 123_456.7, 1234.5),
            tuple(Score(split, 5_000_000, bpc, 2**bpc) for split in ("valid", "test")),
            None,
        )
        for who, bpc in zip(names, losses, strict=True)
    ]
    pairs = [
        Pair(
            split, name, who, bpc - 2.5, half and _interval(bpc - 2.5, half), f"{who} in words" if half else "too short"
        )
        for split in ("valid", "test")
        for who, bpc in list(zip(names, losses, strict=True))[1:]
    ]
    yardsticks = (Yardstick("valid", "order-0 entropy", 4.75), Yardstick("test", "xz -9e", 2.875))
    return Comparison(("valid", "test"), tuple(rows), tuple(pairs), (), yardsticks, (), ())


def _interval(difference: float, half: float) -> Interval:
    return Interval(difference - half, difference + half, 0.975, 30, 2000, True, 10_000, 0)
