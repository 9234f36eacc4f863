"""What a race may find, made up."""

from __future__ import annotations

import math

from rnnbptt.report.page import Curve, Level, Page, Sample, Table

NASTY = "</script><script>bad()</script>&amp; \"'<!-- <b>\x1b[31m\u202e\udc80 $title"


def a_page(name: str = "64", text: str = "Once more unto the breach\n") -> Page:
    """A race of three strategies, the second so named, with five seeds of twelve validations; its words are `text`."""
    return Page(
        title=f"Race of {text}",
        summary=[f"64 is better: {text}", "64 overtakes 1 at 2.1 M characters."],
        curves=[run(strategy, seed, k) for strategy, k in (("1", 1), (name, 64), ("1..64", 8)) for seed in range(5)],
        levels=[Level(f"order-0 {text}", 7.0), Level("optimum", 2.0)],
        tables=[Table(text, ["strategy", text], [[name, "2.25"], [text, text]], note=text)],
        samples=[Sample(name, text), Sample(text, "\nROMEO:\tho\r\x00")],
        details=[(text, text)],
        data={"text": text, "nested": [1, 2.5, None, {"a": True}]},
    )


def run(strategy: str, seed: int, k: int, validations: int = 12) -> Curve:
    """It falls from about 4 to about 2.5; its seconds are its own, as they are on any machine."""
    chars = [50_000 * (i + 1) for i in range(validations)]
    axes: dict[str, list[float]] = {
        "chars": [*chars],
        "updates": [count // (10 * k) for count in chars],
        "seconds": [count * (1 + seed / 10) / 1e5 for count in chars],
        "flops": [count * 1e6 for count in chars],
    }
    return Curve(strategy, seed, axes, [2.2 + 0.01 * seed + 2 * math.exp(-count * k**0.1 / 2e5) for count in chars])
