"""Continuized acceleration: gradient steps at random times, with exact expected curves and bounds.

`Quadratic`, `LeastSquares`, `GaussianLeastSquares` and `Objective` are problems; `Continuized` is the method of
arXiv:2106.07644, `Nesterov`, `GradientDescent`, `HeavyBall` and `StochasticGradient` those it is compared with;
`simulate` runs, `predict` has the exact second moments and the bounds.
"""

import lazy_loader

from solvable.iterations.continuized.theories import theories as theories  # light, and its file has its name

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
