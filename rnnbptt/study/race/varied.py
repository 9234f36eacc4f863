"""What contestants of a race differ in besides their truncation: options of `train`, as text.

`--vary NAME=A,B` gives each truncation each of the values; `--trunc "SPEC NAME=VALUE"` one contestant its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any

from rnnbptt.errors import UserError, check_option
from rnnbptt.model.config import ModelConfig
from rnnbptt.training.config import TrainConfig
from rnnbptt.truncation.specs import parse_truncation

# The options that may be named, with the type of their values: those of `train` for the model and its training, but for
# those that a race varies anyway.
VARIED: dict[str, Callable[[str], Any]] = {
    each.name: type(each.default)
    for kind in (ModelConfig, TrainConfig)
    for each in fields(kind)
    if each.name not in ("vocabulary", "trunc", "budget", "seed")
}
TYPES: dict[Any, str] = {int: "a whole number", float: "a number", str: "a name"}


def parse_vary(given: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What `--vary NAME=A,B` say, by name and each value in the same spelling; UserError for anything else."""
    vary: dict[str, tuple[str, ...]] = {}
    for item in given:
        name, values = _parted("vary", item)
        check_option(name not in vary, "vary", item, "given twice; give all its values at once")
        vary[name] = tuple(str(_value("vary", name, value)) for value in values.split(",") if value)
        check_values(name, vary[name])
    return vary


def spelled(vary: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The inverse of `parse_vary`."""
    return tuple(f"{worded(name)}={','.join(values)}" for name, values in vary.items())


def contestant(given: str) -> tuple[str, dict[str, str]]:
    """What `--trunc "SPEC NAME=VALUE"` says: the truncation, and its own settings by name, each in the same spelling
    and all in the same order.

    UserError for anything else.
    """
    spec, *settings = given.split() or [""]
    own: dict[str, str] = {}
    for item in settings:
        name, value = _parted("trunc", item)
        check_option(name not in own, "trunc", given, f"gives {worded(name)} twice; give it once")
        own[name] = str(_value("trunc", name, value))
    return parse_truncation(spec).spec, {name: own[name] for name in VARIED if name in own}


def one_spelling(given: str) -> str:
    """Of a contestant."""
    spec, own = contestant(given)
    return " ".join([spec, *(f"{worded(name)}={value}" for name, value in own.items())])


def as_labelled(given: str, labels: Iterable[str]) -> str:
    """The one of these labels that is meant, in whatever spelling; as it was given where there is none."""
    known = set(labels)
    with suppress(UserError):  # of what is no contestant, such as the reference again
        if given not in known and one_spelling(given) in known:
            return one_spelling(given)
    return given


def check_effective(label: str, names: Iterable[str], optimizer: str, final_lr: float) -> None:
    """UserError where settings of a contestant contradict each other, or one would change nothing."""
    means = [name for name in ("beta2", "beta2_chars") if name in names]
    if means:
        advice = f"{worded(means[0])} is for adam and rmsprop: sgd has no such mean"
        check_option(optimizer != "sgd", "trunc", label, advice)
    check_option(len(means) < 2, "trunc", label, "beta2-chars takes the place of beta2; give one of them")
    advice = "with --final-lr 1 there is no decay; leave either out"
    check_option(final_lr != 1 or "decay" not in names, "trunc", label, advice)


def worded(name: str) -> str:
    """As it is typed."""
    return name.replace("_", "-")


def check_values(name: str, values: tuple[str, ...]) -> None:
    """UserError unless there is such an option, and it has two or more values, all different."""
    _check_name("vary", name)
    counts = Counter(_value("vary", name, value) for value in values)
    given = f"{name}={','.join(values)}"
    check_option(len(values) > 1, "vary", given, "give it two values or more, such as streams=16,32")
    check_option(max(counts.values()) == 1, "vary", given, "gives a value twice; give each of them once")


def _parted(option: str, item: str) -> tuple[str, str]:
    """The name, checked, and what it is to be."""
    name, _, value = item.partition("=")
    name = name.removeprefix("--").replace("-", "_")
    _check_name(option, name)
    return name, value


def _check_name(option: str, name: str) -> None:
    own = {"trunc": "give --trunc for each", "seed": "give their number, --seeds"}
    check_option(name not in own, option, name, own.get(name, ""))
    known = ", ".join(map(worded, VARIED))
    check_option(name in VARIED, option, name, f"unknown; give one of {known}, as in streams=16,32")


def _value(option: str, name: str, text: str) -> Any:
    """A value of that option."""
    try:
        return VARIED[name](text)
    except ValueError:
        several = "; several values are for --vary" if option == "trunc" and "," in text else ""
        raise UserError(f"--{option} {name}={text}: {text!r} is not {TYPES[VARIED[name]]}{several}") from None
