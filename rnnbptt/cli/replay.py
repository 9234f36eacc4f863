"""`rnnbptt race --replay`: a run of a race once more, from its page."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from rnnbptt.cli.stopping import stop_by_signal


def replay_run(page: Path, name: str, sources: Sequence[Path], quiet: bool) -> None:
    """Train it again and say whether it is the same, to the last bit; it ends with 1 where it is not, and like `train`
    where it is stopped.
    """
    from rnnbptt.errors import check_file
    from rnnbptt.report.page_html import read_data
    from rnnbptt.report.progress import counting_bar, say
    from rnnbptt.report.terminal import counted
    from rnnbptt.study.race.replaying import held_by, race_again, replay

    given = f"--replay {page}"
    check_file(page, given, "give the page of a race")
    held = held_by(read_data(_content(page, given), given), given)
    cell = held.cell(name)
    with TemporaryDirectory(prefix="rnnbptt-") as folder, stop_by_signal() as stop:
        with counting_bar("prepare", "B", quiet) as tell:
            race = race_again(held, sources, Path(folder), tell)
        if not quiet:
            say("note", [f"training {name} again, in a folder that is gone in the end"])
        found = replay(held, race, cell, stop.asked)
    if not found or stop.signal:
        raise typer.Exit(128 + stop.signal)
    if found.others:
        say("note", [f"another here: {', '.join(found.others)}"])
    agree = counted(found.agree, "validation")
    if found.differs:
        print(f"{name} differs, {found.differs}; {agree} before agree")
        raise typer.Exit(1)
    print(f"{name} is identical: {agree}, to the last bit{', and diverged again' if found.diverged else ''}")


def _content(page: Path, given: str) -> str:
    from rnnbptt.errors import UserError

    try:
        return page.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{given}: {getattr(error, 'strerror', None) or 'not a text in UTF-8'}") from None
