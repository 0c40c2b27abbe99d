"""Mathematics that knows no model: losses, quadrature, solves with results, convex programs."""

from solvable.numerics.erm import ERMSolution as ERMSolution
from solvable.numerics.erm import ridge_erm as ridge_erm
from solvable.numerics.estimate import Estimate as Estimate
from solvable.numerics.losses import DecreasingLoss as DecreasingLoss
from solvable.numerics.losses import Hinge as Hinge
from solvable.numerics.losses import Logistic as Logistic
from solvable.numerics.losses import Loss as Loss
from solvable.numerics.losses import Square as Square
from solvable.numerics.results import Result as Result
from solvable.numerics.results import SolveError as SolveError
from solvable.numerics.separability import Separability as Separability
from solvable.numerics.separability import is_separable as is_separable
