"""Scratch folders beside what they are for, which vanish whatever happens, and take nothing with them.

In each lies a file that its process holds: it tells our folders from those of others, and those of the dead from those
in use. `new` in it is for what is being made, `old` for what is being replaced.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rnnbptt.storage.lock import holder, is_ours, release, take

PREFIX, OWNER = ".rnnbptt-", "owner"


@contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Make the folder, and those on the way to it; where anything fails, those that are empty are gone again."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder in `parent` with an empty `new` in it, gone in the end. Those that killed processes left go first."""
    for left in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # of another user, who will do it
            if _is_left(left) and take(left / OWNER):
                _clear_away(left)
    folder = _new_folder(parent)
    try:
        (folder / "new").mkdir()
        yield folder
    finally:
        _clear_away(folder)


def _new_folder(parent: Path) -> Path:
    """Of a name that nobody has, and with the mark of this process in it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another process has swept it, in the moment in which it was empty
            if take(folder / OWNER):
                return folder


def _is_left(folder: Path) -> bool:
    """Whether it may be what a killed process has left: it has our mark, or nothing in it that could be anybody's."""
    owner = folder / OWNER
    if holder(owner) is not None:
        return not is_ours(owner)
    return all(entry == owner and not entry.stat().st_size for entry in folder.iterdir())


def replace_by_new(scratch: Path, names: Iterable[str]) -> None:
    """What lies in `new` of the scratch folder takes the places of these names beside that; names it lacks are removed.

    Where anything fails, all is put back; if the process is killed, by the next scratch folder there.
    """
    names, old = tuple(names), scratch / "old"
    old.mkdir()
    for name in names:
        if os.path.lexists(scratch.parent / name):
            (scratch.parent / name).rename(old / name)
    for name in names:
        if (scratch / "new" / name).exists():
            (scratch / "new" / name).rename(scratch.parent / name)
    old.rename(scratch / "replaced")


def _clear_away(folder: Path) -> None:
    """Remove a scratch folder; what it was about to replace goes back to its place, unless the new is there."""
    old = list((folder / "old").iterdir()) if (folder / "old").exists() else []
    if not any(os.path.lexists(folder.parent / entry.name) for entry in old):
        for entry in old:
            entry.rename(folder.parent / entry.name)
    for entry in folder.iterdir():
        if entry.name != OWNER:
            shutil.rmtree(entry, ignore_errors=True)
            with suppress(OSError):
                entry.unlink()
    release(folder / OWNER)  # the last: without it nobody could tell whose the rest is
    with suppress(OSError):
        folder.rmdir()
