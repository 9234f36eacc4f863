"""Commands in processes of their own that begin at once: forks of one that has loaded the libraries, which takes more
than a second.

What Python does when it starts and ends is not theirs: for variables that it reads, a signal that is ignored from the
start, and one that comes while it ends, there is `shell` of commands.py.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from subprocess import PIPE
from threading import Timer
from typing import Any

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "safetensors.torch", "typer", "rich.console", "tqdm", "matplotlib.figure"])
PATIENCE = 120.0  # seconds until one that hangs is killed


class Fork:
    """A command that runs here. Its standard output is a pipe to read, or the descriptor that is given; None: it is
    closed. Its standard error, of a few lines, is told in the end.
    """

    def __init__(self, *arguments: str, stdout: int | None = PIPE) -> None:
        (read_out, write_out), (read_err, write_err) = os.pipe(), os.pipe()
        self.stdout, self._stderr = (os.fdopen(end, encoding="utf-8", newline="") for end in (read_out, read_err))
        outlets = [write_out if stdout == PIPE else stdout, write_err]
        shared = [None if outlet is None else DupFd(outlet) for outlet in outlets]
        born = (arguments, shared, os.getcwd(), dict(os.environ))
        self._process = CONTEXT.Process(target=_command, args=born, daemon=True)
        self._process.start()
        os.close(write_out)
        os.close(write_err)
        self._patience = Timer(PATIENCE, self._process.kill)
        self._patience.daemon = True
        self._patience.start()

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        assert self._process.pid
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def end(self) -> tuple[int | None, str, str]:
        """Wait for it: its exit code, what is left of its standard output, and its standard error."""
        left = "" if self.stdout.closed else self.stdout.read()
        self._process.join()
        self._patience.cancel()
        self.stdout.close()
        with self._stderr:
            return self._process.exitcode, left, self._stderr.read()


def _command(arguments: tuple[str, ...], outlets: list[Any], folder: str, environment: dict[str, str]) -> None:
    """Be the command, with standard output and standard error as Python opens them."""
    os.chdir(folder)
    os.environ |= environment
    for number, outlet in enumerate(outlets, start=1):
        if outlet is None:
            os.close(number)
        else:
            os.dup2(outlet.detach(), number)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False) if outlets[0] else None
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    sys.argv[1:] = arguments
    from rnnbptt.cli.app import main

    main()
