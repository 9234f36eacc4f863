"""The curves of a run where TensorBoard shows them: an extra."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from rnnbptt.errors import UserError
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.records import Record

AXES = ("kind", "chars", "split", "settled")  # of a record; what else it has is a curve


def check_installed() -> None:
    """UserError where TensorBoard is not."""
    try:
        import_module("torch.utils.tensorboard")
    except ImportError:
        raise UserError("--tensorboard: not installed; type: pip install 'rnnbptt[tensorboard]'") from None


@contextmanager
def writing(folder: Path | None, chars: int) -> Iterator[Callable[[Record], None]]:
    """Give a function that writes a record into the curves of the run in the folder, which go on after character
    `chars`; without a folder it does nothing.
    """
    if folder is None:
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(RunFolder(folder).curves), purge_step=chars + 1) as writer:

        def write(record: Record) -> None:
            for name, value in record.items():
                if name not in AXES:
                    writer.add_scalar(f"{record['kind']}/{name}", value, record["chars"])

        yield write
