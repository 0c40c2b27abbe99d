"""Token selection: which token softmax attention settles on in training, and the max-margin direction it takes there.

l_p mirror descent on the key-query matrix (arXiv:2410.14581), gradient descent on it or its factors
(arXiv:2308.16898), and normalised and Polyak steps (arXiv:2402.05738). `SelectionProblem` is the problem,
`RandomSelection` and `EqualScores` are laws that draw it; `MirrorDescent` is the algorithm; `max_margin` solves for the
direction; `simulate` trains and measures, `predict` says what theory expects.
"""

from solvable.attention.token_selection.algorithms import MirrorDescent as MirrorDescent
from solvable.attention.token_selection.algorithms import SelectionRun as SelectionRun
from solvable.attention.token_selection.algorithms import TrainingPath as TrainingPath
from solvable.attention.token_selection.algorithms import linear_growth as linear_growth
from solvable.attention.token_selection.geometry import correlation as correlation
from solvable.attention.token_selection.geometry import directional_divergence as directional_divergence
from solvable.attention.token_selection.max_margin import MaxMargin as MaxMargin
from solvable.attention.token_selection.max_margin import decoder_max_margin as decoder_max_margin
from solvable.attention.token_selection.max_margin import locally_optimal as locally_optimal
from solvable.attention.token_selection.max_margin import margin_ratio as margin_ratio
from solvable.attention.token_selection.max_margin import max_margin as max_margin
from solvable.attention.token_selection.max_margin import support_tokens as support_tokens
from solvable.attention.token_selection.outcome import SelectionOutcome as SelectionOutcome
from solvable.attention.token_selection.path import RegularizationPath as RegularizationPath
from solvable.attention.token_selection.path import regularization_path as regularization_path
from solvable.attention.token_selection.results import SelectionResult as SelectionResult
from solvable.attention.token_selection.simulate import simulate as simulate
from solvable.attention.token_selection.task import EqualScores as EqualScores
from solvable.attention.token_selection.task import RandomSelection as RandomSelection
from solvable.attention.token_selection.task import SelectionProblem as SelectionProblem
from solvable.attention.token_selection.task import two_sequences as two_sequences
from solvable.attention.token_selection.theories import theories as theories
from solvable.attention.token_selection.theory import predict as predict
from solvable.numerics.losses import DecreasingLoss as DecreasingLoss
