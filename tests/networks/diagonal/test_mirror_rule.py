"""Problems, laws, and simulation against theory: the same observables on the same axes, and the paper's numbers."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from solvable.lab.declare import Outcome
from solvable.networks import diagonal as dn

KINKS = {"unit": "first_kink", "at": np.geomspace(0.5, 30.0, 61)}


def simulated(kind: bool | None, log_scale: float, replicates: int) -> Outcome:
    task = dn.RandomRegression(3, 4, kind)
    return dn.simulate(task, dn.GradientFlow(log_scale), key=jax.random.key(11), replicates=replicates, **KINKS)


def test_a_problem_from_data_is_its_quadratic() -> None:
    draw = np.random.default_rng(0)
    for samples in (3, 9):
        X, y, x = draw.normal(size=(samples, 5)), draw.normal(size=samples), draw.normal(size=(2, 5))
        data, matrix = dn.Quadratic.from_data(X, y), dn.Quadratic(X.T @ X, X.T @ y, 0.5 * y @ y)
        expected = 0.5 * ((x @ X.T - y) ** 2).sum(axis=1)
        for loss in (data, matrix):
            np.testing.assert_allclose(loss.loss(x), expected, rtol=1e-10)
            np.testing.assert_allclose(loss.matrix, X.T @ X, atol=1e-12)
            residual = np.linalg.lstsq(X, y, rcond=None)[0] @ X.T - y
            assert loss.floor == pytest.approx(0.5 * residual @ residual, abs=1e-10)
            assert loss.factor.shape == (min(samples, 5), 5)
        assert data.sample() is data


def test_a_problem_may_be_traced() -> None:
    """The loss differentiates to M x - r inside a transformation, and a matrix may be traced."""
    matrix, linear = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, -1.0])
    loss, x = dn.Quadratic(matrix, linear), np.array([0.3, 0.7])
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.grad(loss.loss)(x), matrix @ x - linear, rtol=1e-12)
        by_matrix = np.asarray(jax.jit(jax.grad(lambda m: dn.Quadratic(m, linear).loss(x)))(matrix))
    np.testing.assert_allclose(0.5 * (by_matrix + by_matrix.T), 0.5 * np.outer(x, x), atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dn.Quadratic([[1.0, 2.0]], [1.0]), r"matrix has shape \(1, 2\); accepted: \(d, d\)"),
        (lambda: dn.Quadratic([[1.0, 0.5], [0.0, 1.0]], [1.0, 1.0]), "matrix is not symmetric"),
        (lambda: dn.Quadratic([[1.0, 2.0], [2.0, 1.0]], [1.0, 1.0]), "matrix has the eigenvalue -1"),
        (lambda: dn.Quadratic([[1.0, 1.0], [1.0, 1.0]], [1.0, 0.0]), "linear lies outside the span"),
        (lambda: dn.Quadratic(np.eye(2), [1.0]), r"linear has shape \(1,\)"),
        (lambda: dn.Quadratic(np.eye(2), [1.0, np.inf]), r"linear holds inf at \(1,\)"),
        (lambda: dn.Quadratic.from_data(np.eye(2), [1.0]), r"y has shape \(1,\)"),
        (lambda: dn.Quadratic.from_data([1.0], [1.0]), r"X has shape \(1,\)"),
        (lambda: dn.Quadratic.from_data([["a"]], [1.0]), "X has dtype"),
        (
            lambda: dn.Quadratic.from_data(np.eye(2), [1e155, 1.0]),
            r"y holds numbers up to 1e\+155, whose squares overflow",
        ),
        (lambda: dn.Quadratic.from_data(1e160 * np.eye(2), [1.0, 1.0]), "X holds numbers up to .* squares overflow"),
        (lambda: dn.Quadratic(np.eye(2), [1e155, 1.0]), "linear holds numbers up to .* squares overflow"),
        (lambda: dn.Quadratic(1e-300 * np.eye(2), [1e10, 1.0]), "the shortest solution .* squares overflow"),
        (lambda: dn.RandomRegression(0, 4), "samples=0 is out of range"),
        (lambda: dn.RandomRegression(3, 4, "yes"), "monotone='yes' is not accepted"),
        (lambda: dn.RandomRegression(1, 4, False), "monotone=False has no draws at samples=1, dim=4"),
        (lambda: dn.Anticorrelated(3, 1.0), "radius=1 is out of range"),
        (lambda: dn.Anticorrelated(3, 0.5, 1), "positive=1 is not accepted; accepted: True or False"),
        (lambda: dn.Quadratic(np.eye(2), [1.0, 1.0]).loss([1.0]), r"x has shape \(1,\); accepted: \(..., 2\)"),
    ],
)
def test_bad_problems_are_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_draw_whose_path_cannot_be_followed_is_rejected() -> None:
    """Of square problems of 8 coordinates few have monotone paths, so that many are drawn."""
    assert dn.lasso_path(dn.RandomRegression(8, 8, True).sample(jax.random.key(0))).monotone


def test_the_laws_draw_what_they_say() -> None:
    for kind in (True, False):
        paths = [dn.lasso_path(dn.RandomRegression(3, 4, kind).sample(jax.random.key(k))) for k in range(5)]
        assert {path.monotone for path in paths} == {kind}
    first, again = (dn.RandomRegression().sample(jax.random.key(3)) for _ in range(2))
    np.testing.assert_array_equal(first.factor, again.factor)
    for dim in (1, 6):
        loss = dn.Anticorrelated(dim, 0.6, positive=True).sample(jax.random.key(0))
        matrix = np.asarray(loss.matrix)
        assert np.max(matrix - np.diag(np.diag(matrix))) <= 0.0
        assert np.abs(np.linalg.eigvalsh(np.eye(dim) - matrix)).max() == pytest.approx(0.6 if dim > 1 else 0.0)
        assert np.all(np.asarray(loss.linear) > 0.0)
        assert loss.floor == pytest.approx(0.0, abs=1e-12)


def test_simulation_and_theory_agree() -> None:
    """Layers in training time against the log-domain flow, and both kinds of network against their limits."""
    for task, name in ((dn.RandomRegression(), "product"), (dn.Anticorrelated(4), "square")):
        near, far = (dn.GradientFlow(scale, name) for scale in (-11.5, -1000.0))
        runs = dn.simulate(task, near, replicates=3, full=True, **KINKS)
        flow = dn.predict(task, near, given=runs)
        for observable, value in flow.present().items():
            if observable != "jump_times":
                np.testing.assert_allclose(value, getattr(runs, observable), atol=1e-5, err_msg=observable)
        close = dn.simulate(task, far, replicates=3, **KINKS)
        limit = dn.predict(task, far, theory="limit", given=close)
        assert np.abs(limit.average - close.average).max() < 0.02 * np.abs(close.average).max()
        assert np.abs(limit.gap - close.gap).max() < 1e-3
        reached = np.isfinite(close.jump_times) & np.isfinite(limit.jump_times)
        # the times are 7 % apart
        np.testing.assert_allclose(close.jump_times[reached], limit.jump_times[reached], rtol=0.08)
        assert np.mean(limit.active == close.active) > 0.97
        lasso = dn.predict(task, far, theory="lasso", given=close)
        assert np.min(close.gap - lasso.gap) > -1e-8


def test_the_gap_is_that_of_the_paper() -> None:
    """At scale 1e-5: .0094 for monotone and .030 for nonmonotone paths, each within 25 %, at 100 problems (spec)."""
    means = [simulated(kind, -5.0 * np.log(10.0), 100).largest_gap.mean() for kind in (True, False)]
    np.testing.assert_allclose(means, [0.0094, 0.030], rtol=0.25)


@pytest.mark.slow
def test_the_gap_of_monotone_paths_falls_like_the_square_of_the_logarithm() -> None:
    """Between 3 and 4.5 times a doubling of log(1/eps); nonmonotone ones tend to the limit's value."""
    gaps = np.array([simulated(True, scale, 50).largest_gap.mean() for scale in (-11.5, -23.0, -46.0, -92.0)])
    assert np.all((gaps[:-1] / gaps[1:] > 3.0) & (gaps[:-1] / gaps[1:] < 4.5))
    runs = [simulated(False, scale, 50) for scale in (-46.0, -92.0, -184.0)]
    task, algorithm = dn.RandomRegression(3, 4, False), dn.GradientFlow(-92.0)
    value = dn.predict(task, algorithm, theory="limit", given=runs[0]).largest_gap
    apart = np.array([np.abs(run.largest_gap - value).mean() for run in runs])
    assert np.all(apart[:-1] / apart[1:] > 1.7)
    assert apart[-1] < 0.05 * value.mean()
    assert min(run.gap.min() for run in runs) > -1e-8


def test_half_height_times_are_close_to_the_jumps() -> None:
    """Within 2.5 / log(1/eps) relative of the limit, on average (spec 2.6), for anti-correlated features."""
    for log_scale in (-11.5, -23.0, -46.0):
        apart = []
        for seed in range(5):
            loss = dn.Anticorrelated(5, positive=True).sample(jax.random.key(seed))
            limit = dn.limit_path(loss, positive=True)
            at = np.linspace(0.0, 1.5 * limit.jumps[-1], 401)
            found = dn.simulate(loss, dn.GradientFlow(log_scale, "square"), at=at)
            apart.append(np.abs(found.jump_times[0] / limit.first_jumps - 1.0))
        assert np.mean(apart) < 2.5 / -log_scale


def test_suboptimality_is_the_gap() -> None:
    loss = dn.RandomRegression().sample(jax.random.key(5))
    at = [0.5, 1.0, 4.0]
    found = dn.suboptimality(loss, dn.GradientFlow(-30.0), at)
    np.testing.assert_allclose(found, dn.simulate(loss, dn.GradientFlow(-30.0), at=at).gap[0], rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"constant=0, with which its loss falls to -.*accepted: constant >="):
        dn.suboptimality(dn.Quadratic(loss.matrix, loss.linear), dn.GradientFlow(-30.0), at)
    with pytest.raises(ValueError, match="at holds 0; accepted: times above 0"):
        dn.suboptimality(loss, dn.GradientFlow(-30.0), [0.0, 1.0])
    free = dn.simulate(dn.Quadratic(loss.matrix, loss.linear), dn.GradientFlow(-30.0), at=at)
    assert not {"gap", "largest_gap"} & set(free.present())
    assert "gap" not in free.to_dataset()


def test_a_problem_needs_no_run_to_be_predicted() -> None:
    loss = dn.RandomRegression().sample(jax.random.key(2))
    for theory in dn.theories:
        alone = dn.predict(loss, dn.GradientFlow(-20.0), theory=theory, at=[0.0, 1.0, 2.0])
        given = dn.predict(
            dn.RandomRegression(), dn.GradientFlow(-20.0), theory=theory, given={"problems": [loss]}, at=[0.0, 1.0, 2.0]
        )
        assert alone.leading == ()
        for name, value in alone.present().items():
            np.testing.assert_array_equal(value, getattr(given, name)[0])
        assert "average" in repr(alone)


def test_an_observable_that_one_run_lacks_is_absent() -> None:
    """The gap means nothing where a loss can be negative."""
    loss = dn.RandomRegression().sample(jax.random.key(2))
    free = dn.Quadratic(loss.matrix, loss.linear)
    for theory in dn.theories:
        both = dn.predict(loss, dn.GradientFlow(), theory=theory, given={"problems": [loss, free]}, at=[1.0])
        assert both.average.shape == (2, 1, 4)
        assert "gap" not in both.present()


def test_what_is_given_may_be_a_run_of_the_problem() -> None:
    """It is predicted at the times of the run, or at others."""
    loss = dn.RandomRegression().sample(jax.random.key(2))
    run = dn.GradientFlow(-20.0).train(loss)
    found = dn.predict(loss, dn.GradientFlow(-20.0), given=run)
    np.testing.assert_array_equal(found.at, run.at)
    np.testing.assert_allclose(found.average, run.average[None], atol=1e-12)
    assert dn.predict(loss, dn.GradientFlow(-20.0), given=run, at=[1.0]).at == [1.0]


def test_times_count_first_kinks_unless_they_are_said() -> None:
    outcome = dn.simulate(dn.RandomRegression(), dn.GradientFlow(-20.0), replicates=2)
    kinks = np.array([dn.first_kink(problem) for problem in outcome.problems])
    assert outcome.unit == "first_kink"
    np.testing.assert_allclose(outcome.times, kinks[:, None] * np.geomspace(0.5, 30.0, 61))
    given = dn.predict(dn.RandomRegression(), dn.GradientFlow(-20.0), theory="limit", given=outcome)
    assert given.unit == "first_kink"
    np.testing.assert_array_equal(given.times, outcome.times)
    np.testing.assert_array_equal(given.at, outcome.at)
    plain = dn.predict(
        dn.RandomRegression(), dn.GradientFlow(-20.0), theory="limit", given=outcome, at=[2.0], unit="one"
    )
    assert plain.times.tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dn.predict(dn.RandomRegression(), dn.GradientFlow()), ValueError, "given=None is not accepted"),
        (
            lambda: jax.jit(lambda s: dn.GradientFlow(s).train(dn.Quadratic([[1.0]], [1.0])).average)(-10.0),
            ValueError,
            "train runs on the host and cannot be traced",
        ),
        (lambda: dn.suboptimality(dn.Quadratic([[1.0]], [1.0]), 3), TypeError, "algorithm=int is not accepted"),
        (
            lambda: dn.predict(dn.RandomRegression(), dn.GradientFlow(), given={"problem": 3}),
            ValueError,
            "given has 'problem', which no theory reads; accepted: 'problems'",
        ),
        (
            lambda: dn.predict(dn.RandomRegression(), dn.GradientFlow(), given={}),
            ValueError,
            "given=dict is not accepted with task=RandomRegression, of whose problems the theories speak",
        ),
        (
            lambda: dn.predict(dn.RandomRegression(), dn.GradientFlow(), given={"problems": [3]}),
            TypeError,
            "problems=int is not accepted; accepted: Quadratic",
        ),
        (
            lambda: dn.predict(dn.RandomRegression(), dn.GradientFlow(), given={"problems": []}),
            ValueError,
            r"problems have \[\] coordinates; accepted: one problem or more, all of one size",
        ),
        (
            lambda: dn.predict(
                dn.RandomRegression(),
                dn.GradientFlow(),
                given={"problems": [dn.Quadratic([[1.0]], [1.0]), dn.Quadratic(np.eye(2), [1.0, 1.0])]},
            ),
            ValueError,
            r"problems have \[1, 2\] coordinates",
        ),
        (
            lambda: jax.jit(lambda key: dn.RandomRegression().sample(key).linear)(jax.random.key(0)),
            ValueError,
            "sample runs on the host and cannot be traced",
        ),
        (
            lambda: jax.jit(lambda r: dn.lasso_path(dn.Quadratic([[1.0]], r)).values)(np.ones(1)),
            ValueError,
            "runs on the host and cannot be traced",
        ),
        (lambda: dn.simulate(dn.RandomRegression(), dn.GradientFlow(), full=1), ValueError, "full=1 is not accepted"),
        (
            lambda: dn.GradientFlow().train(dn.Quadratic([[1.0]], [1.0]), init=[0.1]),
            ValueError,
            "init is given, and training starts from the layers of the algorithm; accepted: init=None",
        ),
        (
            lambda: dn.lasso_path(dn.Quadratic([[1.0]], [1.0]))("a"),
            ValueError,
            "mu has dtype <U1; accepted: real numbers",
        ),
        (lambda: dn.limit_path(dn.Quadratic([[1.0]], [1.0]), 0.1), ValueError, "positive=0.1 is not accepted"),
    ],
)
def test_bad_calls_are_named(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()
