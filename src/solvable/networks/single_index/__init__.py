"""Two-layer networks on a single-index target, which learn one Hermite degree after the other."""

import lazy_loader

from solvable.networks.single_index.theories import theories as theories  # light, and its file has its name

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
