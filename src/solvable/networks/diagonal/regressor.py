"""A scikit-learn regressor: a diagonal linear network stopped at the time that goes with a lasso penalty."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, cast

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from solvable.networks.diagonal.algorithms import GradientFlow
from solvable.networks.diagonal.lasso import LassoPath, lasso_path
from solvable.networks.diagonal.measures import relative_gap
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.validation import floating, number, real_array, unmasked


class DiagonalLassoRegressor(RegressorMixin, BaseEstimator):
    """Linear regression by a diagonal network x = u v, trained by gradient flow and averaged over its training.

    The average of x up to the rescaled time s = 1/(n alpha) is close to the lasso of scikit-learn,

        min over x of |y - X x|^2 / (2 n) + alpha |x|_1,

    though nothing is penalised: where the lasso path up to s is monotone (`monotone_`), its objective tends to the
    lasso's as the initialisation vanishes (Theorems 2.1 and 2.2 of arXiv:2509.18766); otherwise a gap can stay. Where
    columns depend on each other the lasso can have many solutions, of which the network need not pick scikit-learn's:
    it shares the weight of equal columns equally.

    Arguments
        alpha: the penalty, > 0; with alpha = 0 the training would never end.
        log_scale: log eps < 0, any (-1000 is solved as exactly as -10). u starts at 2 sqrt(eps c) and v at 0 (for
            `positive` u at sqrt(eps c)), c = max_i |r_i| / max_i M_ii, r = X^T y and M = X^T X of the centred data,
            so that to change the units of y, or those of all of X, with alpha changes nothing but the units. At
            -11.5, a common choice for networks, the coefficients of what the lasso leaves out are not small.
        fit_intercept: centre X and y first. positive: x = u u, which follows the lasso over x >= 0.

    Attributes after fit
        coef_ (d,), intercept_: the averaged network. Unlike the lasso's, its small coefficients are not set to zero, so
            that `gap_` is that of the network: take `support_` or `sparse_coef_` where zeros are wanted.
        support_ (d,): whether |coef_i| > c L^(-3/2), L = |log_scale|. As |x_i| <= c e^(-L b) when its dual is b below
            the bound 1, a coordinate whose dual stayed 3 log(L) / (2 L) below it is never in the support (derived); a
            lasso coefficient below the threshold can be missed. Both tolerances vanish with the initialisation.
        sparse_coef_: `coef_` as a sparse row (1, d) that holds the support only.
        time_: s. gap_: (objective of coef_ - objective of the lasso) / objective of the lasso, on the centred data.
        monotone_: whether no coordinate of mu x(mu), x the lasso with inverse penalty mu, turns back before s.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    def __init__(
        self, alpha: float = 1.0, *, log_scale: float = -100.0, fit_intercept: bool = True, positive: bool = False
    ) -> None:
        self.alpha = alpha
        self.log_scale = log_scale
        self.fit_intercept = fit_intercept
        self.positive = positive

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DiagonalLassoRegressor:
        """Fit on X (n, d) and y (n,); `sample_weight` (n,) >= 0 counts rows as that many copies, rescaled to sum to n.

        Raises: ValueError for data or parameters that are not accepted; SolveError when the training fails.
        """
        alpha = _above_zero("alpha", self.alpha)
        data = self._centred(X, y, sample_weight)
        self.coef_ = self._train(data, np.array([alpha]))[0]
        self.intercept_ = data.intercept(self.coef_)
        self.time_ = 1.0 / (data.samples * alpha)
        self.support_ = np.abs(self.coef_) > (-float(self.log_scale)) ** -1.5 * data.problem.unit
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of ties; the lasso's least objective has none
            path = lasso_path(data.problem, positive=bool(self.positive))
        self.gap_ = float(relative_gap(data.problem, path, self.coef_[None], np.array([self.time_]), 0.0)[0])
        self.monotone_ = _until(path, self.time_).monotone
        return self

    def coef_path(self, X: Any, y: Any, alphas: Any, sample_weight: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (K, d) and intercepts (K,) for all `alphas` (K,) > 0, in their order, from one training.

        One training passes all penalties, so that this costs hardly more than `fit`. The estimator stays as it is, and
        its own `alpha` is not read. Raises: as `fit`.
        """
        alphas = np.atleast_1d(floating("alphas", alphas, np.float64))
        if alphas.ndim != 1 or alphas.size == 0:
            raise ValueError(f"alphas has shape {alphas.shape}; accepted: (K,) with K >= 1")
        _above_zero("alphas", alphas.min())
        data = cast(Any, clone(self))._centred(X, y, sample_weight)
        order = np.argsort(-alphas, kind="stable")
        coefficients = np.empty((alphas.size, data.problem.dim))
        coefficients[order] = self._train(data, alphas[order])
        return coefficients, data.intercept(coefficients)

    def predict(self, X: Any) -> np.ndarray:
        """X @ coef_ + intercept_ (n,)."""
        check_is_fitted(self)
        X = validate_data(self, _without_masks_or_texts("X", X), reset=False, dtype=np.float64)
        return X @ self.coef_ + self.intercept_

    @property
    def sparse_coef_(self) -> csr_array:
        """`coef_` on its support, (1, d)."""
        check_is_fitted(self)
        return csr_array(np.where(self.support_, self.coef_, 0.0)[None])

    def _centred(self, X: Any, y: Any, sample_weight: Any) -> _Data:
        for name, value in (("X", X), ("y", y), ("sample_weight", sample_weight)):
            _without_masks_or_texts(name, value)
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not np.sum(weights) > 0.0:
            raise ValueError("sample_weight sums to 0; accepted: weights >= 0 of which one at least is above 0")
        count, mean, target = len(y), np.zeros(X.shape[1]), 0.0
        if self.fit_intercept:
            (X, mean), (y, target) = _without_mean(X, weights), _without_mean(y, weights)
        root = np.sqrt(weights * (count / np.sum(weights)))
        return _Data(Quadratic.from_data(root[:, None] * X, root * y), count, mean, target)

    def _train(self, data: _Data, alphas: np.ndarray) -> np.ndarray:
        """The averages (K, d) that go with falling `alphas` (K,)."""
        log_scale = number("log_scale", self.log_scale, below=0.0)
        if data.problem.unit == 0.0:  # the start is 0, and so is its gradient
            return np.zeros((len(alphas), data.problem.dim))
        # |x| is the unit where the dual meets its bound: u u is first^2 e^(L (omega - 1)), u v a quarter of it
        first = np.sqrt(data.problem.unit) * (1.0 if self.positive else 2.0)
        network = GradientFlow(log_scale, "square" if self.positive else "product", first_layer=first)
        return np.asarray(network.train(data.problem, at=1.0 / (data.samples * alphas)).average)


def _without_masks_or_texts(name: str, value: Any) -> Any:
    """What scikit-learn takes for numbers without a word is refused; all else is left to its own checks."""
    if np.asarray(unmasked(name, value)).dtype.kind in "SUmMV":
        real_array(name, value)
    return value


class _Data(NamedTuple):
    """The centred problem of n `samples`, and the means that were taken off."""

    problem: Quadratic
    samples: int
    mean: np.ndarray
    target: Any

    def intercept(self, coefficients: np.ndarray) -> Any:
        """target - <mean, x> of coefficients x (..., d)."""
        return self.target - coefficients @ self.mean


def _without_mean(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, Any]:
    """`values` less their weighted mean over the first axis, and the mean; what is constant is left exactly zero."""
    mean = np.average(values, axis=0, weights=weights)
    constant = np.all(values == values[0], axis=0)
    return np.where(constant, 0.0, values - mean), mean


def _above_zero(name: str, alpha: Any) -> float:
    if not isinstance(alpha, str) and np.ndim(alpha) == 0 and alpha == 0:
        raise ValueError(f"{name}=0 is out of range, as no finite time goes with it; accepted: a finite number > 0")
    alpha = float(number(name, alpha, above=0.0, at_most=1e300))
    return float(number(name, alpha, at_least=1e-300))  # the time that goes with it is a number


def _until(path: LassoPath, mu: float) -> LassoPath:
    """The part of a path that begins before mu."""
    count = int(np.searchsorted(path.kinks, mu))
    return LassoPath(path.kinks[:count], path.values[:count], path.slopes[:count], path.active[:count])
