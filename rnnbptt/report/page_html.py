"""The page of a race as one HTML file that needs no other file and no network; and what it holds, read back.

Whatever comes from users is escaped here, at the one place where it goes into HTML. The policy in the page allows the
scripts that are part of this package, by their hashes, and no request at all.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from rnnbptt.errors import UserError
from rnnbptt.report.page import Level, Page, Sample, Table
from rnnbptt.report.page_plot import axes_of, drawable, figures
from rnnbptt.report.terminal import escaped, visible
from rnnbptt.storage.files import result_file, to_json
from rnnbptt.version import __version__

KIND = "rnnbptt race"  # what tells our pages from anybody else's
FORMAT = 2  # 1 has no decay of learning rates but the cosine
NUMBER = re.compile(r"[-+<>±\d.,%()\[\] eEkMGTP\u2212]*")  # a cell of nothing else is one, or the lack of one
DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def write_page(page: Page, path: Path) -> None:
    """Write it into `path`; UserError where that cannot be done."""
    with result_file(path) as partial:
        partial.write_text(render(page), encoding="utf-8")


def render(page: Page) -> str:
    """The whole page. In its data what is not finite is null."""
    scripts = [_licensed(_static("uPlot.iife.min.js")), _static("page.js")]
    return Template(_static("template.html")).substitute(
        policy=_policy(scripts),
        title=_text(page.title),
        style=_static("uPlot.min.css") + "\n" + _static("page.css"),
        summary=_summary(page.summary),
        plot=_plot(page) if drawable(page.curves) else "",
        tables="\n".join(_table(table, f"table-{i}") for i, table in enumerate(page.tables, 1)),
        samples=_samples(page.samples),
        details=_details(page.details),
        data=_json({"kind": KIND, "format": FORMAT, "version": __version__, "data": to_json(page)["data"]}),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def read_data(page: str, given: str = "the page") -> dict[str, Any]:
    """The `data` of a page. UserError, which begins with how it was `given`, where it is none or of another format."""
    found = DATA.search(page)
    try:
        held = json.loads(found[1]) if found else None
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or held.get("kind") != KIND or not isinstance(held.get("data"), dict):
        raise UserError(f"{given}: not a page of rnnbptt race; give one that --report has written, as it was written")
    if held.get("format") not in range(1, FORMAT + 1):
        version = escaped(str(held.get("version")))
        raise UserError(
            f"{given}: a page in format {escaped(str(held.get('format')))}, written by rnnbptt {version}; this is "
            f"{__version__}, which reads formats 1 to {FORMAT}: use the version that wrote it"
        )
    data: dict[str, Any] = held["data"]
    return data


def _static(name: str) -> str:
    return (files("rnnbptt.report") / "static" / name).read_text(encoding="utf-8")


def _licensed(script: str) -> str:
    """The licence wants to be wherever the script is."""
    return f"/*!\n{_static('uPlot.LICENSE')}*/\n{script}"


def _policy(scripts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{hash_}'" for hash_ in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _json(value: Any) -> str:
    """JSON that no script element ends in, whatever it says, nor any comment begins."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _text(text: str) -> str:
    """A name or a sentence, on one line."""
    return html.escape(escaped(text))


def _pre(text: str) -> str:
    """Lines as they are, with what cannot be seen made visible. The first newline in a pre is not part of it."""
    return f"<pre>\n{html.escape(visible(text))}</pre>"


def _summary(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "\n".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f'<ul class="summary" aria-label="Summary">\n{items}\n</ul>'


def _plot(page: Page) -> str:
    axes = axes_of(page.curves)
    buttons = [f'<label><input type="radio" name="axis" value="{axis}"> {axes[axis]}</label>' for axis in axes]
    names = dict.fromkeys(curve.strategy for curve in page.curves)
    return Template(_static("plot.html")).substitute(
        axes="\n".join(buttons).replace('">', '" checked>', 1),
        strategies=_text(", ".join(names)),
        levels=_levels(page.levels),
        figures=_json(figures(page.curves, page.levels)),
    )


def _levels(levels: Sequence[Level]) -> str:
    """In words: a level far from all curves is not in the plot, unless it is an optimum."""
    best, others = ([level for level in levels if level.optimum == kind] for kind in (True, False))
    return _listed(" Dashed, what no model beats in the long run, in bits per character: ", best) + _listed(
        " To compare with, in bits per character, and drawn where it is near: ", others
    )


def _listed(what: str, levels: Sequence[Level]) -> str:
    words = ", ".join(f"{_text(level.label)} = {level.bpc:.3f}" for level in levels)
    return f"{what}{words}." if levels else ""


def _table(table: Table, name: str) -> str:
    """It scrolls by itself where the screen is narrow, with the keyboard too."""
    numbers = [_numeric([row[i] for row in table.rows]) for i in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{_align(right)}>{_text(column)}</th>'
        for column, right in zip(table.columns, [False, *numbers[1:]], strict=True)
    )
    rows = "\n".join(f"<tr>{_row(row, numbers)}</tr>" for row in table.rows)
    note = f'\n<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<section>\n<h2 id="{name}">{_text(table.title)}</h2>\n'
        f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0">\n'
        f'<table class="results" aria-labelledby="{name}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>{note}\n</section>"
    )


def _row(row: Sequence[str], numbers: Sequence[bool]) -> str:
    first, *others = row
    cells = (f"<td{_align(right)}>{_text(cell)}</td>" for cell, right in zip(others, numbers[1:], strict=True))
    return f'<th scope="row">{_text(first)}</th>{"".join(cells)}'


def _numeric(cells: Sequence[str]) -> bool:
    """Whether most of them are numbers: a word among them may say why there is none."""
    return 2 * sum(NUMBER.fullmatch(cell) is not None for cell in cells) > len(cells)


def _align(right: bool) -> str:
    return ' class="number"' if right else ""


def _samples(samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    shown = "\n".join(
        f"<figure><figcaption>{_text(sample.label)}</figcaption>{_pre(sample.text)}</figure>" for sample in samples
    )
    return f'<section>\n<h2>Samples</h2>\n<div class="samples">\n{shown}\n</div>\n</section>'


def _details(details: Sequence[tuple[str, str]]) -> str:
    if not details:
        return ""
    shown = "\n".join(f"<details><summary>{_text(title)}</summary>{_pre(text)}</details>" for title, text in details)
    return f"<section>\n<h2>How it was made</h2>\n{shown}\n</section>"
