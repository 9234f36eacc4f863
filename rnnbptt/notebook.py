"""What a notebook needs of the package, in five functions that print nothing.

`from rnnbptt import load, sample` and so on loads this file when the first of its names is asked for. Whoever needs
more finds it in the rooms that these functions call.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from rnnbptt.inference import sampling
from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.prompts import as_trained
from rnnbptt.model.config import ModelConfig
from rnnbptt.study import comparing
from rnnbptt.study.results import Comparison
from rnnbptt.text import preparing
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.raw import readable
from rnnbptt.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.records import Record
from rnnbptt.training.starting import RunConfig, begin


def prepare(text: str | Path, out: str | Path, options: TextOptions | None = None, *, force: bool = False) -> Corpus:
    """Turn a text file into the corpus folder `out`; a corpus that is there already is replaced only with `force`."""
    return preparing.prepare([text], out, options or TextOptions(), force=force)


def train(
    text: str | Path,
    run: str | Path,
    training: TrainConfig | None = None,
    model: ModelConfig | None = None,
    *,
    force: bool = False,
    show: Callable[[Record], object] = lambda record: None,
) -> Checkpoint:
    """Train on a text file or a prepared corpus to the end of the budget, and give the best checkpoint.

    The vocabulary of the model is set to that of the text. The files are left in the folder `run`; a run that is there
    already is replaced only with `force`. Each record, a line of metrics.jsonl, also goes to `show`, such as `print`.
    """
    config = RunConfig([Path(text)], Path(run), training or TrainConfig(), model or RunConfig.model, force=force)
    for record in RunFolder(config.folder).follow(begin(config)):
        show(record)
    return load(run)


def load(path: str | Path) -> Checkpoint:
    """The best checkpoint of a run folder, or the one in a .safetensors file."""
    return load_checkpoint(find_checkpoint(Path(path)))


def sample(checkpoint: Checkpoint, prompt: str = "", length: int = 500, temperature: float = 1.0, seed: int = 0) -> str:
    """Characters, `length` of them and 1 at least, that go on from the prompt, which is not repeated.

    The prompt is treated as the text was; what was rare there is read as the unknown symbol. Of a model of bytes, each
    byte that is no part of a character is given as U+FFFD. Below 1 the temperature makes the text safer, above 1
    wilder; 0: always the most probable symbol.
    """
    given, vocabulary = SampleConfig(prompt, length, temperature, seed=seed), checkpoint.vocabulary
    config, _ = as_trained(given, vocabulary, checkpoint.document.corpus.options)
    return readable("".join(sampling.sample(checkpoint.build_model(), vocabulary, config)))


def compare(paths: Sequence[str | Path], text: str | Path | None = None, *, skip_unknown: bool = False) -> Comparison:
    """Evaluate run folders or checkpoint files on a text file, or else on the held-out text of their corpus.

    With `skip_unknown` the characters that one of them has no symbol for are left out of the text file for all.
    """
    text = None if text is None else Path(text)
    return comparing.compare([Path(path) for path in paths], text, skip_unknown=skip_unknown)
