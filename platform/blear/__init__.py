"""blear: recognition that survives bad video."""

from importlib.metadata import version

__version__ = version("blear")
