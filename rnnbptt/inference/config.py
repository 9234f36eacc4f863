"""The configuration of a sample: plain data, checked on construction.

No torch here: the command line takes its options from this class, and its help must be instant.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc

from rnnbptt.errors import UserError, check_option


@dataclass(frozen=True)
class SampleConfig:
    """What to generate.

    Without a prompt the model reads a newline (or, where the vocabulary has none, its first symbol); it begins with the
    zero state either way. The length is in characters also where the unit is the byte; there each byte that is no part
    of one counts as one. The temperature divides the logits. `top_p` draws from the fewest most probable symbols that
    together have this probability, among those that `top_k` leaves. The text ends right before the first place where
    `stop` would stand in it, the prompt not counted; it may end sooner, by `length`. The same seed gives the same text
    on the same processor: others round otherwise.
    """

    prompt: Annotated[str, Doc("Text to go on from; it is printed first.")] = ""
    length: Annotated[int, Doc("Characters to make; 0: until interrupted.")] = 500
    temperature: Annotated[float, Doc("Below 1 safer, above 1 wilder; 0: the most probable.")] = 1.0
    top_k: Annotated[int, Doc("Only the K most probable symbols; 0: all.")] = 0
    top_p: Annotated[float, Doc("Only the most probable symbols that share this probability.")] = 1.0
    stop: Annotated[str, Doc("End before this string.")] = ""
    count: Annotated[int, Doc("Samples to make, side by side.")] = 1
    seed: Annotated[int, Doc("The same seed gives the same text.")] = 0

    def __post_init__(self) -> None:
        for name in ("length", "temperature", "top_k"):
            value = getattr(self, name)
            check_option(0 <= value < math.inf, name, value, "must be 0 or more")
        check_option(0 < self.top_p <= 1, "top_p", self.top_p, "must be above 0 and at most 1")
        check_option(self.count >= 1, "count", self.count, "must be at least 1")
        check_option(0 <= self.seed < 2**64, "seed", self.seed, f"must be from 0 to {2**64 - 1}")
        if self.length == 0 and self.count > 1 and not self.stop:
            raise UserError(f"--length 0 --count {self.count}: would never end; give a --length, a --stop or --count 1")
