"""Standard output and standard error, which may be closed or full: the one costs an error then, the other nothing."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TextIO

from rnnbptt.errors import UserError

P = ParamSpec("P")


class OutputError(UserError):
    """Standard output did not take what was printed; `closed` where its reader had seen enough and left."""

    def __init__(self, reason: str, closed: bool) -> None:
        advice = "what was to be saved is saved; give it a place that takes the rest"
        super().__init__(f"cannot write standard output: {reason}; {advice}")
        self.closed = closed


def printing(show: Callable[P, None]) -> Callable[P, None]:
    """The function, which prints, with an OutputError where that fails, and nothing left to be flushed."""

    @wraps(show)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        if sys.stdout is None:  # it was closed from the start
            raise OutputError(os.strerror(errno.EBADF), closed=False)
        try:
            show(*args, **kwargs)
            sys.stdout.flush()
        except OSError as error:
            _silence(sys.stdout)
            raise OutputError(error.strerror or str(error), isinstance(error, BrokenPipeError)) from None

    return call


class _StandardError:
    """What is written is said as long as standard error takes it; when it does not, nothing stops for that."""

    def write(self, text: str) -> int:
        """Say it."""
        if sys.stderr is not None:
            try:
                sys.stderr.write(text)
            except OSError:
                _silence(sys.stderr)
        return len(text)

    def flush(self) -> None:
        """Have all said."""
        if sys.stderr is not None:
            try:
                sys.stderr.flush()
            except OSError:
                _silence(sys.stderr)

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        return sys.stderr is not None and sys.stderr.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


STANDARD_ERROR = _StandardError()


def _silence(stream: TextIO) -> None:
    """Let nothing be flushed into it any more, as Python does at exit."""
    with suppress(OSError):  # it is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
