"""The version, where whatever needs it finds it without loading anything else."""

__version__ = "0.1.0"
