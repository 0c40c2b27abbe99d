"""Single-location regression: one token of a sequence, at an unknown place, carries the label.

One erf-attention head learns where to look and what to read by projected gradient descent on two spheres
(arXiv:2410.01537). `SingleLocation` is the task, `ProjectedDescent` the algorithm; `excess_risk` is exact and
differentiable; `simulate` trains, `predict` follows five numbers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
