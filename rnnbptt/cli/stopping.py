"""Signals that ask a run to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Which signal has asked the run to stop, 0 as long as none has."""

    def __init__(self) -> None:
        self.signal = 0

    def asked(self) -> bool:
        """Whether one has."""
        return self.signal != 0


@contextmanager
def stop_by_signal() -> Iterator[Stop]:
    """Ctrl-C, `kill` and a lost terminal only raise a flag here, so that the update under way is finished and saved.

    A second Ctrl-C does what it did before. Of the others a second one changes nothing, to the end of the process: a
    lost terminal sends two. What the process was started to ignore, as by nohup, it goes on ignoring.
    """
    stop = Stop()

    def note(number: int, frame: object) -> None:
        stop.signal = number
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    before = {number: signal.getsignal(number) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stop.signal and number != signal.SIGINT else handler)
