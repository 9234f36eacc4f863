"""Sampling: a seeded generator of characters. It prints nothing.

One text is streamed as it is made, a long one by a kernel; several are made side by side, as the streams of one batch.
All are `_pieces`.

Axes: B streams, K symbols of the vocabulary that may be drawn (all but the unknown one).
"""

import codecs
import math
import sys
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from rnnbptt.bptt.engines import runs_compiled, unavailable
from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError, check_bytes
from rnnbptt.inference.config import SampleConfig
from rnnbptt.text.raw import bytes_of, text_of
from rnnbptt.text.vocabulary import Vocabulary

PIECE = 256  # symbols of the prompt read at a time: bounds memory, changes nothing else
BLOCK = 1 << 12  # random numbers drawn at a time: a call for each character would cost more than the numbers
LOCKSTEP = 16  # characters that the streams of a batch make between two looks at whether all have ended
COLDEST, HOTTEST = 1e-6, 1e6  # beyond these a temperature does nothing more, and float32 overflows in the end
TEXT_BYTES = 1000  # that Python takes for each of several texts in the making
LONG = 10_000  # characters from which a kernel is worth what it takes to load
SAID_AT_ONCE = 64  # characters that a kernel makes in one call
BATCH = 16  # streams from which products in bfloat16 are faster than in float32, whatever the cell


def sample(model: CharRNN, vocabulary: Vocabulary, config: SampleConfig) -> Iterator[str]:
    """One text, in pieces as they are made: whole characters, never part of the stop string, never the prompt.

    Where `length` is 0 it goes on until the caller stops asking. A model of bytes gives them as raw.py has them.
    UserError, at once and not with the first piece, when the vocabulary lacks a character of the prompt or of the stop
    string; prompts.py treats both as the text was.
    """
    return (piece for (piece,) in _pieces(model, vocabulary, config, streams=1, lockstep=1) if piece)


def sample_many(model: CharRNN, vocabulary: Vocabulary, config: SampleConfig) -> list[str]:
    """`config.count` texts, made in one batch. It must have a way to end: a `length` or a `stop`.

    UserError as for `sample`.
    """
    one = model.zero_state(1).nbytes + model.tape_bytes(1, 1) + len(vocabulary) * 8 + TEXT_BYTES
    check_bytes(config.count * one, f"--count {config.count}", "give a smaller --count")
    pieces = _pieces(model, vocabulary, config, config.count, LOCKSTEP)
    return ["".join(text) for text in zip(*pieces, strict=True)]


def _pieces(
    model: CharRNN, vocabulary: Vocabulary, config: SampleConfig, streams: int, lockstep: int
) -> Iterator[list[str]]:
    """Yield, every `lockstep` symbols, what each stream's text has gained, until all texts have ended."""
    begin = vocabulary.symbols.index("\n") if "\n" in vocabulary.symbols else 0
    prompt = torch.from_numpy(vocabulary.encode(config.prompt)) if config.prompt else torch.tensor([begin])
    if vocabulary.lacking(config.stop):
        raise UserError(f"--stop {config.stop!r}: can never come, the vocabulary lacks a character of it")
    model = model.at_precision("auto" if streams >= BATCH else "float32")
    known = len(vocabulary) if vocabulary.unknown is None else vocabulary.unknown
    if _compiled_pays(model, config, streams):
        _prepare(model, known)
    symbols = _symbols(model, prompt, known, config, streams)
    texts = [_Text(vocabulary, config) for _ in range(streams)]

    def generate() -> Iterator[list[str]]:
        while not all(text.ended for text in texts):
            ids_by_stream = zip(*islice(symbols, lockstep), strict=True)
            yield [text.feed(ids) for text, ids in zip(texts, ids_by_stream, strict=True)]

    return generate()


@torch.no_grad()
def _symbols(model: CharRNN, prompt: Tensor, known: int, config: SampleConfig, streams: int) -> Iterator[list[int]]:
    """Yield without end the next symbol of each stream, after the prompt (T,), which is not empty.

    The first `known` symbols, K, may be drawn.
    """
    prompt = prompt.to(model.device)
    state, last = model.zero_state(1), len(prompt) - 1
    for start in range(0, last, PIECE):
        model.forward(prompt[start : min(start + PIECE, last), None], state)
    state = state.repeat(1, 1, streams, 1)
    if _compiled_pays(model, config, streams):
        yield from _said_on(model, state, int(prompt[last]), _noise(config, (1, known), state))
    x = prompt[last:].repeat(streams)
    for noise in _noise(config, (streams, min(config.top_k or known, known)), state):
        logits, _ = model.forward(x[None], state)
        x = _draw(logits[:, :known], noise, config)
        yield x.tolist()


def _compiled_pays(model: CharRNN, config: SampleConfig, streams: int) -> bool:
    """Whether a kernel is to make the text: one long one, drawn from all symbols."""
    plain = streams == 1 and not config.top_k and config.top_p == 1
    if not plain or 0 < config.length < LONG or not runs_compiled(model):
        return False
    return not unavailable()


def _prepare(model: CharRNN, known: int) -> None:
    """Compile what makes a text, or load it from the cache, now and not with its first symbol."""
    from rnnbptt.bptt.compiled import say_on

    say_on(model, model.zero_state(1), 0, torch.empty(0, known))


def _said_on(model: CharRNN, state: Tensor, symbol: int, noise: Iterator[Tensor]) -> Iterator[list[int]]:
    """Yield without end the next symbol of one stream, as a kernel says them."""
    from rnnbptt.bptt.compiled import say_on

    while True:
        symbols = say_on(model, state, symbol, torch.cat(list(islice(noise, SAID_AT_ONCE))))
        yield from ([symbol] for symbol in symbols)
        symbol = symbols[-1]


def _noise(config: SampleConfig, shape: tuple[int, int], like: Tensor) -> Iterator[Tensor]:
    """Yield without end Gumbel noise times the temperature, in tensors of `shape`, the same on every device."""
    rng = torch.Generator().manual_seed(config.seed)
    while True:
        uniform = torch.rand(max(1, BLOCK // math.prod(shape)), *shape, dtype=like.dtype, generator=rng)
        # not 0, so that the noise is finite: at temperature 0 it has to vanish
        gumbel = uniform.clamp_min_(1e-20).log_().neg_().log_().neg_()
        yield from gumbel.mul_(min(config.temperature, HOTTEST)).to(like.device).unbind(0)


def _draw(logits: Tensor, noise: Tensor, config: SampleConfig) -> Tensor:
    """A symbol for each stream, (B,), from logits (B, K) and noise (B, K), or (B, top_k) where that is less.

    The symbol with the largest sum of logits / temperature and Gumbel noise has the distribution of their softmax
    (Gumbel 1954). Here the noise is multiplied instead, which leaves two operations a character: `torch.multinomial`
    takes five times as long. Without noise it is the most probable symbol.
    """
    if not config.top_k and config.top_p == 1:
        return logits.add(noise).argmax(1)
    logits, symbols = logits.topk(noise.shape[1], dim=1)  # most probable first
    if config.top_p < 1:
        probabilities = torch.softmax(logits / max(config.temperature, COLDEST), 1)
        more_probable = probabilities.cumsum(1) - probabilities  # 0 for the first, which so always stays
        logits = logits.masked_fill(more_probable >= config.top_p, -math.inf)
    return symbols.gather(1, logits.add(noise).argmax(1, keepdim=True)).view(-1)


class _Text:
    """One text in the making: whole characters, at most `length`, and nothing from the stop string on.

    That is sought among the bytes, where it may begin inside a character.
    """

    def __init__(self, vocabulary: Vocabulary, config: SampleConfig) -> None:
        self._decode = vocabulary.decoder()
        self._left = config.length or sys.maxsize
        self._stop, self._held = bytes_of(config.stop), b""
        self.ended = False

    def feed(self, ids: tuple[int, ...]) -> str:
        """What the text gains for certain: the end of it that may be the start of the stop string is held back."""
        if self.ended:
            return ""
        new = self._decode(ids)[: self._left]
        self._left -= len(new)
        self.ended = not self._left
        if not self._stop:
            return new
        data = self._held + bytes_of(new)
        if self._stop in data:
            self.ended = True
            return text_of(data[: data.index(self._stop)])
        if self.ended:
            return text_of(data)
        tails = range(max(0, len(data) - len(self._stop) + 1), len(data))
        cut = next((start for start in tails if self._stop.startswith(data[start:])), len(data))
        text, cut = codecs.utf_8_decode(data[:cut], "surrogateescape")  # up to its last whole character
        self._held = data[cut:]
        return text
