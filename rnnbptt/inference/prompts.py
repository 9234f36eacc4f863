"""What a prompt and a stop string mean to a model: they are treated as the text that it was trained on was."""

import unicodedata
from dataclasses import replace

from rnnbptt.inference.config import SampleConfig
from rnnbptt.text.options import TextOptions
from rnnbptt.text.vocabulary import Vocabulary

NAMED = 8  # characters that a note names


def as_trained(config: SampleConfig, vocabulary: Vocabulary, options: TextOptions) -> tuple[SampleConfig, list[str]]:
    """The configuration with the prompt and the stop string that the model reads, and what is to be said about that.

    Of characters, a byte-order mark at the start is dropped, and they are composed where those of the text were; bytes
    are left as they are. UserError for a character of the prompt that the vocabulary has no symbol for, not even the
    unknown one.
    """
    prompt = _prepared(config.prompt, options)
    stop = _prepared(config.stop, options) or config.stop  # which may be a mark alone, in the middle of a text
    vocabulary.encode(prompt)  # refuses what no symbol stands for
    notes = []
    if unknown := [prompt[position] for position in vocabulary.lacking(prompt)]:
        names = [repr(char) for char in dict.fromkeys(unknown)]
        named = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} others" if names[NAMED:] else "")
        read = "character of the prompt is" if len(unknown) == 1 else "characters of the prompt are"
        notes.append(f"{len(unknown):,} {read} read as the unknown symbol of the vocabulary: {named}.")
    return replace(config, prompt=prompt, stop=stop), notes


def _prepared(text: str, options: TextOptions) -> str:
    if options.unit == "byte":
        return text
    text = text.removeprefix("\ufeff")
    return unicodedata.normalize("NFC", text) if options.nfc else text
