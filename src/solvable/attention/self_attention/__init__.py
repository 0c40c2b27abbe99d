"""Self-attention: one softmax layer fitted to linear regression, whose limit is a matrix factorisation."""

import lazy_loader

# a module of this name takes the mapping's place once it is imported, unless it is imported first
from solvable.attention.self_attention.theories import theories as theories

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
