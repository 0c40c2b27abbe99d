"""Diagonal linear networks: the lasso path they follow, and the coordinates they learn one by one."""

from typing import TYPE_CHECKING, Any

from solvable.networks.diagonal.algorithms import GradientDescent as GradientDescent
from solvable.networks.diagonal.algorithms import GradientFlow as GradientFlow
from solvable.networks.diagonal.algorithms import Run as Run
from solvable.networks.diagonal.algorithms import first_kink as first_kink
from solvable.networks.diagonal.lasso import LassoPath as LassoPath
from solvable.networks.diagonal.lasso import lasso_objective as lasso_objective
from solvable.networks.diagonal.lasso import lasso_path as lasso_path
from solvable.networks.diagonal.lasso import monotonicity_bound as monotonicity_bound
from solvable.networks.diagonal.limit import LimitPath as LimitPath
from solvable.networks.diagonal.limit import limit_path as limit_path
from solvable.networks.diagonal.measures import suboptimality as suboptimality
from solvable.networks.diagonal.outcome import DiagonalOutcome as DiagonalOutcome
from solvable.networks.diagonal.quadratic import Quadratic as Quadratic
from solvable.networks.diagonal.share import must_be_monotone as must_be_monotone
from solvable.networks.diagonal.simulate import simulate as simulate
from solvable.networks.diagonal.task import Anticorrelated as Anticorrelated
from solvable.networks.diagonal.task import RandomRegression as RandomRegression
from solvable.networks.diagonal.theories import theories as theories
from solvable.networks.diagonal.theory import predict as predict

if TYPE_CHECKING:
    from solvable.networks.diagonal.regressor import DiagonalLassoRegressor as DiagonalLassoRegressor


def __getattr__(name: str) -> Any:
    """The regressor is imported when it is asked for: scikit-learn takes longer to load than all the rest."""
    if name == "DiagonalLassoRegressor":
        from solvable.networks.diagonal.regressor import DiagonalLassoRegressor

        return DiagonalLassoRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
