"""Solvable models of learning: train them, predict them from theory, overlay the two."""

from importlib.metadata import version as _version

__version__ = _version("solvable")
