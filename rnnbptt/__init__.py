"""Character-level recurrent networks with a chosen truncation of back-propagation through time."""

__version__ = "0.1.0"
