"""Sparse-token classification: attention against linear classifiers when a weak signal hides in few tokens.

The model and protocol of arXiv:2509.25153. `SparseTokens` is the task; `TwoStepAttention`, `FixedQueryAttention`,
`PooledLinear` and `FlatLinear` are the algorithms; `simulate` trains them, `predict` solves their limit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
