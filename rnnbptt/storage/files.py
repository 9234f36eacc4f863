"""Files that are written whole or not at all, and results as JSON."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnbptt.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_place(path: Path, advice: str = "; give a file that can be written") -> None:
    """UserError, with the advice at its end, where no file can be at `path`: to be asked before the work."""
    if path.is_dir():
        reason = errno.EISDIR
    elif path.parent.is_dir():
        return
    else:
        reason = errno.ENOTDIR if path.parent.exists() else errno.ENOENT
    raise UserError(f"cannot write {path}: {os.strerror(reason)}{advice}")


@contextmanager
def whole_file(path: Path, advice: str = "") -> Iterator[Path]:
    """Give a file to write that takes the place of `path` at the end, or vanishes if anything goes wrong.

    UserError, with the advice at its end, where it cannot be written.
    """
    check_place(path, advice)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # or a power failure could leave the new name with none of its bytes
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}{advice}") from None
    finally:
        with suppress(OSError):
            partial.unlink()


def to_json(result: DataclassInstance) -> dict[str, Any]:
    """A result as strict JSON has it: paths are strings, and a number that is not finite is null."""
    plain: dict[str, Any] = _plain(asdict(result))
    return plain


def write_json(result: DataclassInstance, path: Path) -> None:
    """Write `to_json(result)`."""
    with whole_file(path, "; give a file that can be written") as partial:
        partial.write_text(json.dumps(to_json(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
