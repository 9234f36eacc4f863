"""page_html.py: one file that needs no other, in which nothing breaks out of its place, and what it gives back."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from dataclasses import replace
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

from rnnbptt.report import page_html
from rnnbptt.report.page import Level, Page, Table
from rnnbptt.report.page_html import read_data, render, write_page
from support.commands import ROOT
from support.race_findings import NASTY, a_page
from support.refusals import message_of

SAID = "&lt;/script&gt;&lt;script&gt;bad()&lt;/script&gt;&amp;amp; &quot;&#x27;&lt;!-- &lt;b&gt;"  # of NASTY
NO_PAGE = "--replay x: not a page of rnnbptt race; give one that --report has written, as it was written"


class Tags(HTMLParser):
    """The elements of a page with their attributes, and the texts of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))
        if (tag, attrs) == ("script", []):
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script" and self.scripts:
            self.scripts[-1] += data


def test_nothing_breaks_out_of_its_place() -> None:
    """Whatever the words, the elements of the page are the same."""
    assert Tags(render(a_page(NASTY, NASTY))).seen == Tags(render(a_page())).seen


def test_words_are_escaped_exactly() -> None:
    """A name is on one line, as Python would write it; a sample has its lines, and shows what cannot be seen."""
    page = render(a_page(NASTY, NASTY))
    line, block = SAID + r"\x1b[31m\u202e\udc80 $title", SAID + "␛[31m\u202e\ufffd $title"
    assert f"<title>Race of {line}</title>" in page
    assert f"<h1>Race of {line}</h1>" in page
    assert f"<li>64 is better: {line}</li>" in page
    assert f'<h2 id="table-1">{line}</h2>' in page
    assert f'<th scope="col">{line}</th></tr></thead>' in page
    assert f'<tr><th scope="row">{line}</th><td>{line}</td></tr>' in page
    assert f'<p class="note">{line}</p>' in page
    assert f"<figure><figcaption>{line}</figcaption><pre>\n{block}</pre></figure>" in page
    assert "<pre>\n\nROMEO:\tho␍␀</pre>" in page, "the newline that the sample begins with is the second"
    assert f"<details><summary>{line}</summary><pre>\n{block}</pre></details>" in page
    assert f'aria-label="Validation bits per character of 1, {line}, 1..64: mean' in page
    assert f"in bits per character, and drawn where it is near: order-0 {line} = 7.000, optimum = 2.000." in page


def test_an_optimum_is_said_in_words_and_drawn_by_its_own_dashes() -> None:
    page = render(replace(a_page(), levels=[Level("optimum of <b>", 0.0, optimum=True), Level("order-0", 7.0)]))
    said = "its line. Dashed, what no model beats in the long run, in bits per character: optimum of &lt;b&gt; = 0.000."
    assert f"{said} To compare with, in bits per character, and drawn where it is near: order-0 = 7.000.</p>" in page
    assert '{"label":"optimum of \\u003cb>","bpc":0.0,"optimum":true}' in page
    assert "level.optimum ?" in page


def test_no_other_place_is_named() -> None:
    """But in the licence of what draws the plot, and in what the race holds."""
    page = render(replace(a_page(), data={"url": "https://example.org"}))
    page = re.sub(r"/\*!.*?\*/|<script type=.*?</script>", "", page, flags=re.DOTALL)
    page = page.replace('"http://www.w3.org/2000/svg"', "")  # the name of a namespace, which nobody fetches
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bfetch\b|XMLHttpRequest", page.replace("// ", ""))
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,"]


def test_the_policy_allows_these_scripts_and_no_request() -> None:
    page = render(a_page(NASTY, NASTY))
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    scripts = Tags(page).scripts
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(hashes) == 2
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert page.index("Content-Security-Policy") < page.index("<link") < page.index("<style>")


def test_the_licence_goes_with_the_script() -> None:
    page = render(a_page())
    licence = (ROOT / "rnnbptt/report/static/uPlot.LICENSE").read_text("utf-8")
    assert licence.startswith("The MIT License (MIT)\n\nCopyright (c) 2022 Leon Sorokin\n")
    assert f"<script>/*!\n{licence}*/\n/*! " in page
    assert "uPlot (v1.6.32) */\nvar uPlot=" in page
    assert "uPlot 1.6.32 (MIT)" in " ".join((ROOT / "rnnbptt/report/static/README.md").read_text("utf-8").split())


def test_its_parts_are_installed_with_the_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        packed = tomllib.load(file)["tool"]["setuptools"]["package-data"]["rnnbptt.report"]
    names = [f"static/{path.name}" for path in (ROOT / "rnnbptt/report/static").iterdir()]
    assert len(names) >= 8
    assert all(any(fnmatch(name, pattern) for pattern in packed) for name in names)


def test_it_is_small() -> None:
    assert len(render(a_page()).encode()) < 110_000


def test_columns_of_numbers_are_aligned() -> None:
    """The first names the rows; a word among numbers may say why there is none."""
    rows = [["1", "2.25", "the first", "better"], ["64", "1,000k", "-0.2 ± 0.1", "worse"], ["8", "-", "[1, 2] %", "-"]]
    page = render(Page("t", ["s"], tables=[Table("T", ["strategy", "bpc", "difference", "verdict"], rows)]))
    head = '<th scope="col">strategy</th><th scope="col" class="number">bpc</th>'
    assert f'{head}<th scope="col" class="number">difference</th><th scope="col">verdict</th>' in page
    row = '<th scope="row">64</th><td class="number">1,000k</td><td class="number">-0.2 ± 0.1</td><td>worse</td>'
    assert f"<tr>{row}</tr>" in page
    empty = render(Page("t", [], tables=[Table("T", ["strategy", "bpc"], [])]))
    assert '<th scope="col">strategy</th><th scope="col">bpc</th></tr></thead>\n<tbody>\n\n</tbody>' in empty


def test_what_there_is_not_leaves_no_trace() -> None:
    page = render(Page("bare", []))
    body = page[page.index("<main>") : page.index("</main>")]
    assert body.split() == ["<main>"]
    assert 'id="figures"' not in page


def test_the_order_is_summary_plot_tables_samples_details() -> None:
    page = render(a_page())
    marks = ('class="summary"', 'id="curves"', '<table class="results"', 'class="samples"', "<details>", 'id="data"')
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places)


def test_data_come_back() -> None:
    for words in ("plain", NASTY, "\u2028\ud800 \U0001f600"):
        page = a_page(text=words)
        assert read_data(render(page)) == page.data
    assert read_data(render(Page("t", [], data={"path": Path("a"), "lr": float("inf"), "pair": (1, 2)}))) == {
        "path": "a",
        "lr": None,
        "pair": [1, 2],
    }


def test_a_file_holds_it(tmp_path: Path) -> None:
    page = a_page(NASTY, NASTY)
    write_page(page, path := tmp_path / "page.html")
    assert read_data(path.read_text("utf-8"), "it") == page.data
    nowhere = tmp_path / "no" / "page.html"
    said = f"cannot write {nowhere}: No such file or directory; give a file that can be written"
    assert message_of(write_page, page, nowhere) == said


def test_what_is_no_page_is_refused() -> None:
    page = render(a_page())
    cut = page[: page.index('id="data">') + 40]
    other = page.replace('"kind":"rnnbptt race"', '"kind":"something"')
    broken = page.replace('{"kind":"rnnbptt race"', '{"kind":')
    for bad in ("", "<html>", cut, other, broken, page.replace('"data":{"text"', '"data":3,"x":{"text"')):
        assert bad != page
        assert message_of(read_data, bad, "--replay x") == NO_PAGE
    for held in ("[]", "3", "null", '{"kind": "rnnbptt race"}', "[" * 100_000):
        bad = f'<script type="application/json" id="data">{held}</script>'
        assert message_of(read_data, bad, "--replay x") == NO_PAGE


def test_a_page_in_format_1_is_read() -> None:
    page = render(a_page())
    older = page.replace(f'"format":{page_html.FORMAT},"version":"', '"format":1,"version":"')
    assert older != page
    assert read_data(older) == read_data(page)


def test_a_page_in_another_format_is_refused() -> None:
    page = render(a_page()).replace(f'"format":{page_html.FORMAT},"version":"', '"format":"3\\n","version":"9')
    assert message_of(read_data, page, "--replay x") == (
        "--replay x: a page in format 3\\n, written by rnnbptt 90.1.0; this is 0.1.0, which reads formats 1 to 2: use "
        "the version that wrote it"
    )
