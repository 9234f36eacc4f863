"""`rnnbptt race --replay`: a run of a race once more, from its page."""

from collections.abc import Sequence
from pathlib import Path

import typer

from rnnbptt.cli.stopping import stop_by_signal


def replay_run(page: Path, name: str, sources: Sequence[Path], quiet: bool) -> None:
    """Train it again and say whether it is the same, to the last bit; it ends with 1 where it is not."""
    from rnnbptt.errors import check_file
    from rnnbptt.report.page_html import read_data
    from rnnbptt.report.progress import counting_bar, say
    from rnnbptt.report.terminal import counted
    from rnnbptt.study.race.replaying import held_by, replay

    given = f"--replay {page}"
    check_file(page, given, "give the page of a race")
    held = held_by(read_data(_content(page, given), given), given)
    with stop_by_signal() as stop, counting_bar("prepare", "B", quiet) as tell:
        found = replay(held, name, sources, tell, stop.asked)
    if found.others:
        say("note", [f"another here: {', '.join(found.others)}"])
    if found.differs:
        print(f"{name} differs, {found.differs}; {counted(found.agree, 'validation')} before agree")
        raise typer.Exit(1)
    print(f"{name} is identical: {counted(found.agree, 'validation')}, to the last bit")


def _content(page: Path, given: str) -> str:
    from rnnbptt.errors import UserError

    try:
        return page.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{given}: {getattr(error, 'strerror', None) or 'not a text in UTF-8'}") from None
