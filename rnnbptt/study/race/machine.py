"""What bits depend on beside text, options and seed."""

import platform

import numpy
import torch

from rnnbptt.version import __version__


def versions_and_machine() -> dict[str, str]:
    """Of this process, by name."""
    return {
        "rnnbptt": __version__,
        "Python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": torch.backends.cpu.get_cpu_capability(),
    }
