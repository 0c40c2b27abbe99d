"""Token selection: which token softmax attention settles on in training, and the max-margin direction it takes there.

l_p mirror descent on the key-query matrix (arXiv:2410.14581), gradient descent on it or its factors
(arXiv:2308.16898), and normalised and Polyak steps (arXiv:2402.05738). `SelectionProblem` is the problem,
`RandomSelection` and `EqualScores` are laws that draw it; `MirrorDescent` is the algorithm; `max_margin` solves for the
direction; `simulate` trains and measures, `predict` says what theory expects.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
