"""Two-layer networks with slow positions and fast weights: which jumps of a target are learnt, and when.

`PiecewiseConstant` is the target, `Descent` and `GradientFlow` train, `limit_flow` is the limit of vanishing step-size
ratio and width, in closed form for pairs of neurons and from event to event for the others (arXiv:2304.09576).
"""

import lazy_loader

from solvable.networks.two_timescale.theories import theories as theories  # light, and its file has its name

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
