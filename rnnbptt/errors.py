"""The one exception whose message is fit for a user."""

import math
import os
from pathlib import Path


class UserError(Exception):
    """Something the user can mend: one line saying what was given, what is allowed and what to type."""


def check_option(allowed: bool, option: str, value: object, advice: str) -> None:
    """UserError unless `allowed`: the option as it is typed, the value it was given, and what to give instead."""
    if not allowed:
        shown = f"{value:g}" if isinstance(value, float) else value
        raise UserError(f"--{option.replace('_', '-')} {shown}: {advice}")


def memory_of_machine() -> float:
    """Bytes of its main memory; infinity where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def check_bytes(size: int, what: str, advice: str) -> None:
    """UserError, before anything is allocated, where `what` would take more bytes than the machine has."""
    if size > (most := memory_of_machine()):
        sizes = f"{size / 2**30:,.1f} GiB, and this machine has {most / 2**30:,.1f}"
        raise UserError(f"{what} would take {sizes}; {advice}")


def check_file(path: Path, given: str, advice: str) -> None:
    """UserError where something is at `path` that may never begin, or never end: a pipe, a socket or a device."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{given}: a pipe or a device, not a file; {advice}")
