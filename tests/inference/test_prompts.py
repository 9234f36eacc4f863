"""A prompt is treated as the text that the model was trained on was."""

from __future__ import annotations

from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.prompts import as_trained
from rnnbptt.text.options import TextOptions
from rnnbptt.text.vocabulary import UNKNOWN, Vocabulary
from support.refusals import message_of

CHARS = Vocabulary("char", tuple("acefé"))
PLAIN, NFC, BYTE = TextOptions(), TextOptions(nfc=True), TextOptions(unit="byte")


def read(prompt: str, vocabulary: Vocabulary, options: TextOptions, stop: str = "") -> tuple[str, str, list[str]]:
    """The prompt and the stop string that the model reads, and the notes."""
    config, notes = as_trained(SampleConfig(prompt, 7, stop=stop), vocabulary, options)
    assert config == SampleConfig(config.prompt, 7, stop=config.stop)
    return config.prompt, config.stop, notes


def test_a_byte_order_mark_at_the_start_is_dropped_once() -> None:
    marked = Vocabulary("char", (*CHARS.symbols, "\ufeff"))
    assert read("\ufeffcafé", CHARS, PLAIN, "\ufeffé") == ("café", "é", [])
    assert read("\ufeff\ufeffca\ufeff", marked, PLAIN) == ("\ufeffca\ufeff", "", [])
    assert read("", marked, PLAIN, "\ufeff")[1] == "\ufeff", "a text may have one in its middle"


def test_it_is_composed_where_the_text_was() -> None:
    assert read("cafe\u0301", CHARS, NFC, "e\u0301") == ("café", "é", [])
    assert "U+0301" in message_of(read, "cafe\u0301", CHARS, PLAIN)


def test_bytes_are_left_as_they_are() -> None:
    of_bytes = Vocabulary("byte", tuple(sorted({chr(byte) for byte in "\ufeffe\u0301\xff".encode() + b"\xff"})))
    given = "\ufeffe\u0301\udcff"
    assert read(given, of_bytes, BYTE, given) == (given, given, [])


def test_what_was_rare_is_the_unknown_symbol_and_said() -> None:
    rare = Vocabulary("char", ("a", "b", UNKNOWN), unknown=2)
    assert read("abx", rare, PLAIN)[2] == [
        "1 character of the prompt is read as the unknown symbol of the vocabulary: 'x'."
    ]
    assert read("axby\nx", rare, PLAIN)[2] == [
        "4 characters of the prompt are read as the unknown symbol of the vocabulary: 'x', 'y', '\\n'."
    ]
    assert read("0123456789", rare, PLAIN)[2][0].endswith(": '0', '1', '2', '3', '4', '5', '6', '7' and 2 others.")
    assert read("ab", rare, PLAIN)[2] == []
    assert message_of(read, "cafx", CHARS, PLAIN) == (
        "the vocabulary has no character 'x' (U+0078, position 4 of the prompt); "
        "leave it out, or train on a text that has it"
    )
