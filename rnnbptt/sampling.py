"""Sampling: a seeded generator of characters. It prints nothing.

One text is streamed as it is made; several are made side by side, as the streams of one batch. Both are `_pieces`.

Axes: B streams, K symbols of the vocabulary that may be drawn (all but the unknown one).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from rnnbptt.corpus import Vocabulary
from rnnbptt.errors import UserError
from rnnbptt.model import CharRNN

PIECE = 256  # symbols of the prompt read at a time: bounds memory, changes nothing else
BLOCK = 256  # random numbers drawn at a time for each stream: a call for each would cost more than the numbers
LOCKSTEP = 16  # characters that the streams of a batch make between two looks at whether all have ended
COLDEST = 1e-6  # a lower temperature overflows what it divides, and already means the most probable symbol
BATCH = 16  # streams from which products in bfloat16 are faster than in float32, whatever the cell


@dataclass(frozen=True)
class SampleConfig:
    """What to generate.

    prompt       text the model reads first; without one, it reads a newline (or, where the vocabulary has none, its
                 first symbol), from the zero state either way
    length       characters to make, also where the unit is the byte; 0: without end
    temperature  divides the logits: below 1 the probable becomes more probable; 0: always the most probable symbol
    top_k        draw from this many most probable symbols; 0: from all
    top_p        draw from the fewest most probable symbols that together have this probability, among those that
                 top_k leaves
    stop         the text ends right before the first place where this string would stand in it, the prompt not
                 counted; it may end sooner, by `length`
    count        texts to make
    seed         the same seed gives the same text (on the same processor, as for all floating-point numbers)
    """

    prompt: str = ""
    length: int = 500
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: str = ""
    count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("length", "temperature", "top_k"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name):g}: must be 0 or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"--top-p {self.top_p:g}: must be above 0 and at most 1")
        if self.count < 1:
            raise UserError(f"--count {self.count}: must be at least 1")
        if not 0 <= self.seed < 2**64:
            raise UserError(f"--seed {self.seed}: must be from 0 to {2**64 - 1}")
        if self.length == 0 and self.count > 1 and not self.stop:
            raise UserError(f"--length 0 --count {self.count}: would never end; give a --length, a --stop or --count 1")


def sample(model: CharRNN, vocabulary: Vocabulary, config: SampleConfig) -> Iterator[str]:
    """One text, in pieces as they are made: whole characters, never part of the stop string, never the prompt.

    Where `length` is 0 it goes on until the caller stops asking. UserError, at once and not with the first piece, when
    the vocabulary lacks a character of the prompt or of the stop string.
    """
    return (piece for (piece,) in _pieces(model, vocabulary, config, streams=1, lockstep=1) if piece)


def sample_many(model: CharRNN, vocabulary: Vocabulary, config: SampleConfig) -> list[str]:
    """`config.count` texts, made in one batch. It must have a way to end: a `length` or a `stop`.

    UserError as for `sample`.
    """
    pieces = _pieces(model, vocabulary, config, config.count, LOCKSTEP)
    return ["".join(text) for text in zip(*pieces, strict=True)]


def _pieces(
    model: CharRNN, vocabulary: Vocabulary, config: SampleConfig, streams: int, lockstep: int
) -> Iterator[list[str]]:
    """Yield, every `lockstep` symbols, what each stream's text has gained, until all texts have ended."""
    prompt = _prompt_ids(vocabulary, config.prompt)
    _check_stop(vocabulary, config.stop)
    model = model.at_precision("auto" if streams >= BATCH else "float32")
    model.parameters.refresh_operands()
    known = len(vocabulary) if vocabulary.unknown is None else vocabulary.unknown
    symbols = _symbols(model, prompt, known, config, streams)
    texts = [_Text(vocabulary, config) for _ in range(streams)]

    def generate() -> Iterator[list[str]]:
        while not all(text.ended for text in texts):
            ids_by_stream = zip(*islice(symbols, lockstep), strict=True)
            yield [text.feed(ids) for text, ids in zip(texts, ids_by_stream, strict=True)]

    return generate()


def _prompt_ids(vocabulary: Vocabulary, prompt: str) -> Tensor:
    """What the model reads before it writes, never empty, (T,)."""
    if prompt:
        return torch.from_numpy(vocabulary.encode(prompt))
    return torch.tensor([vocabulary.symbols.index("\n") if "\n" in vocabulary.symbols else 0])


def _check_stop(vocabulary: Vocabulary, stop: str) -> None:
    try:
        vocabulary.encode(stop)
    except UserError:  # which speaks of a prompt
        raise UserError(f"--stop {stop!r}: can never come, the vocabulary lacks a character of it") from None


@torch.no_grad()
def _symbols(
    model: CharRNN, prompt: Tensor, known: int, config: SampleConfig, streams: int
) -> Iterator[list[int]]:
    """Yield without end the next symbol of each stream. The first `known` symbols may be drawn."""
    prompt = prompt.to(model.device)
    state, last = model.zero_state(1), len(prompt) - 1
    for start in range(0, last, PIECE):
        model.forward(prompt[start : min(start + PIECE, last), None], state)
    state = state.repeat(1, 1, streams, 1)
    x = prompt[last:].repeat(1, streams)
    for uniforms in _uniforms(config.seed, streams, model.device):
        logits, _ = model.forward(x, state)
        drawn = _draw(logits[:, :known], uniforms, config)
        yield drawn.view(-1).tolist()
        x = drawn.view(1, -1)


def _uniforms(seed: int, streams: int, device: torch.device) -> Iterator[Tensor]:
    """Yield without end random numbers in (0, 1], (B, 1) float64, the same on every device."""
    rng = torch.Generator().manual_seed(seed)
    while True:
        block = 1 - torch.rand(BLOCK, streams, 1, dtype=torch.float64, generator=rng)
        yield from block.to(device).unbind(0)


def _draw(logits: Tensor, uniforms: Tensor, config: SampleConfig) -> Tensor:
    """A symbol for each stream, (B, 1), from its logits (B, K) and a random number in (0, 1], (B, 1) float64.

    It is the first symbol at which the summed probability reaches that share of the whole. So one random number does,
    where `torch.multinomial` takes one a symbol and five times as long; and no symbol of probability 0 is ever first.
    """
    if config.temperature < COLDEST:
        return logits.argmax(1, keepdim=True)
    symbols = None
    if config.top_k or config.top_p < 1:
        size = logits.shape[1]
        logits, symbols = logits.topk(min(config.top_k or size, size), dim=1)  # most probable first
    # Summed in float64, so that rounding in a large vocabulary shifts no probability.
    summed = torch.softmax(logits / config.temperature, 1).cumsum(1, dtype=torch.float64)
    whole = summed[:, -1:]
    if config.top_p < 1:
        whole = summed.gather(1, torch.searchsorted(summed, config.top_p * whole))
    place = torch.searchsorted(summed, uniforms * whole)
    return place if symbols is None else symbols.gather(1, place)


class _Text:
    """One text in the making: whole characters, at most `length`, and nothing from the stop string on."""

    def __init__(self, vocabulary: Vocabulary, config: SampleConfig) -> None:
        self._decoder = vocabulary.decoder()
        self._left = config.length or sys.maxsize
        self._stop, self._held = config.stop, ""
        self.ended = False

    def feed(self, ids: tuple[int, ...]) -> str:
        """What the text gains for certain: the end of it that may be the start of the stop string is held back."""
        if self.ended:
            return ""
        new = self._decoder.feed(ids)[: self._left]
        self._left -= len(new)
        self.ended = not self._left
        if not self._stop:
            return new
        text = self._held + new
        found = text.find(self._stop)
        if found >= 0:
            self.ended = True
            return text[:found]
        if self.ended:
            return text
        tails = range(max(0, len(text) - len(self._stop) + 1), len(text))
        cut = next((start for start in tails if self._stop.startswith(text[start:])), len(text))
        self._held = text[cut:]
        return text[:cut]
