"""A real browser, where there is one: what a page does in it, said by a script that the test puts into a copy."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom")

# It is put before all others, so that it hears of every fault. What goes wrong later is added until the end.
LISTEN = """
const faults = [];
addEventListener("error", (event) => faults.push(`error: ${event.message}`));
addEventListener("unhandledrejection", (event) => faults.push(`rejection: ${event.reason}`));
addEventListener("securitypolicyviolation", (event) => faults.push(`violation: ${event.violatedDirective}`), true);
for (const kind of ["error", "warn"]) console[kind] = (...words) => faults.push(`console: ${words.join(" ")}`);
"""
TELL = """
const told = (found) => {
  const place = parent.document.body.appendChild(parent.document.createElement("pre"));
  place.id = "found";
  const requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  place.textContent = JSON.stringify({ found, faults, requests });
};
const tick = () => new Promise((resolve) => setTimeout(resolve, 50));
"""


def ask(page: str, script: str, folder: Path, frame: int | None = None) -> dict[str, Any]:
    """What the body of an asynchronous function returns on this page: `found`; besides it `faults`, all errors and
    violations, and `requests`. The page is opened as a file, or in a frame of so many pixels in another.
    """
    act = TELL + f"(async () => {{{script}}})().then(told, (error) => told(`${{error.stack}}`));"
    copy = allowing(page, LISTEN, act)
    copy = copy.replace("<title>", f"<script>{LISTEN}</script><title>", 1)
    copy = copy.replace("</body>", f"<script>{act}</script></body>", 1)
    if frame is not None:
        copy = f'<body><iframe width="{frame}" height="800" srcdoc="{html.escape(copy)}"></iframe></body>'
    (folder / "page.html").write_text(copy, encoding="utf-8")
    dom = _open(folder / "page.html", folder / "profile")
    found = re.findall(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert len(found) == 1, dom[-2000:]
    answer: dict[str, Any] = json.loads(html.unescape(found[0]))
    return answer


def allowing(page: str, *scripts: str) -> str:
    """The page, with these allowed too by its policy: nothing else of it is loosened."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = "".join(f"'sha256-{hash_}' " for hash_ in hashes)
    assert page.count("script-src ") == 1
    return page.replace("script-src ", f"script-src {allowed}")


def _open(path: Path, profile: Path) -> str:
    """The document as it is in the end."""
    assert BROWSER
    command = [BROWSER, *OPTIONS, f"--user-data-dir={profile}", "--window-size=1280,900", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True).stdout
