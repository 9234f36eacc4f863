"""The page of a race in a real browser: it draws all, does what its switches say, and asks for nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rnnbptt.report.page import Level, Page
from rnnbptt.report.page_html import render
from support.browser import BROWSER, ask
from support.race_findings import NASTY, a_page

ASKED = os.environ.get("RNNBPTT_TEST_BROWSER") == "1" and BROWSER
pytestmark = pytest.mark.skipif(not ASKED, reason="needs a chromium (Debian's package) and RNNBPTT_TEST_BROWSER=1")

LOOK = """
const drawn = (strategy) => {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour(strategy).slice(i, i + 2), 16));
  const { data } = chart.ctx.getImageData(0, 0, chart.ctx.canvas.width, chart.ctx.canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    const off = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b);
    count += off < 12 && data[i + 3] > 200; // a line, not a band
  }
  return count;
};
const look = async () => {
  await tick();
  return {
    title: chart.axes[0].label,
    x: [chart.scales.x.min, chart.scales.x.max],
    y: [chart.scales.y.min, chart.scales.y.max],
    log: chart.scales.x.distr === 3,
    points: figures.strategies.map((_, i) => chart.data[1 + BAND * i].filter((value) => value != null).length),
    drawn: figures.strategies.map(drawn),
    legend: [...chart.root.querySelectorAll(".mean button")].map((made) => made.textContent),
    pressed: [...chart.root.querySelectorAll(".mean button")].map((made) => made.ariaPressed),
    wide: document.documentElement.scrollWidth > innerWidth,
    canvas: chart.root.clientWidth,
  };
};
const found = { first: await look() };
"""
ACT = """
found.axes = [];
for (const input of document.querySelectorAll("input[name=axis]")) {
  input.click();
  found.axes.push(await look());
}
document.querySelector("input[value=chars]").click();
const click = async (id) => {
  by(id).click();
  return look();
};
found.log = await click("log");
found.linear = await click("log");
found.start = await click("start");
found.settled = await click("start");
found.runs = await click("runs");
await click("runs");
chart.setCursor({ left: chart.valToPos(100000, "x"), top: 10 });
await tick();
found.values = [...chart.root.querySelectorAll("tr:not(.edge) td")].map((cell) => cell.textContent);
chart.setScale("x", { min: 200000, max: 600000 });
found.part = await look();
chart.root.querySelector(".mean button").click();
found.hidden = await look();
document.querySelector("input[value=seconds]").click();
found.still = await look();
chart.root.querySelector(".mean button").click();
found.again = await look();
const background = () => getComputedStyle(document.body).backgroundColor;
const before = background();
found.other = await click("theme");
found.backgrounds = [before, background()];
return found;
"""


@pytest.fixture(scope="module")
def desktop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was found where the page is 1280 pixels wide, and its second strategy has a name that could do harm."""
    answer = ask(render(a_page(NASTY, NASTY)), LOOK + ACT, tmp_path_factory.mktemp("desktop"))
    assert isinstance(answer["found"], dict), answer["found"]
    return answer


def test_no_error_and_no_request(desktop: dict[str, Any]) -> None:
    assert desktop["faults"] == []
    assert desktop["requests"] == []


def test_every_strategy_is_drawn_on_every_axis(desktop: dict[str, Any]) -> None:
    for seen in desktop["found"]["axes"]:
        assert min(seen["points"]) >= 12
        assert min(seen["drawn"]) > 100, seen
        assert seen["legend"] == [
            "1",
            NASTY.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e").replace("\udc80", r"\udc80"),
            "1..64",
        ]


def test_the_axis_is_switched(desktop: dict[str, Any]) -> None:
    seen = desktop["found"]["axes"]
    titles = ["characters seen", "updates", "training time (seconds)", "operations (floating point)"]
    assert [axis["title"] for axis in seen] == titles
    assert [axis["log"] for axis in seen] == [False, True, False, False]
    assert [axis["x"][1] for axis in seen] == pytest.approx([6e5, 6e4, 8.4, 6e11], rel=1e-5)
    assert desktop["found"]["first"] == seen[0]


def test_logarithmic_and_back(desktop: dict[str, Any]) -> None:
    found = desktop["found"]
    assert found["log"]["log"]
    assert min(found["log"]["drawn"]) > 100
    assert found["linear"] == found["first"]


def test_the_start_is_shown_on_demand(desktop: dict[str, Any]) -> None:
    found = desktop["found"]
    assert found["start"]["y"][1] > found["first"]["y"][1]
    assert found["settled"] == found["first"]


def test_single_runs_are_shown_on_demand(desktop: dict[str, Any]) -> None:
    """Thin and translucent, they cover what had the full colour nowhere, and leave the view as it is."""
    found = desktop["found"]
    assert {**found["runs"], "drawn": []} == {**found["first"], "drawn": []}
    assert found["runs"]["drawn"] != found["first"]["drawn"]


def test_values_below_the_cursor(desktop: dict[str, Any]) -> None:
    """At 100,000 characters strategy 1 has 2.2 + 2 exp(-1/2) = 3.413 with seed 0, and 0.04 more with seed 4."""
    place, *values = desktop["found"]["values"]
    assert place == "100k"
    assert values[0] == "3.433 (3.413 to 3.453)"
    assert len(values) == 3


def test_a_part_is_looked_at_closely(desktop: dict[str, Any]) -> None:
    part = desktop["found"]["part"]
    assert part["x"] == [200000, 600000]
    assert part["y"][1] < desktop["found"]["first"]["y"][1]


def test_a_line_is_hidden_and_stays_so_on_another_axis(desktop: dict[str, Any]) -> None:
    found = desktop["found"]
    for name in ("hidden", "still"):
        first, *others = found[name]["drawn"]
        assert first < 100 < min(others)
        assert found[name]["pressed"] == ["false", "true", "true"]
    assert min(found["again"]["drawn"]) > 100
    assert found["again"]["pressed"] == ["true"] * 3


def test_dark_and_light(desktop: dict[str, Any]) -> None:
    found = desktop["found"]
    assert sorted(found["backgrounds"]) == ["rgb(22, 25, 29)", "rgb(255, 255, 255)"]
    assert min(found["other"]["drawn"]) > 100


def test_on_a_phone_nothing_is_wider_than_the_screen(tmp_path: Path) -> None:
    answer = ask(render(a_page(30 * "name", 30 * "word")), LOOK + "return found;", tmp_path, frame=390)
    assert answer["faults"] == answer["requests"] == []
    assert not answer["found"]["first"]["wide"]
    assert 300 < answer["found"]["first"]["canvas"] <= 390
    assert min(answer["found"]["first"]["drawn"]) > 50


def test_a_page_without_a_plot(tmp_path: Path) -> None:
    script = "by('theme').click(); return document.documentElement.style.colorScheme;"
    answer = ask(render(Page("bare", ["Nothing to draw."])), script, tmp_path)
    assert answer["faults"] == []
    assert answer["found"] in ("light", "dark")


def test_names_of_close_levels_do_not_cover_each_other(tmp_path: Path) -> None:
    """The page is drawn again, in other colours, while somebody looks on."""
    near = [Level("one", 2.5), Level("another", 2.495), Level("a third", 2.49), Level("far below", 2.2)]
    script = """
        const said = {}, fill = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
          said[text] = [y, this.textBaseline];
          fill.call(this, text, x, y);
        };
        by("theme").click();
        await tick();
        return said;
    """
    answer = ask(render(replace(a_page(), levels=near)), LOOK + script, tmp_path)
    names = {level.label: answer["found"][level.label] for level in near}
    assert [baseline for _, baseline in names.values()] == ["bottom", "top", "top", "bottom"]
    assert names["one"][0] < names["another"][0] < names["a third"][0] - 12 < names["far below"][0]
    assert answer["faults"] == []
