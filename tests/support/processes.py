"""Processes that die."""

from __future__ import annotations

import os
from pathlib import Path

from rnnbptt.storage import lock


def die_holding(path: Path) -> None:
    """Leave a lock file as a killed process leaves it."""
    os.close(lock._held.pop(path.resolve()))
