"""Runs of every kind of truncation, for what must hold of each: two layers, some two passes over a tiny text."""

from __future__ import annotations

from typing import Any

from rnnbptt.training.config import Budget

RUNS: list[dict[str, Any]] = [
    {"trunc": "1"},
    {"trunc": "4", "precision": "bfloat16", "cell": "lstm", "eval_every": 200},
    {"trunc": "full", "optimizer": "sgd"},
    {"trunc": "1..8", "optimizer": "rmsprop", "cell": "rnn"},
    {"trunc": "1..8@linear", "precision": "float64"},
    {"trunc": "1..8@plateau", "cell": "lstm", "lr": 1e-5, "eval_every": 35},
    {"trunc": "2/6", "cell": "lstm"},
    {"trunc": "3/7", "cell": "mogrifier", "precision": "bfloat16"},
    {"trunc": "3/20", "cell": "lstm", "hidden": 33},  # products that round by where their operands lie
    {"trunc": "1/5", "precision": "bfloat16"},
    {"trunc": "6/2", "optimizer": "sgd", "eval_every": 200},
    {"trunc": "6", "optimizer": "muon", "eval_every": 200},
    {"trunc": "stateless:4", "eval_every": 150},
    {"trunc": "shuffled-state:4", "cell": "lstm", "eval_every": 150},
    {"trunc": "last:6/2", "cell": "lstm", "precision": "bfloat16"},
    {"trunc": "random:8", "cell": "lstm", "precision": "float64", "eval_every": 300},
    {"trunc": "artbp:4", "cell": "lstm", "eval_every": 200},
    {"trunc": "1/1..1/8", "cell": "lstm", "precision": "bfloat16"},
    {"trunc": "shuffle(1..8)"},
    {"trunc": "8..1", "cell": "rnn"},
    {"trunc": "snap", "cell": "gru"},
    {"trunc": "snap:4", "cell": "lstm", "precision": "bfloat16", "eval_every": 200},
    {"trunc": "snap:1..snap:8", "cell": "elstm"},
    {"trunc": "rtrl:5", "cell": "rnn", "precision": "float64", "eval_every": 200},
    {"trunc": "uoro:3", "cell": "gru"},
    {"trunc": "1..4", "cell": "window:3"},
    {"trunc": "3/9", "cell": "window:1", "precision": "bfloat16"},
    {"trunc": "1", "reset_every": 6, "cell": "lstm", "precision": "bfloat16"},
    {"trunc": "1..8", "reset_every": 9, "streams": 2},
    {"trunc": "snap:3", "reset_every": 9, "cell": "lstm"},
    {"trunc": "3", "reset_every": 20, "cell": "window:3", "streams": 1},
    {"trunc": "2/6@rerun", "cell": "lstm", "precision": "bfloat16"},
    {"trunc": "adaptive:0.5", "cell": "rnn", "streams": 1, "budget": Budget("epochs", 4), "eval_every": 2000},
]

SIZE = {"layers": 2, "dropout": 0.3, "budget": Budget("epochs", 2.2), "eval_every": 70, "warmup": 30, "clip": 0.5}
