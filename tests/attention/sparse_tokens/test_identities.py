"""Numbers that must coincide: identities between models, closed forms, limits, and formulas of the spec written out."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize, root
from scipy.special import ndtr
from scipy.stats import norm

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens import equations as eq
from solvable.attention.sparse_tokens.nodes import Nodes
from solvable.numerics.losses import get_loss
from tests.attention.sparse_tokens.nodes import (
    HINGE_FIRST,
    LOSSES,
    SHARED,
    Averages,
    attention_nodes,
    equations,
    mixture_nodes,
    mixture_rules,
    solved,
    value,
)

TASK = st.SparseTokens()
RARE = st.SparseTokens(strength=3.0, positive_rate=0.3)
ERRORS = ("test_error", "train_loss", "train_error")
errors_of = jax.jit(lambda s, x: (eq.errors(s, x)[0], eq.training_loss(s, x), eq.errors(s, x)[1]))
SETTINGS = [(0.9, 1.0, 1e-2, 2.0), (0.5, 2.0, 1e-3, 8.0), (-0.5, 1.0, 1e-1, 0.5)]


# ---------------------------------------------------------------------------------------------- one model as another


@pytest.mark.parametrize("ridge", [1e-3, 1e-1])
@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_pooled_and_flat_are_mixtures(loss, ridge):
    """pooled(ratio, ridge) = mixture(ratio, ridge L) and flat(ratio, ridge) = mixture(ratio / L, ridge)."""
    length, ratio = RARE.length, 2.5
    pooled = st.predict(RARE, st.PooledLinear(loss, ridge), ratio=ratio, quadrature=SHARED)
    flat = st.predict(RARE, st.FlatLinear(loss, ridge), ratio=ratio * length, quadrature=SHARED)
    with jax.enable_x64(True):
        for outcome, mixture_ridge, unit in ((pooled, ridge * length, np.sqrt(length)), (flat, ridge, 1.0)):
            systems = [equations(f, loss, mixture_ridge, ratio) for f in mixture_rules(RARE)]
            x = [np.asarray(solved(system).x) for system in systems]
            errors = np.mean([errors_of(system, at) for system, at in zip(systems, x, strict=True)], axis=0)
            for name, mean in zip(ERRORS, errors, strict=True):
                np.testing.assert_allclose(getattr(outcome, name), mean, rtol=1e-8)
            w2, bias, log_tau, log_chi = np.transpose(x)[1:]
            np.testing.assert_allclose(outcome.signal_weight, unit * w2.mean(), rtol=1e-8)
            np.testing.assert_allclose(outcome.bias, bias.mean(), rtol=1e-8)
            np.testing.assert_allclose(outcome.orthogonal_norm, unit * np.exp(log_tau).mean(), rtol=1e-8)
            np.testing.assert_allclose(outcome.susceptibility, unit**2 * np.exp(log_chi).mean(), rtol=1e-8)


@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_noise_scale_is_a_ridge(loss):
    """Features of noise 1/sqrt(L) at ridge lambda are unit-noise features at lambda L: same scores, other weights."""
    with jax.enable_x64(True):
        unit = mixture_nodes(RARE)
        s = RARE.length**-0.5
        small = Nodes(unit.query, s * unit.signal, s * unit.scale, unit.shift, unit.label, unit.weight, False)
        large = np.asarray(solved(equations(unit, loss, 1e-2 * RARE.length, 1.5)).x)
        x = np.asarray(solved(equations(small, loss, 1e-2, 1.5)).x)
    expected = large + np.array([0, large[1] * (1 / s - 1), 0, -np.log(s), -2 * np.log(s)])
    np.testing.assert_allclose(x, expected, rtol=1e-8)


@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_flat_is_pooled_with_more_samples_and_less_ridge(loss):
    length = TASK.length
    pooled = st.predict(TASK, st.PooledLinear(loss, 1e-2), ratio=1.7, quadrature=SHARED)
    flat = st.predict(TASK, st.FlatLinear(loss, 1e-2 * length), ratio=1.7 * length, quadrature=SHARED)
    for name in ERRORS:
        np.testing.assert_allclose(getattr(flat, name), getattr(pooled, name), rtol=1e-9)
    np.testing.assert_allclose(flat.signal_weight * np.sqrt(length), pooled.signal_weight, rtol=1e-9)


@pytest.mark.parametrize("cosine", [-0.7, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_no_sharpness_is_pooling(loss, cosine):
    """Within 4 standard errors of the quadrature, of 8 scramblings; the head's overlap and norm too."""
    attention = st.predict(TASK, st.FixedQueryAttention(cosine, 0.0, loss), ratio=2.0, quadrature=SHARED)
    pooled = st.predict(TASK, st.PooledLinear(loss), ratio=2.0, quadrature=SHARED)
    errors, exact = attention.stats["standard_error"], pooled.stats["standard_error"]
    for name in (*ERRORS, "bias", "susceptibility"):
        gap = abs(getattr(attention, name) - getattr(pooled, name))
        assert gap <= 4 * np.hypot(errors[name], exact[name]) + 1e-9, name
        assert errors[name] < 1e-2 * abs(getattr(pooled, name)), name
    sine = np.sqrt(1 - cosine**2)
    overlap = cosine * attention.query_weight + sine * attention.signal_weight
    spread = np.hypot(cosine * errors["query_weight"], sine * errors["signal_weight"])
    assert abs(overlap - pooled.signal_weight) <= 4 * spread + 1e-8
    norm_squared = attention.query_weight**2 + attention.orthogonal_norm**2
    assert norm_squared == pytest.approx(float(pooled.orthogonal_norm) ** 2, rel=2e-3)


def test_no_sharpness_is_pooling_in_simulated_runs():
    """The same identity on the simulated side: the same law of every observable of the scores."""
    pooled = st.simulate(TASK, st.PooledLinear("square"), ratio=2.0, dim=100, key=jax.random.key(3), replicates=64)
    algorithm = st.FixedQueryAttention(0.4, 0.0, "square")
    attention = st.simulate(TASK, algorithm, ratio=2.0, dim=100, key=jax.random.key(4), replicates=64)
    for name in ("test_error", "train_loss", "bias"):
        a, b = getattr(attention, name), getattr(pooled, name)
        assert abs(a.mean() - b.mean()) <= 4 * np.sqrt((a.var() + b.var()) / 63), name


@pytest.mark.parametrize("model", [st.PooledLinear, st.FlatLinear])
@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_baselines_do_not_care_which_class_is_rare(loss, model):
    """The mixture is symmetric under exchange of the classes with positive_rate -> 1 - positive_rate."""
    tasks = [st.SparseTokens(strength=3.0, positive_rate=rate) for rate in (0.2, 0.8)]
    rare, common = (st.predict(task, model(loss), ratio=3.0, quadrature=SHARED) for task in tasks)
    # The displaced trapezoid in G is not symmetric at one node, only to its own accuracy of 1e-7.
    rtol = 1e-5 if loss == "logistic" else 1e-9
    for name in (*ERRORS, "signal_weight", "orthogonal_norm"):
        np.testing.assert_allclose(getattr(rare, name), getattr(common, name), rtol=rtol)
    shift = 3.0 / 10 if model is st.PooledLinear else 3.0 / np.sqrt(10)
    np.testing.assert_allclose(rare.bias, -common.bias - shift * common.signal_weight, rtol=rtol)
    assert abs(rare.bias) > 0.05


# ------------------------------------------------------------------------------------------- the equations themselves


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("task", [TASK, RARE], ids=["default", "rare"])
def test_square_direct_formulas_equal_newton(task, setting):
    cosine, sharpness, ridge, ratio = setting
    with jax.enable_x64(True):
        for nodes in (attention_nodes(task, cosine, sharpness), mixture_nodes(task)):
            system = equations(nodes, "square", ridge, ratio)
            direct, newton = jax.jit(eq.solve_square)(system), solved(system)
            assert (int(direct.result), int(newton.result)) == (0, 0)
            np.testing.assert_allclose(direct.x, newton.x, rtol=1e-8, atol=1e-8)


def variational_objective(system, averages, x):
    """E Moreau(omega; r^2/zeta) - t^2 zeta/(2 ratio) + (ridge/2)(w1^2 + w2^2 + t^2) at (w1, w2, b, t, zeta)."""
    w1, w2, b, t, zeta = x
    ridge, ratio = float(system.ridge), float(system.ratio)
    _, square, _, loss = averages.moments(w1, w2, b, np.hypot(w2, t), 1 / zeta)
    envelope = averages(loss + 0.5 * averages.r**2 / zeta * square)  # Moreau = loss(prox) + V l'^2 / 2
    return envelope - t * t * zeta / (2 * ratio) + 0.5 * ridge * (w1**2 + w2**2 + t**2)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_solution_is_the_saddle_point_of_the_variational_form(loss, setting):
    """Stationary in all five, convex in (w1, w2, b), concave in zeta = 1/chi; by differences of the NumPy objective."""
    cosine, sharpness, ridge, ratio = setting
    with jax.enable_x64(True):
        system = equations(attention_nodes(RARE, cosine, sharpness), loss, ridge, ratio)
        w1, w2, b, log_tau, log_chi = np.asarray(solved(system).x)
    averages = Averages(system.features, loss)
    point = np.array([w1, w2, b, np.sqrt(np.exp(2 * log_tau) - w2**2), np.exp(-log_chi)])
    centre = variational_objective(system, averages, point)
    for i in range(5):
        step = np.zeros(5)
        step[i] = abs(point[i])
        ahead, behind = (variational_objective(system, averages, point + s * step) for s in (1e-4, -1e-4))
        assert abs(ahead - behind) / 2e-4 < 1e-7, i
        ahead, behind = (variational_objective(system, averages, point + s * step) for s in (3e-2, -3e-2))
        curvature = ahead + behind - 2 * centre
        assert i == 3 or (curvature < 0 if i == 4 else curvature > 0), i


@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_jacobian_by_hand_is_the_derivative_of_the_residual(loss):
    generator = np.random.default_rng(5)
    with jax.enable_x64(True):
        both = jax.jit(lambda s, x: (s.residual_and_jacobian(x)[1], jax.jacfwd(s.residual)(x)))
        for nodes in (attention_nodes(RARE, 0.6, 1.5), mixture_nodes(RARE)):
            system = equations(nodes, loss, 3e-2, 1.3)
            for _ in range(4):
                by_hand, automatic = both(system, jnp.asarray(generator.normal(size=5)))
                # The derivative of the logistic rule in G meets Stein's lemma at the accuracy of its nodes.
                np.testing.assert_allclose(by_hand, automatic, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
def test_stein_identities_of_the_averages_over_g(loss):
    """E[p G] = S E D: what makes E[r G p]/tau of the code the spec's E[r^2 D]. Over displacements of the rule."""
    shift = (np.arange(64) + 0.5) / 64
    with jax.enable_x64(True):
        moments = jax.jit(get_loss(loss).prox_moments)
        for margin, spread, variance in itertools.product([-2.0, 0.3, 3.0], [0.4, 2.0], [0.2, 5.0]):
            full = [np.full(64, v) for v in (margin, spread, variance)]
            m = moments(*full, shift)
            slope_g, curve = float(m.slope_g.mean()), float(m.curve.mean())
            assert slope_g == pytest.approx(spread * curve, rel=2e-5, abs=1e-9)


# -------------------------------------------------------------------------------------------------- maximum margin


def margin_program(features, ratio):
    """min (w1^2 + w2^2 + t^2)/2 with E[((1 - y m)/r + sqrt(w2^2 + t^2) G)_+^2] <= t^2/ratio, by SciPy alone.

    SLSQP from a far start, then the root of its optimality conditions.
    """
    query, signal, label, r, weight = (
        np.asarray(x) for x in (features.query, features.signal, features.label, features.scale, features.weight)
    )

    def slack(x):
        w1, w2, b, t = x
        tau, gap = np.hypot(w2, t), (1 - w1 * query - w2 * signal - b * label) / r
        k = gap / tau
        return t * t / ratio - np.sum(weight * ((gap**2 + tau**2) * ndtr(k) + gap * tau * norm.pdf(k)))

    def slack_gradient(x):
        w1, w2, b, t = x
        tau, gap = np.hypot(w2, t), (1 - w1 * query - w2 * signal - b * label) / r
        by_gap = 2 * weight * (gap * ndtr(gap / tau) + tau * norm.pdf(gap / tau)) / r
        by_tau = 2 * tau * np.sum(weight * ndtr(gap / tau))
        columns = [np.sum(by_gap * c) for c in (query, signal, label)]
        return np.array([columns[0], columns[1] - by_tau * w2 / tau, columns[2], 2 * t / ratio - by_tau * t / tau])

    def objective_gradient(x):
        return np.array([x[0], x[1], 0.0, x[3]])

    constraint = {"type": "ineq", "fun": slack, "jac": slack_gradient}
    found = minimize(
        lambda x: 0.5 * (x[0] ** 2 + x[1] ** 2 + x[3] ** 2),
        np.array([1.0, 1.0, -1.0, 10.0]),
        jac=objective_gradient,
        constraints=constraint,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )

    def optimality(z):
        return np.append(objective_gradient(z[:4]) - z[4] * slack_gradient(z[:4]), slack(z[:4]))

    multiplier = found.x[3] / slack_gradient(found.x)[3]
    polished = root(optimality, np.append(found.x, multiplier), tol=1e-14)
    assert np.max(np.abs(polished.x[:4] - found.x)) < 1e-4
    assert polished.x[4] > 0
    assert np.max(np.abs(polished.fun)) < 1e-11
    return np.append(polished.x[:3], abs(polished.x[3]))  # t enters through t^2 alone


@pytest.mark.parametrize(("cosine", "ratio"), [(0.9, 2.0), (0.5, 2.0), (0.0, 1.0), (-0.5, 0.5)])
def test_hinge_without_ridge_is_the_maximum_margin(cosine, ratio):
    with jax.enable_x64(True):
        nodes = attention_nodes(TASK, cosine, 1.0)
        program = margin_program(nodes, ratio)
        solution = solved(equations(nodes, "hinge", 1e-9, ratio))
        assert int(solution.result) == 0
        w1, w2, b, log_tau, _ = np.asarray(solution.x)
        loss = float(eq.training_loss(equations(nodes, "hinge", 1e-9, ratio), solution.x))
    np.testing.assert_allclose([w1, w2, b, np.sqrt(np.exp(2 * log_tau) - w2**2)], program, rtol=1e-8, atol=1e-8)
    assert abs(loss) < 1e-7  # the draw is separated with margin 1


def test_logistic_at_small_ridge_is_not_the_maximum_margin():
    """Convergence in the ridge is logarithmic; spec 5.6 (a coarser quadrature) says .0426 against .0482."""
    algorithm = functools.partial(st.FixedQueryAttention, 0.9, 1.0)
    logistic = st.predict(TASK, algorithm("logistic", 1e-5), ratio=2.0, quadrature=SHARED)
    hinge = st.predict(TASK, algorithm("hinge", 1e-9), ratio=2.0, quadrature=SHARED)
    assert float(logistic.test_error) == pytest.approx(0.0426, abs=5e-4)
    assert float(hinge.test_error) == pytest.approx(0.0482, abs=5e-4)


# ------------------------------------------------------------------------------------------- closed forms and limits


@pytest.mark.parametrize("ratio", [1.2, 2.0, 10.0])
@pytest.mark.parametrize("strength", [1.0, 5.0])
def test_ridgeless_square_closed_forms(strength, ratio):
    """err = Phi(-(D^2/2) sqrt((1 - 1/a)/(D^2 + 4/a))), train loss (1 - 1/a)/(2 (1 + D^2/4)), a = ratio or ratio/L."""
    task = st.SparseTokens(strength=strength, sparsity=2)
    d = strength * 2 / np.sqrt(10)
    error = ndtr(-0.5 * d**2 * np.sqrt((1 - 1 / ratio) / (d**2 + 4 / ratio)))
    loss = (1 - 1 / ratio) / (2 * (1 + d**2 / 4))
    for model, factor in ((st.PooledLinear, 1), (st.FlatLinear, 10)):
        outcome = st.predict(task, model("square", 0.0), ratio=ratio * factor, quadrature=SHARED)
        np.testing.assert_allclose(outcome.test_error, error, rtol=1e-10)
        np.testing.assert_allclose(outcome.train_loss, loss, rtol=1e-10)


def test_limit_error_of_the_baselines():
    """Phi(-D/2) for even classes; the number of spec 5.5 for uneven ones."""
    for strength in (1.0, 4.0):
        task = st.SparseTokens(strength=strength)
        for model in (st.PooledLinear("square"), st.FlatLinear("square")):
            assert st.limit_error(task, model) == pytest.approx(ndtr(-strength / np.sqrt(10) / 2), rel=1e-12)
    task = st.SparseTokens(strength=1.5 * np.sqrt(10), positive_rate=0.3)
    assert st.limit_error(task, st.PooledLinear("square")) == pytest.approx(0.19438, abs=5e-6)
    outcome = st.predict(task, st.PooledLinear("square", 0.0), ratio=1e4, quadrature=SHARED)
    assert float(outcome.test_error) == pytest.approx(0.19441, abs=5e-6)


@pytest.mark.parametrize(
    "algorithm",
    [
        st.FixedQueryAttention(0.9, 1.0, "square", 0.0),
        st.FixedQueryAttention(-0.4, 2.0, "square", 0.0),
        st.PooledLinear("square", 0.0),
        st.FlatLinear("square", 0.0),
    ],
    ids=["aligned", "opposed", "pooled", "flat"],
)
@pytest.mark.parametrize("task", [TASK, RARE], ids=["default", "rare"])
def test_limit_error_is_the_prediction_at_a_huge_ratio(task, algorithm):
    limit = st.limit_error(task, algorithm, SHARED)
    outcome = st.predict(task, algorithm, ratio=1e8, quadrature=SHARED)
    assert float(outcome.test_error) == pytest.approx(limit, rel=1e-6)


@pytest.mark.parametrize("strength", [2.0, 5.0])
def test_rate_constants_of_the_baselines(strength):
    """ratio (err - limit) -> phi(D/2) (D/2) (1/2 + 2/D^2) for the pooled model, L times that for the flat one."""
    task = st.SparseTokens(strength=strength)
    d = strength / np.sqrt(10)
    constant = norm.pdf(d / 2) * d / 2 * (0.5 + 2 / d**2)
    for model, factor in ((st.PooledLinear, 1), (st.FlatLinear, 10)):
        algorithm = model("square", 0.0)
        outcome = st.predict(task, algorithm, ratio=1e6 * factor, quadrature=SHARED)
        measured = 1e6 * (float(outcome.test_error) - st.limit_error(task, algorithm))
        assert measured == pytest.approx(constant, rel=1e-4)


def test_every_model_approaches_its_limit_at_rate_one_over_ratio():
    """ratio * (error - limit) at 256 and at 1024 agree to 2 %, on one set of nodes (ridge 1e-12)."""
    for algorithm in (
        st.FixedQueryAttention(0.9, 1.0, "square", 1e-12),
        st.PooledLinear("square", 1e-12),
        st.FlatLinear("square", 1e-12),
    ):
        limit = st.limit_error(TASK, algorithm, SHARED)
        factor = 10 if isinstance(algorithm, st.FlatLinear) else 1
        first, second = (
            ratio * (float(st.predict(TASK, algorithm, ratio=ratio * factor, quadrature=SHARED).test_error) - limit)
            for ratio in (256.0, 1024.0)
        )
        assert first == pytest.approx(second, rel=0.02)
        assert first > 0


# ------------------------------------------------------------------------------------------------------- alignment


def slope_averages(loss, mean, spread):
    """(E h, E h^2) of h = dloss/du for the label +1 and score N(mean, spread^2)."""
    if loss == "square":
        return mean - 1, (mean - 1) ** 2 + spread**2
    if loss == "hinge":
        below = ndtr((1 - mean) / spread)
        return -below, below

    def average(power):
        def integrand(g):
            return (-1 / (1 + np.exp(mean + spread * g))) ** power * norm.pdf(g)

        return quad(integrand, -12, 12, epsabs=1e-13, epsrel=1e-13)[0]

    return average(1), average(2)


def written_out(task, algorithm, alpha0):
    """The formulas of spec 5.2 as they stand there, signs and all: (s, |q2| at eta_q = 1, C)."""
    loss = type(algorithm.loss).__name__.lower()
    L, R, theta, pi = task.length, task.sparsity, float(task.strength), float(task.positive_rate)
    c = {"logistic": 0.5, "square": 1.0, "hinge": 1.0}[loss]
    eta_w, eta_b = float(algorithm.head_rate), float(algorithm.bias_rate)
    rho, m = R * (1 - R / L), eta_w * c * theta * (R / L) * pi
    w2 = m**2 + (eta_w * c) ** 2 / (L * alpha0)
    mean = {
        y: theta * (R / L) * m * (y == 1) + eta_b * c * (2 * pi - 1) + eta_w * c * y / (L * alpha0) for y in (1, -1)
    }
    average = {}
    for y in (1, -1):
        first, second = slope_averages(loss, y * mean[y], np.sqrt(w2 / L))
        average[y] = y * first, second
    eh, eh2 = (pi * average[1][i] + (1 - pi) * average[-1][i] for i in (0, 1))
    ep, ep2 = (pi * average[1][i] for i in (0, 1))
    bracket = theta**2 * rho * ep + (L - 1) * eh
    overlap = -(1 / L) * m * bracket
    square = (1 / L**2) * (
        m**2 * theta**4 * rho**2 * ep**2
        + 2 * theta**2 * rho * m**2 * (L - 1) * ep * eh
        + (L - 1) ** 2 * eh**2 * w2
        + ((L - 1) * eh2 * w2 + theta**2 * rho * m**2 * ep2) / alpha0
    )
    constant = ((L - 1) * eh) ** 2 * (eta_w * c) ** 2 / L + m**2 * ((L - 1) * eh2 + theta**2 * rho * ep2)
    return overlap / np.sqrt(square), np.sqrt(square), constant / (2 * m**2 * bracket**2)


ALIGNED = [
    (st.SparseTokens(), {}),
    (st.SparseTokens(length=7, sparsity=3, strength=2.0, positive_rate=0.4), {"head_rate": 0.5, "bias_rate": 0.7}),
]


@pytest.mark.parametrize(("task", "rates"), ALIGNED, ids=["default", "other"])
@pytest.mark.parametrize("loss", LOSSES)
def test_alignment_formula_written_out(loss, task, rates):
    algorithm = st.TwoStepAttention(loss, query_rate=3.0, **rates)
    for alpha0 in (0.25, 2.0, 50.0):
        found = st.alignment(task, algorithm, alpha0)
        cosine, unit_norm, _ = written_out(task, algorithm, alpha0)
        np.testing.assert_allclose([found.cosine, found.sharpness], [cosine, 3.0 * unit_norm], rtol=1e-9)


@pytest.mark.parametrize(("task", "rates"), ALIGNED, ids=["default", "other"])
@pytest.mark.parametrize("loss", LOSSES)
def test_alignment_constant(loss, task, rates):
    algorithm = st.TwoStepAttention(loss, **rates)
    constant = float(st.alignment_constant(task, algorithm))
    assert constant == pytest.approx(written_out(task, algorithm, np.inf)[2], rel=1e-9)
    for alpha0, within in ((1e4, 2e-2), (1e6, 2e-4)):
        assert alpha0 * (1 - float(st.alignment(task, algorithm, alpha0).cosine)) == pytest.approx(constant, rel=within)


@pytest.mark.parametrize("loss", LOSSES)
def test_sign_rule_of_small_steps(loss):
    """cosine > 0 exactly when strength^2 rho positive_rate > (L - 1)(1 - 2 positive_rate)."""
    algorithm = st.TwoStepAttention(loss, head_rate=1e-4, bias_rate=1e-4)
    for length, sparsity, rate in ((10, 1, 0.2), (10, 1, 0.1), (6, 2, 0.3)):
        rho = sparsity * (1 - sparsity / length)
        threshold = np.sqrt((length - 1) * (1 - 2 * rate) / (rho * rate))
        above = st.SparseTokens(length, sparsity, 1.02 * threshold, rate)
        assert float(st.alignment(above, algorithm, 1e3).cosine) > 0
        below = st.SparseTokens(length, sparsity, 0.98 * threshold, rate)
        with pytest.warns(UserWarning, match="not positive"):
            assert float(st.alignment(below, algorithm, 1e3).cosine) < 0
    assert float(st.alignment(st.SparseTokens(strength=0.1), algorithm, 1.0).cosine) > 0  # even classes always align


def test_cosine_does_not_depend_on_the_query_rate():
    small, large = (st.alignment(TASK, st.TwoStepAttention(query_rate=rate), 1.0) for rate in (1.0, 7.0))
    assert float(small.cosine) == pytest.approx(float(large.cosine), rel=1e-14)
    assert float(large.sharpness) == pytest.approx(7 * float(small.sharpness), rel=1e-14)
    assert float(st.alignment(TASK, st.TwoStepAttention(sharpness=1.3), 1.0).sharpness) == 1.3


@pytest.mark.parametrize("loss", HINGE_FIRST)
def test_two_steps_are_the_fixed_query_that_they_become(loss):
    algorithm = st.TwoStepAttention(loss, query_share=0.3, query_rate=2.0)
    query = st.fixed_query(TASK, algorithm, 0.3 * 4.0)
    whole = st.predict(TASK, algorithm, ratio=4.0, quadrature=SHARED)
    head = st.predict(TASK, query, ratio=0.7 * 4.0, quadrature=SHARED)
    for name, number in whole.present().items():
        np.testing.assert_allclose(number, getattr(head, name), rtol=1e-10, err_msg=name)


def test_losses_of_this_file():
    """The independent losses are the library's (a guard on the references themselves)."""
    t = np.linspace(-3, 3, 13)
    for loss in LOSSES:
        np.testing.assert_allclose(
            value(loss, t), np.asarray(get_loss(loss).value(jnp.asarray(t))), rtol=1e-5, atol=1e-6
        )
