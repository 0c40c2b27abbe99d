"""The figures of sparse-token classification, as declarations."""

from solvable.attention.sparse_tokens.experiments.errors import ErrorAgainstRatio as ErrorAgainstRatio
from solvable.attention.sparse_tokens.experiments.errors import Rates as Rates
from solvable.attention.sparse_tokens.experiments.errors import Representation as Representation
from solvable.attention.sparse_tokens.experiments.errors import Universality as Universality
from solvable.attention.sparse_tokens.experiments.geometry import AlignmentAgainstRatio as AlignmentAgainstRatio
from solvable.attention.sparse_tokens.experiments.geometry import Capacity as Capacity
from solvable.attention.sparse_tokens.experiments.geometry import PhaseDiagram as PhaseDiagram
from solvable.attention.sparse_tokens.experiments.geometry import Surrogate as Surrogate
