"""updown.py: a column of a CSV as ups and downs, against the same by hand, and what is refused."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

import pytest

from rnnbptt.text import updown
from rnnbptt.text.updown import UpDown
from support.refusals import message_of
from support.texts import pieces_of

TABLE = (
    '\ufeffday, close ,"a, b"\r\n"1\n2",10,5\r\n3, 1.05e1 ,4\n4,10.50,4\n5,-9,90071992547409921\n6,-9,90071992547409922'
)


def text_of(file: Path, column: str) -> str:
    pieces, _ = UpDown(str(file), column).text()
    return b"".join(piece.tobytes() for piece in pieces).decode("ascii")


@pytest.mark.parametrize("piece", [1, 1000])
def test_one_character_a_change(tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updown, "PIECE", piece)
    (tmp_path / "x.csv").write_bytes(TABLE.encode())
    (tmp_path / "x.csv.xz").write_bytes(lzma.compress(TABLE.encode()))
    with pieces_of(piece):
        assert text_of(tmp_path / "x.csv", "close") == text_of(tmp_path / "x.csv.xz", "2") == "u=d="
        assert text_of(tmp_path / "x.csv", "a, b") == "d=uu", "more digits than a float has"
        pieces, sources = UpDown(str(tmp_path / "x.csv.xz"), "2").text()
        assert sum(map(len, pieces)) == 4
    digest = hashlib.sha256(TABLE.encode()).hexdigest()
    assert [(each.name, each.sha256) for each in sources] == [(str(tmp_path / "x.csv.xz"), digest)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", " has no column 'x'; its first line has to name it"),
        ("a,b\n1,2\n", " has no column 'x'; give one of 'a', 'b', or a number from 1 to 2"),
        ("x,x\n1,2\n", ": 2 columns are called 'x'; give the number of one"),
        ("x\n1\n\n2\n", ", line 3: column 'x': is empty; fill it in, or leave it out"),
        ("x\n1,000\n", ", line 2: 2 cells, and the first line names 1; put quotes around what has a comma in it"),
        ("y,x\n1,2\n1\n", ", line 3: column 'x': is empty; fill it in, or leave it out"),
        ("x\n1\nnan\n", ", line 3: column 'x': 'nan' is no number; fill it in, or leave it out"),
        ("x\n-inf\n", ", line 2: column 'x': '-inf' is no number; fill it in, or leave it out"),
        ("x\n1e99999999999999999999\n", ", line 2: column 'x': '1e99999999999999999999' is no number; fill it in, or"),
        ('x\n1\n"2\n', ", line 3: unexpected end of data; give a CSV file with commas"),
        ("x\n1\n\xff", ": byte 0xFF at offset 4 (line 3) is not valid utf-8; give a CSV file in UTF-8"),
    ],
)
def test_what_is_no_column_of_numbers_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "x.csv").write_bytes(content.encode("latin-1"))
    assert message_of(text_of, tmp_path / "x.csv", "x").startswith(f"{str(tmp_path / 'x.csv')!r}{said}")


def test_its_name_is_that_of_a_file() -> None:
    column = "a/b\0 \udcff" + "x" * 300
    assert UpDown.parse(f"updown:C:\\data/x.csv:{column}") == UpDown("C:\\data/x.csv", column)
    name = UpDown("x.csv", column).name
    assert name.startswith("updown-a-b-xxx")
    assert len(name) == 100
