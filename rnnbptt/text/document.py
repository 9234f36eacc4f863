"""corpus.json: everything about a prepared text but the text itself, written and checked in one place."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnnbptt.errors import UserError
from rnnbptt.storage.document import typed
from rnnbptt.text.options import TextOptions
from rnnbptt.text.vocabulary import Vocabulary

FORMAT = 1
KIND = "rnnbptt corpus"  # what tells our corpus.json from anybody else's
JSON_NAME = "corpus.json"


@dataclass(frozen=True)
class Source:
    """One text that went in: its name as given, and the SHA-256 and length in bytes of its decompressed content."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, eq=False)
class Description:
    """What corpus.json says of a text.

    fingerprint  SHA-256 over the vocabulary and the ids: the same text in the same symbols, however it is split
    splits       name -> (start, stop) into the ids
    counts       how often each symbol occurs, V numbers
    """

    fingerprint: str
    splits: dict[str, tuple[int, int]]
    sources: tuple[Source, ...]
    options: TextOptions
    vocabulary: Vocabulary
    counts: list[int]


def to_json(description: Description) -> str:
    """The content of corpus.json. Only ASCII: a lone surrogate, which some encodings produce, has no UTF-8."""
    return json.dumps({"kind": KIND, "format": FORMAT, **asdict(description)}, indent=1) + "\n"


def from_data(data: dict[str, Any]) -> Description:
    """The inverse, of what `read_known` found; ValueError or UserError for anything but what `to_json` writes."""
    description = typed(data, Description)
    if json.loads(to_json(description)) != data:
        raise ValueError("another format, or names that this version does not know")
    return description


def read_own(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's corpus.json, None unless it is one of ours, of whatever format."""
    try:
        data = json.loads((folder / JSON_NAME).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {str(folder / JSON_NAME)!r}: {error.strerror}") from error
    return data if isinstance(data, dict) and data.get("kind") == KIND else None


def read_known(folder: Path) -> dict[str, Any]:
    """The same, of a format that can be read; UserError for a folder that is no prepared corpus, and a newer format."""
    data = read_own(folder)
    if data is None:
        raise UserError(f"{str(folder)!r} is not a prepared corpus; make one with: rnnbptt prepare TEXT")
    version = data.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"{str(folder)!r} has format {version}, and this rnnbptt reads up to {FORMAT}; "
            "update rnnbptt, or prepare the text again"
        )
    return data
