"""Files that are written whole or not at all, and results that a user wants in a file."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rnnbptt.errors import UserError
from rnnbptt.storage.scratch import scratch_folder

RESULT = "; give a file that can be written"  # what is advised where a result cannot be


def check_place(path: Path, advice: str = RESULT) -> None:
    """UserError, with the advice at its end, where no file can be at `path`: to be asked before the work."""
    if path.is_dir():
        reason = errno.EISDIR
    elif path.parent.is_dir():
        return
    else:
        reason = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
    raise UserError(f"cannot write {path}: {os.strerror(reason)}{advice}")


@contextmanager
def writing(path: Path | str, advice: str = "") -> Iterator[None]:
    """UserError, with the advice at its end, where the system cannot write `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}{advice}") from error


@contextmanager
def whole_file(path: Path, advice: str = "") -> Iterator[Path]:
    """Give a file to write that takes the place of `path` at the end, or vanishes if anything goes wrong.

    UserError, with the advice at its end, where it cannot be written.
    """
    check_place(path, advice)
    with writing(path, advice), scratch_folder(path.parent) as scratch:
        partial = scratch / "new" / path.name
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # or a power failure could leave the new name with none of its bytes
        partial.replace(path)


def through_link(path: Path) -> Path:
    """Where what is written to `path` is to lie: for a symbolic link, even to nothing yet, what it points to.

    UserError where it leads back to itself.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise UserError(f"cannot write {path}: {os.strerror(errno.ELOOP)}{RESULT}")
    return target


@contextmanager
def result_file(path: Path) -> Iterator[Path]:
    """`whole_file` for what a user has named: a symbolic link stays, and what it points to is written."""
    with whole_file(through_link(path), RESULT) as partial:
        yield partial


def to_json(result: Any) -> Any:
    """A dataclass as strict JSON has it: paths are strings, and a number that is not finite is null."""
    return json.loads(json.dumps(asdict(result), default=os.fspath), parse_constant=lambda name: None)


def write_json(result: Any, path: Path) -> None:
    """Write `json_text(result)`."""
    with result_file(path) as partial:
        partial.write_text(json_text(result) + "\n", encoding="utf-8")


def json_text(result: Any) -> str:
    """`to_json(result)`, to be read by people too."""
    return json.dumps(to_json(result), indent=1)
