"""The heads against scikit-learn and against themselves: dual and primal, leave-one-out by leaving one out."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from solvable.bags.heads import fit_head, rbf_kernel, sigmoid, solve_dual, solve_primal

RNG = np.random.default_rng(5)
FEATURES = RNG.normal(size=(40, 6))
TARGETS = np.where(FEATURES[:, 0] + RNG.normal(size=40) > 0.3, 1.0, -1.0)
WEIGHTS = RNG.uniform(0.5, 2.0, size=40)


@pytest.mark.parametrize("loss", ["square", "logistic"])
def test_dual_and_primal_agree(loss):
    coefficients, bias, held_out = solve_dual(FEATURES @ FEATURES.T, TARGETS, WEIGHTS, loss)
    weights, other_bias, other_held_out = solve_primal(FEATURES, TARGETS, WEIGHTS, loss)
    np.testing.assert_allclose(FEATURES.T @ coefficients, weights, atol=1e-9)
    assert bias == pytest.approx(other_bias, abs=1e-9)
    if loss == "square":  # the logistic one has them for kernels alone
        np.testing.assert_allclose(held_out, other_held_out, atol=1e-9)


def test_logistic_is_scikit_learns():
    weights, bias, _ = solve_primal(FEATURES, TARGETS, 0.7 * WEIGHTS, "logistic")
    peer = LogisticRegression(C=0.7, tol=1e-12, max_iter=10_000).fit(FEATURES, TARGETS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(weights, peer.coef_[0], atol=1e-5)
    assert bias == pytest.approx(peer.intercept_[0], abs=1e-5)


def test_logistic_on_separable_data_converges():
    features = 50.0 * np.sign(FEATURES[:, :1]) + FEATURES
    targets = np.sign(FEATURES[:, 0])
    for loss_weight in (1e-3, 1.0, 1e6):
        weights, _, scores = solve_primal(features, targets, np.full(40, loss_weight), "logistic")
        assert np.all(targets * scores > 0.0)
        slope = -loss_weight * targets / (1.0 + np.exp(targets * scores))
        np.testing.assert_allclose(features.T @ slope + weights, 0.0, atol=1e-7)


@pytest.mark.parametrize("solver", ["dual", "primal"])
def test_held_out_scores_are_those_of_fits_without_the_bag(solver):
    def fitted(kept):
        if solver == "primal":
            weights, bias, held_out = solve_primal(FEATURES[kept], TARGETS[kept], WEIGHTS[kept], "square")
            return FEATURES @ weights + bias, held_out
        kernel = rbf_kernel(FEATURES, FEATURES, (6,))
        coefficients, bias, held_out = solve_dual(kernel[np.ix_(kept, kept)], TARGETS[kept], WEIGHTS[kept], "square")
        return kernel[:, kept] @ coefficients + bias, held_out

    _, held_out = fitted(np.arange(40))
    for left in (0, 7, 39):
        scores, _ = fitted(np.delete(np.arange(40), left))
        assert held_out[left] == pytest.approx(scores[left], abs=1e-9)


def test_held_out_scores_of_the_logistic_loss_are_near_those_of_fits_without_the_bag():
    kernel, strengths = rbf_kernel(FEATURES, FEATURES, (6,)), 10.0 * WEIGHTS
    coefficients, bias, held_out = solve_dual(kernel, TARGETS, strengths, "logistic")
    kept = [np.delete(np.arange(40), left) for left in range(40)]
    fits = [solve_dual(kernel[np.ix_(k, k)], TARGETS[k], strengths[k], "logistic")[:2] for k in kept]
    truth = [kernel[i, k] @ a + b for i, (k, (a, b)) in enumerate(zip(kept, fits, strict=True))]
    # the curvatures of the others are taken as they are: near, where the scores of the fit are far
    own = np.sqrt(np.mean((kernel @ coefficients + bias - truth) ** 2))
    assert np.sqrt(np.mean((held_out - truth) ** 2)) < 0.1 * own


def test_sigmoid_is_the_maximum_of_platts_likelihood():
    scores = 3.0 * TARGETS + RNG.normal(size=40) * 4.0 + 1.0
    slope, shift = sigmoid(scores, TARGETS, WEIGHTS)
    up, down = WEIGHTS[TARGETS > 0].sum(), WEIGHTS[TARGETS < 0].sum()
    goals = np.where(TARGETS > 0, (up + 1) / (up + 2), 1 / (down + 2))

    def loss(x):
        f = x[0] * scores + x[1]
        return WEIGHTS @ (np.logaddexp(0.0, f) - goals * f)

    best = minimize(loss, [0.1, 0.0], tol=1e-12)
    assert loss([slope, shift]) <= best.fun + 1e-9
    alone = minimize(lambda a: loss([a[0], 0.0]), [0.1], tol=1e-12)
    slope, shift = sigmoid(scores, TARGETS, WEIGHTS, shifted=False)
    assert loss([slope, shift]) <= alone.fun + 1e-9
    assert shift == 0.0
    slope, shift = sigmoid(-scores, TARGETS, WEIGHTS)  # never upside down: the positives' share, in the same order
    assert 0.0 < slope < 1e-5
    np.testing.assert_allclose(slope * -scores + shift, np.log((up + 1) / (down + 1)), atol=1e-5)


def test_a_weight_is_a_repetition_and_zero_is_absence():
    counts = np.arange(40) % 3
    kwargs = {"kind": "rbf", "C": 5.0, "widths": (3, 3)}
    for loss in ("square", "logistic"):
        weighted = fit_head(FEATURES, TARGETS, counts.astype(float), loss=loss, **kwargs)
        rows = np.repeat(np.arange(40), counts)
        repeated = fit_head(FEATURES[rows], TARGETS[rows], np.ones(len(rows)), loss=loss, **kwargs)
        np.testing.assert_allclose(weighted.scores(FEATURES), repeated.scores(FEATURES), atol=1e-8)


def test_a_kernel_that_does_not_fit_is_refused():
    from solvable.bags import heads

    many = np.zeros((heads.MAX_KERNEL_BAGS + 1, 1))
    with pytest.raises(ValueError, match="head='rbf' needs an n x n kernel of 20001 bags"):
        fit_head(many, np.ones(len(many)), np.ones(len(many)), kind="rbf", loss="square", C=1.0, widths=(1,))
