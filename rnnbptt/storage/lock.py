"""Files that one process at a time can hold. The system lets them go when the holder dies, however that happens."""

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from rnnbptt.errors import UserError


class HeldError(UserError):
    """Another process holds a file."""


_held: dict[Path, int] = {}  # the descriptors of what this process holds


def take(path: Path) -> bool:
    """Hold the file, made if need be, until `release`; False where another process holds it.

    What this process holds already it just goes on holding.
    """
    key = path.resolve()
    while not (key in _held and _is_at(_held[key], path)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if _is_at(descriptor, path):
            said = b"held by rnnbptt, process %10d\n" % os.getpid()
            os.pwrite(descriptor, said, 0)  # over that of another one, which is as long: it says who at any moment
            os.ftruncate(descriptor, len(said))
            _held[key] = descriptor
        else:  # who held it has removed it meanwhile
            os.close(descriptor)
    return True


def hold(path: Path, place: Path | str, work: str, option: str) -> None:
    """`take`, or a HeldError that says who does that work at that place, and which option names another."""
    if not take(path):
        who = holder(path)
        name = f"process {who}" if who else "another process"
        raise HeldError(f"{place}: {name} is {work}; wait for it, or give another {option}")


def is_ours(path: Path) -> bool:
    """Whether this process holds the file."""
    return path.resolve() in _held


def release(path: Path) -> None:
    """Remove the file, if this process holds it."""
    descriptor = _held.pop(path.resolve(), None)
    if descriptor is not None:
        with suppress(OSError):
            if _is_at(descriptor, path):
                path.unlink()
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """The process that took the file last, None where that was none of ours."""
    try:
        said = re.fullmatch(rb"held by rnnbptt, process +(\d+)\n", path.read_bytes())
    except OSError:
        return None
    return int(said[1]) if said else None


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
