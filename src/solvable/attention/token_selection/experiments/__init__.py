"""The figures of token selection, as declarations."""

from solvable.attention.token_selection.experiments.solutions import GlobalLocal as GlobalLocal
from solvable.attention.token_selection.experiments.solutions import Path as Path
from solvable.attention.token_selection.experiments.solutions import Rank as Rank
from solvable.attention.token_selection.experiments.training import Direction as Direction
from solvable.attention.token_selection.experiments.training import Factored as Factored
from solvable.attention.token_selection.experiments.training import Joint as Joint
from solvable.attention.token_selection.experiments.training import Rates as Rates
from solvable.attention.token_selection.experiments.training import Sparsity as Sparsity
