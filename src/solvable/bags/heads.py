"""The convex head on pooled features: linear or with an RBF kernel, square or logistic loss.

J(f) = |f|^2/2 + C sum_i weight_i loss(t_i, f(x_i) + b) with the bias b free and |f| the norm of the kernel's space. The
square loss is (t - f)^2/2, which makes a least-squares support vector machine, the logistic one log(1 + e^{-t f}). The
kernel is the mean over the blocks of features (one block a pooling) of k(x, x') = exp(-|x - x'|^2/p) for "rbf" and
<x, x'>/p for "linear", with p the number of features of the block that vary, so that k(x, x) is about one for either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs
from scipy.special import expit

MAX_STEPS = 100
TOLERANCE = 1e-10
MAX_KERNEL_BAGS = 20_000
SLIGHT = 1e-6  # the slope, a deviation of the scores, where held-out scores give no reason for one


@dataclasses.dataclass(frozen=True)
class Head:
    """A fitted head: f(x) = k(x, anchors) weights + bias, or <x, weights> + bias where `anchors` is None.

    `slope` and `shift` map f to log odds, slope f + shift; `widths` are the varying features of each block.
    """

    anchors: np.ndarray | None
    weights: np.ndarray
    bias: float
    slope: float
    shift: float
    widths: tuple[int, ...]

    def scores(self, features: np.ndarray) -> np.ndarray:
        """f, (n,)."""
        if self.anchors is None:
            return features @ self.weights + self.bias
        # A few rows of the kernel at a time, so that scoring many bags takes little memory.
        rows = max(1, 2**22 // len(self.anchors))
        parts = [
            rbf_kernel(features[i : i + rows], self.anchors, self.widths) @ self.weights
            for i in range(0, len(features), rows)
        ]
        return np.concatenate(parts) + self.bias

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """log p/(1 - p), p the probability of the positive class, (n,)."""
        return self.slope * self.scores(features) + self.shift


def fit_head(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    held_out: np.ndarray | None = None,
    *,
    kind: str,
    loss: str,
    C: float,
    widths: tuple[int, ...],
    calibrated: bool = True,
    reweighted: bool = False,
) -> Head:
    """Minimise J; `kind` "rbf" or "linear", `loss` "square" or "logistic", features (n, p) in equal blocks.

    Probabilities: for the logistic loss expit(f); for the square loss, whose f estimates the mean target, expit(slope
    f) with Platt's slope of the leave-one-out scores, which have a closed form; `held_out` (n,) is the share of each
    bag's weight that is left out, all by default. Where the classes are `reweighted` the kernel's f does not follow, as
    it passes near every training bag whatever its weight: there, and for the linear head with the square loss, Platt's
    slope and shift.

    Raises: ValueError when the n x n kernel of "rbf" would be too large.
    """
    kept = weights > 0.0
    left_out = np.ones(kept.sum()) if held_out is None else held_out[kept]
    features, targets, weights = features[kept], targets[kept], weights[kept]
    if kind == "rbf" and len(features) > MAX_KERNEL_BAGS:
        raise ValueError(
            f"head='rbf' needs an n x n kernel of {len(features)} bags; accepted: at most {MAX_KERNEL_BAGS} bags, or "
            "head='linear'"
        )
    dual = kind == "rbf" or len(features) < features.shape[1]
    if dual:
        kernel = rbf_kernel(features, features, widths) if kind == "rbf" else features @ features.T / sum(widths)
        coefficients, bias, scores = solve_dual(kernel, targets, C * weights, loss, left_out)
        if kind == "rbf":
            anchors, solution = features, coefficients
        else:
            anchors, solution = None, features.T @ coefficients / sum(widths)
    else:
        anchors = None
        root = np.sqrt(sum(widths))
        solution, bias, scores = solve_primal(features / root, targets, C * weights, loss, left_out)
        solution = solution / root
    calibrated = calibrated and (loss == "square" or (kind == "rbf" and reweighted))
    slope, shift = sigmoid(scores, targets, weights, reweighted) if calibrated else (1.0, 0.0)
    return Head(anchors, solution, float(bias), slope, shift, widths)


def rbf_kernel(left: np.ndarray, right: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """The mean over the blocks of exp(-|x - x'|^2/p), (n, m)."""
    total = np.zeros((len(left), len(right)))
    count = len(widths)
    parts = zip(widths, np.split(left, count, axis=1), np.split(right, count, axis=1), strict=True)
    for width, x, z in parts:
        product = x @ z.T
        product *= 2.0
        product -= np.einsum("ij,ij->i", x, x)[:, None]
        product -= np.einsum("ij,ij->i", z, z)
        np.minimum(product, 0.0, out=product)  # rounding leaves a distance of about -1e-16
        product /= width
        total += np.exp(product, out=product)
    return total / count


def solve_dual(
    kernel: np.ndarray, targets: np.ndarray, strengths: np.ndarray, loss: str, left_out: np.ndarray | float = 1.0
) -> tuple[np.ndarray, float, np.ndarray]:
    """(coefficients, bias, leave-one-out scores) of the minimiser in the span of the kernel; strengths are C weight.

    Each Newton step is a weighted least-squares fit: (K + diag(1/c)) a + b = z and sum a = 0, with curvatures c and
    working responses z = f + a/c; for the square loss the first one is the answer. Without the share s_i of bag i its
    score is then z_i - a_i/(s_i H_ii + (1 - s_i) c_i), with H the inverse of that bordered matrix: exact for the square
    loss, whose z are the targets, and for the logistic loss as the others' curvatures would not change.
    """
    if loss == "square":
        inverse = _inverse(kernel + np.diag(1.0 / strengths))
        column = inverse.sum(axis=1)
        bias = (column @ targets) / column.sum()
        coefficients = inverse @ targets - bias * column
        held = _left_out(inverse, strengths, left_out)
        return coefficients, float(bias), targets - coefficients / held
    coefficients, bias, scores = np.zeros(len(targets)), 0.0, np.zeros(len(targets))

    def objective(coefficients: np.ndarray, scores: np.ndarray, bias: float) -> float:
        return float(0.5 * coefficients @ (scores - bias) + strengths @ np.logaddexp(0.0, -targets * scores))

    for _ in range(MAX_STEPS):
        curvatures, response = _working(targets, strengths, scores)
        factor = cho_factor(kernel + np.diag(1.0 / curvatures), lower=True)
        solved = cho_solve(factor, np.stack([response, np.ones_like(response)], axis=1))
        new_bias = solved[:, 0].sum() / solved[:, 1].sum()
        new = solved[:, 0] - new_bias * solved[:, 1]
        before, length = objective(coefficients, scores, bias), 1.0
        while True:
            trial = coefficients + length * (new - coefficients)
            trial_bias = bias + length * (new_bias - bias)
            trial_scores = kernel @ trial + trial_bias
            after = objective(trial, trial_scores, trial_bias)
            if after <= before + 1e-12 * (1.0 + abs(before)) or length < 1e-8:
                break
            length *= 0.5
        change = np.max(np.abs(trial_scores - scores))
        coefficients, bias, scores = trial, trial_bias, trial_scores
        if change <= TOLERANCE * (1.0 + np.max(np.abs(scores))):
            curvatures, _ = _working(targets, strengths, scores)
            held = _left_out(_inverse(kernel + np.diag(1.0 / curvatures)), curvatures, left_out)
            return coefficients, float(bias), scores + coefficients * (1.0 / curvatures - 1.0 / held)
    raise _not_converged()


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix by Cholesky: half the work of a general one."""
    factorise, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    factor, failed = factorise(matrix, lower=1)
    if failed:  # singular but for rounding
        return np.linalg.inv(matrix)
    half = np.tril(invert(factor, lower=1, overwrite_c=1)[0])
    return half + np.tril(half, -1).T


def _left_out(inverse: np.ndarray, curvatures: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """s_i H_ii + (1 - s_i) c_i of `solve_dual`, from the inverse of K + diag(1/c)."""
    column = inverse.sum(axis=1)
    diagonal = np.diagonal(inverse) - column**2 / column.sum()
    return np.maximum(share * diagonal + (1.0 - share) * curvatures, 1e-300)


def solve_primal(
    features: np.ndarray, targets: np.ndarray, strengths: np.ndarray, loss: str, left_out: np.ndarray | float = 1.0
) -> tuple[np.ndarray, float, np.ndarray]:
    """(weights, bias, scores) for a linear head, by the normal equations of the features; see `solve_dual`.

    The scores are those of leave-one-out for the square loss, and those of the fit for the logistic one.
    """
    state, statistics = minimise(
        lambda state: newton_statistics(features, targets, strengths, loss, state), features.shape[1] + 1, loss
    )
    scores = features @ state[:-1] + state[-1]
    if loss == "square":
        scores = held_out_scores(scores, targets, left_out * leverages(features, strengths, statistics.hessian))
    return state[:-1], float(state[-1]), scores


def minimise(at: Callable[[np.ndarray], Statistics], size: int, loss: str) -> tuple[np.ndarray, Statistics]:
    """((w, b), the last statistics) by Newton's method with backtracking, from what `at` says of a point.

    Each call of `at` may be a pass over bags on disk; the square loss needs one.
    """
    state = np.zeros(size)
    statistics = at(state)
    for _ in range(MAX_STEPS):
        gradient = statistics.gradient + np.append(state[:-1], 0.0)
        step = -cho_solve(cho_factor(_penalised(statistics.hessian), lower=True), gradient)
        if loss == "square":
            return step, statistics
        value, length = statistics.value + 0.5 * state[:-1] @ state[:-1], 1.0
        while True:
            trial = state + length * step
            statistics = at(trial)
            if statistics.value + 0.5 * trial[:-1] @ trial[:-1] <= value + 1e-12 * (1.0 + abs(value)) or length < 1e-8:
                break
            length *= 0.5
        change = np.max(np.abs(trial - state))
        state = trial
        if change <= TOLERANCE * (1.0 + np.max(np.abs(state))):
            return state, statistics
    raise _not_converged()


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Sums over bags at a point (w, b): the loss, its gradient and its Hessian, without the penalty. They add up."""

    value: float
    gradient: np.ndarray
    hessian: np.ndarray

    def __add__(self, other: Statistics) -> Statistics:
        """The sums over both parts."""
        return Statistics(self.value + other.value, self.gradient + other.gradient, self.hessian + other.hessian)


def newton_statistics(
    features: np.ndarray, targets: np.ndarray, strengths: np.ndarray, loss: str, state: np.ndarray
) -> Statistics:
    """The `Statistics` of bags at state = (w, b)."""
    scores = features @ state[:-1] + state[-1]
    if loss == "square":
        value = 0.5 * strengths @ (targets - scores) ** 2
        slopes, curvatures = strengths * (scores - targets), strengths
    else:
        value = strengths @ np.logaddexp(0.0, -targets * scores)
        wrong = expit(-targets * scores)
        slopes, curvatures = -strengths * targets * wrong, strengths * wrong * (1.0 - wrong)
    scaled = features * curvatures[:, None]
    hessian = np.empty((len(state), len(state)))
    hessian[:-1, :-1] = features.T @ scaled
    hessian[:-1, -1] = hessian[-1, :-1] = scaled.sum(axis=0)
    hessian[-1, -1] = curvatures.sum()
    return Statistics(float(value), np.append(features.T @ slopes, slopes.sum()), hessian)


def leverages(features: np.ndarray, strengths: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """How far the score of each bag follows its own target under the square loss, (n,)."""
    extended = np.append(features, np.ones((len(features), 1)), axis=1)
    solved = cho_solve(cho_factor(_penalised(hessian), lower=True), extended.T).T
    return strengths * np.einsum("ij,ij->i", extended, np.ascontiguousarray(solved))


def held_out_scores(scores: np.ndarray, targets: np.ndarray, leverage: np.ndarray) -> np.ndarray:
    """Leave-one-out scores of the square loss, (f_i - h_i t_i)/(1 - h_i), h_i the leverage of what is left out."""
    return (scores - leverage * targets) / np.maximum(1.0 - leverage, 1e-12)


def sigmoid(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray, shifted: bool = True) -> tuple[float, float]:
    """Platt's (slope >= 0, shift): maximum likelihood of expit(slope f + shift), targets drawn in by his prior.

    Not `shifted`, the shift is 0. A slope below 0 would say that higher scores mean the other class, which held-out
    noise can suggest; the probability is then the positives' share (one half without a shift), but for a slope of 1e-6
    that keeps the order.
    """
    positive = targets > 0.0
    up, down = weights[positive].sum(), weights[~positive].sum()
    goals = np.where(positive, (up + 1.0) / (up + 2.0), 1.0 / (down + 2.0))
    centre, spread = float(np.mean(scores)) if shifted else 0.0, float(np.std(scores)) or 1.0
    inputs = np.stack([(scores - centre) / spread, np.ones_like(scores)], axis=1)[:, : 1 + shifted]

    def loss(point: np.ndarray) -> float:
        margins = inputs @ point
        return float(weights @ (np.logaddexp(0.0, margins) - goals * margins))

    base = float(np.log((up + 1.0) / (down + 1.0))) if shifted else 0.0
    point = np.array([0.0, base])[: 1 + shifted]
    for _ in range(MAX_STEPS):
        p = expit(inputs @ point)
        gradient = inputs.T @ (weights * (p - goals))
        hessian = (inputs * (weights * p * (1.0 - p))[:, None]).T @ inputs + 1e-9 * weights.sum() * np.eye(len(point))
        step, length, value = np.linalg.solve(hessian, -gradient), 1.0, loss(point)
        while loss(point + length * step) > value + 1e-12 * abs(value) and length > 1e-8:
            length *= 0.5
        point = point + length * step
        if np.max(np.abs(length * step)) < 1e-10 * (1.0 + np.max(np.abs(point))):
            break
    else:
        raise _not_converged()
    slope, level = (point[0], point[-1] if shifted else 0.0) if point[0] > SLIGHT else (SLIGHT, base)
    return float(slope / spread), float(level - slope / spread * centre)


def _working(targets: np.ndarray, strengths: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Curvatures and working responses of the logistic loss."""
    wrong = expit(-targets * scores)
    curvatures = np.maximum(strengths * wrong * (1.0 - wrong), 1e-12 * strengths)
    return curvatures, scores + strengths * targets * wrong / curvatures


def _penalised(hessian: np.ndarray) -> np.ndarray:
    """The Hessian of J: the identity for the weights, nothing for the bias (a hair, where no bag has curvature)."""
    penalty = np.ones(len(hessian))
    penalty[-1] = 1e-12
    return hessian + np.diag(penalty)


def _not_converged() -> Any:
    from solvable.numerics.results import Result, SolveError

    return SolveError(f"the head took {MAX_STEPS} Newton steps: {Result.MAX_STEPS.message}")
