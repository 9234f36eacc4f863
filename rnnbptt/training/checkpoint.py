"""One safetensors file a checkpoint: tensors by name, everything else as one JSON document in its metadata.

No pickle: a checkpoint from a stranger can be opened safely. Tensors: `model.*`, `optimizer.*`, and what the engine and
the streams keep, `state.*`, `rng.*`, `influence.*`, `history.*`, `streams.*`. Below `model.` the names are those of
torch.nn (`rnn.weight_ih_l0`, ..., `head.weight`), so that torch.nn.RNN, GRU, LSTM and Linear load them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.window import create_network
from rnnbptt.errors import UserError
from rnnbptt.model.parameters import check_weights
from rnnbptt.model.shapes import parameter_shapes
from rnnbptt.storage.files import whole_file
from rnnbptt.text.raw import SURROGATE
from rnnbptt.text.vocabulary import Vocabulary
from rnnbptt.training.document import Document

RUNS = Path("runs")  # where runs go unless told otherwise


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    path      the file
    tensors   by full name, on the CPU
    document  all that is no tensor
    """

    path: Path
    tensors: dict[str, Tensor]
    document: Document

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix.`, by the rest of their names."""
        return {name[len(prefix) + 1 :]: t for name, t in self.tensors.items() if name.startswith(prefix + ".")}

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols the model reads and writes."""
        return self.document.vocabulary

    def build_model(self, precision: str = "float32", device: str = "cpu") -> CharRNN:
        """The model with its weights; UserError when weights and configuration do not belong together."""
        try:
            weights = self.group("model")
            check_weights(parameter_shapes(self.document.model), weights)  # before anything of that size is made
            model = create_network(self.document.model, precision, device)
            model.parameters.load(weights)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
        return model

    @contextmanager
    def read(self, advice: str) -> Iterator[None]:
        """Where its tensors are taken: UserError where one is missing (KeyError), or does not fit."""
        try:
            yield
        except KeyError as error:
            raise UserError(f"{self.path}: damaged: it lacks {error}; {advice}") from None
        except UserError as error:
            raise UserError(f"{self.path}: damaged: {error}; {advice}") from None


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], document: Document) -> None:
    """Write the file whole or not at all: a crash leaves the one that was there."""
    data = save({name: t.contiguous().cpu() for name, t in tensors.items()}, {"rnnbptt": document.to_json()})
    with whole_file(path) as partial:
        partial.write_bytes(data)


def check_name(path: Path) -> None:
    """UserError where safetensors could not read a checkpoint under that name."""
    if SURROGATE.search(str(path)):  # how Python has a byte that is not UTF-8
        raise UserError(f"{path}: the name is not UTF-8, as safetensors wants it; give the folder another name")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file; UserError when it is missing, damaged, foreign or of a newer format."""
    if not path.is_file():
        meant = (
            f"did you mean {RUNS / path}?"
            if not path.is_absolute() and (RUNS / path).is_dir()
            else "rnnbptt info lists those in runs/"
        )
        raise UserError(f"{path}: no such run or checkpoint; {meant}")
    check_name(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        advice = "give a run folder, or a .safetensors file of one"
        raise UserError(f"{path}: no checkpoint, or a damaged one ({error}); {advice}") from None
    if "rnnbptt" not in metadata:
        raise UserError(f"{path}: a safetensors file, but not a checkpoint of rnnbptt (its metadata lacks 'rnnbptt')")
    try:
        return Checkpoint(path, tensors, Document.from_json(metadata["rnnbptt"]))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {error}, in its document; take another checkpoint of that run") from None


def find_checkpoint(path: Path, name: str = "best") -> Path:
    """What a checkpoint argument means: a file, or in a run folder NAME.safetensors (last where there is none)."""
    if not path.is_dir():
        return path
    for candidate in (path / f"{name}.safetensors", path / "last.safetensors"):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"{path}: a folder without checkpoints; give a run folder (such as runs/NAME) or a .safetensors file"
    )
