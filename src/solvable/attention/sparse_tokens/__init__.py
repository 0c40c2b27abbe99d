"""Sparse-token classification: attention against linear classifiers when a weak signal hides in few tokens.

The model and protocol of arXiv:2509.25153. `SparseTokens` is the task; `TwoStepAttention`, `FixedQueryAttention`,
`PooledLinear` and `FlatLinear` are the algorithms; `simulate` trains them, `predict` solves their limit.
"""

from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention as FixedQueryAttention
from solvable.attention.sparse_tokens.algorithms import FlatLinear as FlatLinear
from solvable.attention.sparse_tokens.algorithms import PooledLinear as PooledLinear
from solvable.attention.sparse_tokens.algorithms import TwoStepAttention as TwoStepAttention
from solvable.attention.sparse_tokens.alignment import Alignment as Alignment
from solvable.attention.sparse_tokens.alignment import alignment as alignment
from solvable.attention.sparse_tokens.alignment import alignment_constant as alignment_constant
from solvable.attention.sparse_tokens.alignment import fixed_query as fixed_query
from solvable.attention.sparse_tokens.capacity import capacity as capacity
from solvable.attention.sparse_tokens.classifiers import AttentionClassifier as AttentionClassifier
from solvable.attention.sparse_tokens.classifiers import FlatClassifier as FlatClassifier
from solvable.attention.sparse_tokens.features import Quadrature as Quadrature
from solvable.attention.sparse_tokens.limits import bayes_error as bayes_error
from solvable.attention.sparse_tokens.limits import flat_oracle_error as flat_oracle_error
from solvable.attention.sparse_tokens.limits import limit_error as limit_error
from solvable.attention.sparse_tokens.limits import oracle_error as oracle_error
from solvable.attention.sparse_tokens.limits import pooled_oracle_error as pooled_oracle_error
from solvable.attention.sparse_tokens.outcome import SparseTokenOutcome as SparseTokenOutcome
from solvable.attention.sparse_tokens.results import SparseTokenResult as SparseTokenResult
from solvable.attention.sparse_tokens.separability import separable as separable
from solvable.attention.sparse_tokens.simulate import simulate as simulate
from solvable.attention.sparse_tokens.task import Batch as Batch
from solvable.attention.sparse_tokens.task import SparseTokens as SparseTokens
from solvable.attention.sparse_tokens.theories import theories as theories
from solvable.attention.sparse_tokens.theory import predict as predict
from solvable.attention.sparse_tokens.tune import one_more_bag as one_more_bag
from solvable.attention.sparse_tokens.tune import tune as tune
from solvable.numerics.estimate import Estimate as Estimate
