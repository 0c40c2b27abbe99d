"""Single-location regression: one token of a sequence, at an unknown place, carries the label.

One erf-attention head learns where to look and what to read by projected gradient descent on two spheres
(arXiv:2410.01537). `SingleLocation` is the task, `ProjectedDescent` the algorithm; `excess_risk` is exact and
differentiable; `simulate` trains, `predict` follows five numbers.
"""

from solvable.attention.single_location.algorithms import ProjectedDescent as ProjectedDescent
from solvable.attention.single_location.algorithms import SingleLocationRun as SingleLocationRun
from solvable.attention.single_location.baselines import Floor as Floor
from solvable.attention.single_location.baselines import bayes_risk as bayes_risk
from solvable.attention.single_location.baselines import floor as floor
from solvable.attention.single_location.baselines import free_value as free_value
from solvable.attention.single_location.baselines import linear_attention_risk as linear_attention_risk
from solvable.attention.single_location.baselines import linear_risk as linear_risk
from solvable.attention.single_location.baselines import swap_point as swap_point
from solvable.attention.single_location.outcome import SingleLocationOutcome as SingleLocationOutcome
from solvable.attention.single_location.overlaps import Overlaps as Overlaps
from solvable.attention.single_location.risk import excess_risk as excess_risk
from solvable.attention.single_location.simulate import simulate as simulate
from solvable.attention.single_location.task import Directions as Directions
from solvable.attention.single_location.task import LocatedTokens as LocatedTokens
from solvable.attention.single_location.task import SingleLocation as SingleLocation
from solvable.attention.single_location.theories import theories as theories
from solvable.attention.single_location.theory import predict as predict
from solvable.numerics.estimate import Estimate as Estimate
