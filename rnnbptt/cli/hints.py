"""What to type instead of an option that is not there but is typed out of habit."""

from typing import Any

# Names that other tools of this kind have, by what they are called here.
HABITS = {
    "--trunc": ("seq-length", "seq-len", "sequence-length", "block-size", "bptt", "unroll", "truncation"),
    "--streams": ("batch", "batch-sz"),
    "--lr": ("learning-rate", "max-lr"),
    "--hidden": ("hidden-size", "rnn-size", "n-embd", "units"),
    "--layers": ("num-layers", "n-layer", "n-layers"),
    "--cell": ("model", "rnn-type", "model-type"),
    "--updates": ("max-iters", "max-steps", "iterations", "steps"),
    "--epochs": ("max-epochs", "num-epochs"),
    "--clip": ("grad-clip", "clip-grad", "max-grad-norm"),
    "--eval-every": ("eval-interval", "checkpoint-every", "eval-val-every"),
    "--precision": ("dtype",),
    "--run": ("out-dir", "checkpoint-dir", "out", "output"),
    "--out": ("run", "output", "out-dir"),
    "--resume": ("continue", "restore"),
    "--prompt": ("start", "start-text", "primetext", "prime", "start-string"),
    "--prompt-file": ("start-file", "prime-file"),
    "--length": ("max-new-tokens", "max-length", "num-chars", "tokens", "chars", "sample-length"),
    "--count": ("num-samples", "samples"),
    "--temperature": ("temp",),
    "--depth": ("max-depth", "bptt"),
    "--threads": ("num-threads", "workers", "num-workers"),
    "--workers": ("threads", "num-workers", "jobs"),
    "--seeds": ("num-seeds", "repeats", "runs"),
    "--device": ("gpu", "cuda"),
}


def suggest(error: Any) -> None:
    """Where a misuse is an option that the command does not have, give it the one that was meant, if that is known;
    otherwise it keeps the likenesses that it has.
    """
    if not hasattr(error, "possibilities") or error.ctx is None:
        return
    name = error.option_name.lstrip("-").replace("_", "-").lower()
    there = [option for parameter in error.ctx.command.params for option in parameter.opts]
    meant = [f"--{name}", *(option for option, habits in HABITS.items() if name in habits)]
    if known := [option for option in meant if option in there]:
        error.possibilities = known
