"""Diagonal linear networks: the lasso path they follow, and the coordinates they learn one by one."""

import lazy_loader

from solvable.networks.diagonal.theories import theories as theories  # light, and its file has its name

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
