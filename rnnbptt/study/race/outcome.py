"""How a run of a race has ended: plain data, of which other processes tell."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """Of one run.

    state  done; diverged: its loss or gradient was not finite; failed: it cannot be finished as things are; stopped:
           it was asked to stop, and goes on another time
    error  what was said of it
    """

    state: Literal["done", "diverged", "failed", "stopped"]
    error: str = ""
