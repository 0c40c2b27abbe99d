"""Gossip: averaging on networks by neighbours alone, its polynomials, its activations at random, its limits."""

import lazy_loader

from solvable.iterations.gossip.theories import theories as theories  # light, and its file has its name

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
