"""Character-level recurrent networks with a chosen truncation of back-propagation through time."""

from typing import TYPE_CHECKING, Any

from rnnbptt.version import __version__ as __version__

if TYPE_CHECKING:
    from rnnbptt.notebook import compare, load, prepare, sample, train

__all__ = ["compare", "load", "prepare", "sample", "train"]


def __getattr__(name: str) -> Any:
    """The functions of notebook.py, loaded when the first is asked for: without them the package needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rnnbptt import notebook

    return getattr(notebook, name)
