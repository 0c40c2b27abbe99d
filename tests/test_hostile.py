"""A hundred public functions, one hostile argument at a time: refused in a sentence that names it, and nothing changed.

Each call is made once as it should be made: it succeeds, holds no NaN, and leaves its arguments as they were.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable import numerics, optim
from solvable.attention import self_attention as sa
from solvable.attention import single_location as sl
from solvable.attention import sparse_tokens as st
from solvable.attention import token_selection as ts
from solvable.bags import AttentionClassifier, Bags, PooledClassifier, SingleLocationRegressor
from solvable.iterations import continuized as co
from solvable.iterations import gossip as gs
from solvable.networks import diagonal as dn
from solvable.networks import single_index as si
from solvable.networks import two_timescale as tt
from solvable.numerics.minimum_norm import minimum_norm, minimum_nuclear_norm
from solvable.numerics.results import Result, SolveError
from tests.hostile import EXTREMES, Call

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=12)
SIGNS = np.where(np.arange(12) % 2 == 0, 1.0, -1.0)
TOKENS = RNG.normal(size=(12, 4, 3))
RULE = st.Quadrature(256, 2)
UNIT = np.array([1.0, 0.0, 0.0])
OTHER = np.array([0.0, 1.0, 0.0])
EDGES = np.array([[0, 1], [1, 2], [2, 0], [2, 3]])


@functools.cache
def shared() -> dict[str, Any]:
    """Objects that several calls take, made once."""
    key = jax.random.key(0)
    tokens = RNG.normal(size=(2, 3, 2))
    problem = ts.SelectionProblem(tokens, RNG.normal(size=(2, 2)), np.array([1.0, -1.0]), np.array([1.0, 0.5]))
    best = np.asarray(problem.optimal_tokens())
    quadratic = dn.Quadratic.from_data(X, Y)
    regression = sa.RegressionProblem(X, X @ RNG.normal(size=(3, 2)))
    located = sl.LocatedTokens(TOKENS, Y, np.zeros(12, int), sl.Directions(UNIT, OTHER))
    batch = st.Batch(TOKENS, SIGNS, UNIT)
    return {
        "key": key,
        "problem": problem,
        "best": best,
        "margin": ts.max_margin(problem, best),
        "index": si.SingleIndex((0.6, 0.8)),
        "modes": co.Quadratic(OTHER, UNIT),
        "quadratic": quadratic,
        "lasso": dn.lasso_path(quadratic),
        "limit": dn.limit_path(quadratic, check_assumptions=False),
        "regression": regression,
        "map": sa.LinearMap(np.eye(2, 3), np.eye(3)),
        "layer": sa.Parameters(0.1 * np.ones((2, 3)), 0.1 * np.eye(3)),
        "located": located,
        "place": sl.SingleLocation(4, 3),
        "sparse": st.SparseTokens(4, 1, 2.0, 0.5),
        "batch": batch,
        "pooled": st.PooledLinear("square", 0.1),
        "fitted": st.PooledLinear("square", 0.1).train(batch),
        "classifier": AttentionClassifier(head="linear").fit(TOKENS, SIGNS),
        "random": ts.RandomSelection(6, 8, 10).sample(key),
        "network": gs.Network(EDGES),
        "target": tt.PiecewiseConstant([1.0, -2.0], [0.3, 0.6]),
        "averaging": gs.Averaging(gs.Network(EDGES), np.arange(4.0)),
    }


def case(function: Callable[..., Any], *positional: str, taken: Any = None, scikit: tuple[str, ...] = (), **arguments):
    """A call whose arguments may be the names of shared objects, said as `"@name"`."""

    def made() -> Call:
        own = {
            name: shared()[value[1:]] if isinstance(value, str) and value.startswith("@") else value
            for name, value in arguments.items()
        }
        return Call(function, own, positional, taken or {}, scikit)

    return made


ALSO = {
    "values": ("offsets",),
    "problem": ("task",),
    "init": ("weights",),
}  # by what other word a sentence may name an argument
ONE_AXIS = ("one axis more",)  # any shape is taken
ANY_SHAPE = (*ONE_AXIS, "empty")
WORDS_OR_DATES = ("text", "dates", "spans")
TO_THE_END = (*ANY_SHAPE, "infinity")
NUMBER_OR_ARRAY = ("list", "flag")
ENTRYWISE = (*ANY_SHAPE, "NaN", "infinity")  # a map of entries, which keeps what is not finite

CASES: dict[str, Callable[[], Call]] = {
    # numerics
    "is_separable": case(numerics.is_separable, features=X, labels=SIGNS),
    "ridge_erm": case(
        numerics.ridge_erm, features=X, labels=SIGNS, loss=numerics.Square(), ridge=0.1, intercept=True, throw=True
    ),
    "minimum_norm": case(minimum_norm, rows=X[:2], p=2.0, targets=np.ones(2), tolerance=1e-8, throw=True),
    "minimum_nuclear_norm": case(minimum_nuclear_norm, rows=TOKENS[:2, :2], targets=np.ones(2), tolerance=1e-6),
    # optim
    "closed_form_head": case(
        optim.closed_form_head, features=X, targets=Y, ridge=0.1, proximity=0.1, previous=np.ones(3)
    ),
    "closed_form_head_from_moments": case(optim.closed_form_head_from_moments, gram=X.T @ X, moment=X.T @ Y, ridge=0.1),
    "mirror_map": case(optim.mirror_map, weights=X, p=2.5, taken={"weights": ENTRYWISE}),
    "inverse_mirror_map": case(optim.inverse_mirror_map, dual=X, p=2.5, taken={"dual": ENTRYWISE}),
    "optim.continuized": case(optim.continuized, learning_rate=0.1, strong_convexity=0.1, key=0),
    "mirror_descent": case(optim.mirror_descent, learning_rate=0.1, p=2.0, normalize=True),
    # bags
    "Bags": case(
        Bags,
        values=X,
        offsets=np.array([0, 3, 12]),
        ids=np.array([3, 4]),
        labels=np.array([0, 1]),
        token_labels=np.arange(12) % 2,
        taken={"ids": WORDS_OR_DATES, "labels": ("text",), "token_labels": ("text", "NaN", "objects")},
    ),
    "AttentionClassifier.fit": case(
        AttentionClassifier(head="linear").fit,
        X=TOKENS,
        y=SIGNS,
        sample_weight=np.ones(12),
        taken={"y": ("text",)},
        scikit=("sample_weight",),
    ),
    "PooledClassifier.fit": case(PooledClassifier().fit, X=TOKENS, y=SIGNS, taken={"y": ("text",)}),
    "SingleLocationRegressor.fit": case(SingleLocationRegressor().fit, X=TOKENS, y=Y),
    "AttentionClassifier.predict": case(lambda **given: shared()["classifier"].predict(**given), X=TOKENS),
    "AttentionClassifier.attention": case(lambda **given: shared()["classifier"].attention(**given), X=TOKENS),
    "AttentionClassifier.score": case(
        lambda **given: shared()["classifier"].score(**given), X=TOKENS, y=SIGNS, taken={"y": ("text",)}, scikit=("y",)
    ),
    # self-attention
    "RegressionProblem": case(sa.RegressionProblem, tokens=X, targets=X),
    "LinearMap": case(sa.LinearMap, matrix=np.eye(2, 3), covariance=np.eye(3), noise=0.1),
    "LinearMap.conditioned": case(
        sa.LinearMap.conditioned, dim=3, outputs=2, condition=10.0, strength=0.2, spread=2.0, noise=0.1, seed=0
    ),
    "LinearMap.sample": case(lambda **given: shared()["map"].sample(**given), key="@key", samples=3),
    "Parameters": case(sa.Parameters, value=np.ones((2, 3)), score=np.eye(3)),
    "PreconditionedDescent": case(
        sa.PreconditionedDescent,
        preconditioner="full",
        learning_rate=0.5,
        steps=3,
        balance=0.0,
        init="spectral",
        renormalize=False,
        value="descent",
        init_scale=0.1,
        damping=0.0,
    ),
    "self_attention.train": case(
        sa.PreconditionedDescent(steps=3).train, problem="@regression", key="@key", init="@layer", at=[1, 3]
    ),
    "attend": case(sa.attend, params="@layer", queries=X, context=X),
    "effective_tokens": case(sa.effective_tokens, params="@layer", queries=X, context=X),
    "self_attention.loss": case(sa.loss, params="@layer", tokens=X, targets=X[:, :2]),
    "best_learning_rate": case(sa.best_learning_rate, task="@map"),
    "best_scale": case(sa.best_scale, dim=3),
    "context_constant": case(sa.context_constant, params="@layer", task="@map"),
    "self_attention.excess_risk": case(sa.excess_risk, params="@layer", task="@map"),
    "population_loss": case(sa.population_loss, params="@layer", task="@map"),
    "score_norm": case(sa.score_norm, params="@layer", task="@map"),
    # single location
    "Directions": case(sl.Directions, query=UNIT, value=OTHER),
    "LocatedTokens": case(sl.LocatedTokens, tokens=TOKENS, labels=Y, locations=np.zeros(12, int)),
    "Overlaps": case(
        sl.Overlaps,
        query_alignment=0.5,
        value_alignment=0.5,
        value_leak=0.1,
        query_leak=0.1,
        coupling=0.1,
        value_norm=1.0,
        taken=dict.fromkeys(
            ("query_alignment", "value_alignment", "value_leak", "query_leak", "coupling", "value_norm"),
            ("list", "flag", "NaN"),  # of a run that failed; what reads them checks them
        ),
    ),
    "SingleLocation": case(sl.SingleLocation, length=4, dim=3, informative_scale=0.7, label_noise=0.1, signal=1.0),
    "SingleLocation.sample": case(
        lambda **given: shared()["place"].sample(**given), key="@key", samples=3, directions=sl.Directions(UNIT, OTHER)
    ),
    "SingleLocation.directions": case(lambda **given: shared()["place"].directions(**given), key="@key"),
    "ProjectedDescent": case(
        sl.ProjectedDescent,
        inverse_temperature=0.1,
        learning_rate=0.01,
        steps=3,
        init="sphere",
        decay=0.0,
        leak_penalty=0.0,
        batch=2,
        value="descent",
    ),
    "single_location.train": case(sl.ProjectedDescent(steps=3).train, problem="@place", key="@key", at=[1, 3]),
    "bayes_risk": case(sl.bayes_risk, task="@place", draws=100, key="@key"),
    "single_location.excess_risk": case(
        sl.excess_risk,
        task="@place",
        overlaps=sl.Overlaps(0.5, 0.5, 0.0, 0.0, 0.0),
        inverse_temperature=0.5,
    ),
    "free_value": case(
        sl.free_value,
        task="@place",
        query_alignment=0.5,
        query_leak=0.0,
        inverse_temperature=0.5,
        taken=dict.fromkeys(("query_alignment", "query_leak"), NUMBER_OR_ARRAY),
    ),
    "linear_attention_risk": case(sl.linear_attention_risk, task="@place"),
    "linear_risk": case(sl.linear_risk, task="@place"),
    "oracle": case(sl.oracle, task="@place", value="descent"),
    "swap_point": case(sl.swap_point, task="@place", inverse_temperature=0.5),
    # sparse tokens
    "SparseTokens": case(st.SparseTokens, length=4, sparsity=1, strength=2.0, positive_rate=0.5),
    "ColouredTokens": case(st.ColouredTokens, length=4, sparsity=1, strength=2.0, positive_rate=0.5, correlation=0.5),
    "HeavyTailedTokens": case(st.HeavyTailedTokens, length=4, sparsity=1, strength=2.0, positive_rate=0.5, degrees=5.0),
    "RademacherTokens": case(st.RademacherTokens, length=4, sparsity=1, strength=2.0, positive_rate=0.5),
    "SparseTokens.sample": case(
        lambda **given: shared()["sparse"].sample(**given), key="@key", samples=3, dim=3, signal=UNIT
    ),
    "Batch": case(st.Batch, tokens=TOKENS, labels=SIGNS, signal=UNIT),
    "PooledLinear": case(st.PooledLinear, loss="logistic", ridge=0.1),
    "FlatLinear": case(st.FlatLinear, loss="logistic", ridge=0.1),
    "FixedQueryAttention": case(st.FixedQueryAttention, cosine=0.9, sharpness=1.0, loss="logistic", ridge=0.1),
    "TwoStepAttention": case(
        st.TwoStepAttention, loss="logistic", ridge=0.1, query_share=0.5, sharpness=1.0, head_rate=1.0, bias_rate=1.0
    ),
    "sparse_tokens.train": case(
        lambda **given: shared()["pooled"].train(**given), problem="@batch", key="@key", throw=True
    ),
    "classify": case(lambda **given: shared()["fitted"].classify(**given), tokens=TOKENS),
    "score": case(lambda **given: shared()["fitted"].score(**given), tokens=TOKENS),
    "Quadrature": case(st.Quadrature, points=256, scramblings=2),
    "alignment_constant": case(st.alignment_constant, task="@sparse", algorithm=st.TwoStepAttention("square", 0.1)),
    "fixed_query": case(
        st.fixed_query, task="@sparse", algorithm=st.TwoStepAttention("square", 0.1, sharpness=1.0), query_ratio=1.0
    ),
    "alignment": case(st.alignment, task="@sparse", algorithm=st.TwoStepAttention("square", 0.1), query_ratio=1.0),
    "flat_oracle_error": case(st.flat_oracle_error, task="@sparse"),
    "pooled_oracle_error": case(st.pooled_oracle_error, task="@sparse"),
    "bayes_error": case(st.bayes_error, task="@sparse", quadrature=RULE),
    "limit_error": case(st.limit_error, task="@sparse", algorithm="@pooled", quadrature=RULE),
    "oracle_error": case(st.oracle_error, task="@sparse", sharpness=1.0, quadrature=RULE),
    "sparse_tokens.predict": case(
        st.predict,
        "task",
        "algorithm",
        task="@sparse",
        algorithm="@pooled",
        ratio=2.0,
        quadrature=RULE,
    ),
    "sparse_tokens.curve": case(
        st.curve,
        "task",
        "algorithms",
        task="@sparse",
        algorithms="@pooled",
        ratio=np.array([1.0, 2.0]),
        quadrature=RULE,
    ),
    "token_selection.curve": case(
        ts.curve,
        "task",
        "algorithms",
        task="@problem",
        algorithms=ts.MirrorDescent(steps=20),
        p=[2.0, 3.0],
        theory="growth",
        at=[5, 20],
    ),
    "self_attention.curve": case(
        sa.curve,
        "task",
        "algorithms",
        task="@map",
        algorithms=sa.PreconditionedDescent(learning_rate=1.0, steps=3),
        context_length=[100, 200],
        theory="spectral_start",
    ),
    "single_location.curve": case(
        sl.curve,
        "task",
        "algorithms",
        task="@place",
        algorithms=sl.ProjectedDescent(0.5, 0.01, 20),
        learning_rate=[0.001, 0.01],
        given=sl.Overlaps(0.1, 0.1, 0.0, 0.0, 0.0),
        at=[0, 20],
    ),
    "diagonal.curve": case(
        dn.curve,
        "task",
        "algorithms",
        task="@quadratic",
        algorithms=dn.GradientFlow(),
        weight_decay=[0.1, 0.2],
        at=[0.5, 1.0],
    ),
    "sparse_tokens.simulate": case(
        st.simulate,
        "task",
        "algorithm",
        task="@sparse",
        algorithm="@pooled",
        ratio=2.0,
        dim=20,
        key="@key",
        replicates=2,
        full=False,
        taken={"replicates": ("infinity",)},
    ),
    "separable": case(
        st.separable,
        "task",
        "algorithm",
        task="@sparse",
        algorithm="@pooled",
        ratio=2.0,
        dim=10,
        key="@key",
        replicates=1,
    ),
    # token selection
    "SelectionProblem": case(ts.SelectionProblem, tokens=TOKENS[:2], queries=X[:2], labels=SIGNS[:2], decoder=UNIT),
    "EqualScores": case(ts.EqualScores, samples=2, length=3, dim=9, orthonormal=True, every_query=False),
    "RandomSelection": case(ts.RandomSelection, samples=2, length=3, dim=4),
    "RandomSelection.sample": case(ts.RandomSelection(2, 3, 4).sample, key="@key"),
    "MirrorDescent": case(
        ts.MirrorDescent,
        p=2.0,
        learning_rate=0.1,
        steps=5,
        step="normalized",
        parameterization="matrix",
        train_decoder=False,
        gradient="stable",
        polyak_constant=2.0,
    ),
    "token_selection.train": case(
        ts.MirrorDescent(steps=5).train, problem="@problem", key="@key", init=np.zeros((2, 2)), at=[1, 5]
    ),
    "correlation": case(ts.correlation, reference=X, weights=X, taken={"weights": ONE_AXIS}),
    "directional_divergence": case(
        ts.directional_divergence, reference=X, weights=X, p=2.5, taken={"weights": ONE_AXIS}
    ),
    "linear_growth": case(ts.linear_growth, speed=0.1, p=1.5),
    "max_margin": case(ts.max_margin, problem="@problem", selected="@best", p=2.0, throw=True),
    "decoder_max_margin": case(ts.decoder_max_margin, problem="@problem", selected="@best", p=2.0, throw=True),
    "locally_optimal": case(ts.locally_optimal, problem="@problem", solution="@margin", decoder=np.ones(2)),
    "margin_ratio": case(
        ts.margin_ratio, problem="@problem", solution="@margin", weights=np.eye(2), taken={"weights": ONE_AXIS}
    ),
    "support_tokens": case(ts.support_tokens, problem="@problem", solution="@margin"),
    "regularization_path": case(
        ts.regularization_path, problem="@random", radii=np.array([0.5, 3.0]), p=2, taken={"p": ("half",)}
    ),
    "SelectionProblem.scores": case(lambda **given: shared()["problem"].scores(**given), decoder=np.ones(2)),
    "SelectionProblem.optimal_tokens": case(
        lambda **given: shared()["problem"].optimal_tokens(**given), decoder=np.ones(2)
    ),
    # gossip
    "Network": case(gs.Network, edges=EDGES, nodes=4, weights=np.full(4, 0.2), rates=np.full(4, 0.25), largest=False),
    "Network, weights by a word": case(gs.Network, edges=EDGES, weights="metropolis", rates="uniform"),
    "Averaging": case(gs.Averaging, network="@network", values=np.arange(4.0)),
    "Grid": case(gs.Grid, shape=5, weights="degree_bound", periodic=False, taken={"shape": ("list",)}),
    "Percolation": case(gs.Percolation, shape=5, probability=0.5),
    "RandomGeometric": case(gs.RandomGeometric, nodes=5, dim=2, radius=0.5),
    "RandomRegular": case(gs.RandomRegular, nodes=6, degree=3),
    "Jacobi": case(gs.Jacobi, dimension=2.0, alpha=1.0, beta=0.0, gap=0.1),
    "ShiftRegister": case(gs.ShiftRegister, weight=1.5),
    "ShiftRegister, by a word": case(gs.ShiftRegister, weight="optimal"),
    "Tuned": case(gs.Tuned, probes=2, rounds=10),
    "Pairwise": case(gs.Pairwise, accelerated=True, gap=True, steps="stated"),
    "Lattice": case(gs.Lattice, dim=2, initial="point", points=np.full((2, 2), 0.5), steps="simple"),
    "gossip.train": case(gs.Simple().train, problem="@averaging", key="@key", at=[0, 3], throw=True),
    "gossip.simulate": case(
        gs.simulate,
        "task",
        "algorithm",
        task="@averaging",
        algorithm=gs.Jacobi(),
        key="@key",
        replicates=2,
        at=[0, 3],
        unit="rounds",
        taken={"replicates": ("infinity",)},
    ),
    "gossip.predict": case(
        gs.predict,
        "task",
        "algorithm",
        task="@averaging",
        algorithm=gs.Pairwise(True),
        theory="moments",
        at=[0.0, 3.0],
        unit="time",
        throw=True,
    ),
    "gossip.kernel": case(gs.kernel, lattice=gs.Lattice(1), algorithm=gs.Jacobi(1), rounds=3),
    "epd_density": case(
        gs.epd_density, radius=UNIT, time=2.0, alpha=1.5, covariance=np.eye(2), taken={"radius": ANY_SHAPE}
    ),
    "advise": case(gs.advise, net="@network", accuracy=0.1, values=np.arange(4.0)),
    "average": case(gs.average, net="@network", values=np.arange(4.0), method="simple", accuracy=0.1, rounds=3),
    # continuized acceleration
    "co.Quadratic": case(
        co.Quadratic,
        eigenvalues=OTHER,
        start=UNIT,
        gradient_noise=0.1,
        basis=np.eye(3),
        minimiser=UNIT,
    ),
    "co.Quadratic.from_matrix": case(
        co.Quadratic.from_matrix, matrix=np.eye(3), linear=UNIT, start=UNIT, gradient_noise=0.1
    ),
    "co.LeastSquares": case(co.LeastSquares, X=X, y=Y, start=UNIT),
    "co.GaussianLeastSquares": case(co.GaussianLeastSquares, spectrum=OTHER, start=UNIT),
    "Objective": case(
        co.Objective,
        value=lambda x: x @ x,
        gradient=lambda x: 2.0 * x,
        start=UNIT,
        smoothness=2.0,
        strong_convexity=1.0,
        minimum=np.zeros(3),
        traced=False,
    ),
    "Continuized": case(co.Continuized, strong_convexity=0.1, steps="stated", smoothness=1.0),
    "Nesterov": case(co.Nesterov, strong_convexity=0.1),
    "HeavyBall": case(co.HeavyBall, strong_convexity=0.1),
    "StochasticGradient": case(co.StochasticGradient, average=True),
    "constants": case(co.constants, problem="@modes"),
    "continuized.train": case(co.Continuized().train, problem="@modes", key="@key", at=[1, 3]),
    "continuized.predict": case(
        co.predict,
        "task",
        "algorithm",
        task="@modes",
        algorithm=co.Continuized(),
        theory="bound",
        at=[1, 3],
        unit="events",
    ),
    "continuized.curve": case(
        co.curve, "task", "algorithms", task="@modes", algorithms=co.Continuized(), gradient_noise=[0.1, 0.2], at=[1, 3]
    ),
    # single-index targets
    "SingleIndex": case(si.SingleIndex, target=UNIT, noise=0.1),
    "single_index.GradientFlow": case(si.GradientFlow, rate_ratio=0.1, activation=UNIT, neurons=3, outer=UNIT),
    "single_index.Descent": case(
        si.Descent, rate_ratio=0.1, inner_rate=0.1, batch=2, activation=UNIT, neurons=3, outer=UNIT
    ),
    "single_index.train": case(si.GradientFlow(0.1, (0.4, 0.5), 3).train, problem="@index", key="@key", at=[0.1, 1.0]),
    "single_index.simulate": case(
        si.simulate,
        "task",
        "algorithm",
        task="@index",
        algorithm=si.GradientFlow(0.1, (0.4, 0.5), 3),
        dim=5,
        key="@key",
        replicates=2,
        at=[0.1, 1.0],
        unit="time",
        full=True,
    ),
    "single_index.predict": case(
        si.predict,
        "task",
        "algorithm",
        task="@index",
        algorithm=si.GradientFlow(0.1, (0.4, 0.5), 3),
        theory="mean_field",
        at=[0.1, 1.0],
        unit="time",
    ),
    "single_index.risk": case(
        si.risk,
        task="@index",
        activation=UNIT,
        outer=UNIT,
        alignment=0.1 * UNIT,
        gram=np.eye(3),
    ),
    "stages": case(si.stages, target=np.arange(1.0, 4.0), activation=np.ones(3), degree=2),
    "learning_times": case(si.learning_times, task="@index", algorithm=si.GradientFlow(1e-3, (0.4, 0.5), 3)),
    "hermite_coefficients": case(
        functools.partial(si.hermite_coefficients, "relu"), degree=3, breaks=(0.0,), taken={"breaks": ("array", "list")}
    ),
    # two-timescale networks
    "PiecewiseConstant": case(tt.PiecewiseConstant, jumps=[1.0, -2.0], positions=[0.3, 0.6], bias=0.5, noise=1.0),
    "tt.Descent": case(
        tt.Descent,
        rate_ratio=1e-3,
        outer_rate=1e-3,
        neurons=3,
        width=0.01,
        derivative="box",
        positions=[0.1, 0.2, 0.7],
        taken={"derivative": ("text",)},
    ),
    "tt.GradientFlow": case(tt.GradientFlow, rate_ratio=1e-3, neurons=3, width=0.01, positions=[0.1, 0.2, 0.7]),
    "two_timescale.train": case(
        tt.GradientFlow(0.01, 3, 0.02).train, problem="@target", key="@key", at=[0.0, 0.5], throw=True
    ),
    "two_timescale.predict": case(
        tt.predict,
        "task",
        "algorithm",
        task="@target",
        algorithm=tt.GradientFlow(0.01, 3, 0.02),
        theory="limit",
        given={"positions": np.array([[0.1, 0.2, 0.7]])},
        at=[0.0, 0.5],
        throw=True,
    ),
    "two_timescale.curve": case(
        tt.curve,
        "task",
        "algorithms",
        task="@target",
        algorithms=tt.GradientFlow(0.01, 3, 0.02, [0.1, 0.2, 0.7]),
        width=[0.01, 0.02],
        at=[0.5],
    ),
    "hit_time": case(
        tt.hit_time,
        left=UNIT,
        right=UNIT,
        jump=2.0,
        taken={"left": ANY_SHAPE, "right": ANY_SHAPE, "jump": NUMBER_OR_ARRAY},
    ),
    "limit_flow": case(tt.limit_flow, task="@target", positions=[0.1, 0.2, 0.7]),
    "tt.error": case(tt.error, task="@target", positions=[0.1, 0.2, 0.7], taken={"positions": ONE_AXIS}),
    "tt.risk": case(tt.risk, task="@target", positions=[0.1, 0.2, 0.7], outer=[1.0, 2.0, 3.0], bias=0.5, width=0.01),
    "best_readout": case(tt.best_readout, task="@target", positions=[0.1, 0.2, 0.7], width=0.01),
    "width_floor": case(tt.width_floor, task="@target", width=0.01),
    "valid_probability": case(tt.valid_probability, task="@target", neurons=7),
    "success": case(tt.success, task="@target", neurons=3, draws=4, key="@key"),
    # diagonal networks
    "Quadratic": case(dn.Quadratic, matrix=np.eye(3), linear=UNIT, constant=1.0),
    "Quadratic.from_data": case(dn.Quadratic.from_data, X=X, y=Y),
    "Quadratic.loss": case(lambda **given: shared()["quadratic"].loss(**given), x=UNIT, taken={"x": ENTRYWISE}),
    "Anticorrelated": case(dn.Anticorrelated, dim=3, radius=0.7, positive=False),
    "RandomRegression": case(dn.RandomRegression, samples=3, dim=4, monotone=True),
    "GradientFlow": case(
        dn.GradientFlow,
        log_scale=-11.5,
        parameterization="product",
        weight_decay=0.0,
        first_layer=1.0,
        second_layer=0.0,
        taken=dict.fromkeys(("first_layer", "second_layer"), NUMBER_OR_ARRAY),
    ),
    "GradientDescent": case(
        dn.GradientDescent, log_scale=-11.5, learning_rate=0.01, parameterization="product", weight_decay=0.0
    ),
    "diagonal.train": case(dn.GradientFlow().train, problem="@quadratic", key="@key", at=[0.5, 1.0]),
    "first_kink": case(dn.first_kink, problem="@quadratic", positive=False),
    "guarantees_monotone_path": case(dn.guarantees_monotone_path, problem="@quadratic"),
    "lasso_objective": case(
        dn.lasso_objective,
        problem="@quadratic",
        x=UNIT,
        at=1.0,
        weight_decay=0.0,
        taken={"x": ONE_AXIS, "at": NUMBER_OR_ARRAY},
    ),
    "lasso_path": case(dn.lasso_path, problem="@quadratic", weight_decay=0.0, positive=False),
    "LassoPath": case(lambda **given: shared()["lasso"](**given), mu=np.array([0.5, 1.0]), taken={"mu": TO_THE_END}),
    "limit_path": case(dn.limit_path, problem="@quadratic", positive=False, weight_decay=0.0, check_assumptions=False),
    "LimitPath": case(lambda **given: shared()["limit"](**given), s=np.array([0.5, 1.0]), taken={"s": TO_THE_END}),
    "LimitPath.average": case(
        lambda **given: shared()["limit"].average(**given),
        s=np.array([0.5, 1.0]),
        taken={"s": TO_THE_END},
    ),
    "monotonicity_bound": case(
        dn.monotonicity_bound, problem="@quadratic", at=np.array([0.5]), positive=False, taken={"at": ANY_SHAPE}
    ),
    "suboptimality": case(dn.suboptimality, problem="@quadratic", at=[0.5, 1.0]),
    "DiagonalLassoRegressor.fit": case(
        dn.DiagonalLassoRegressor(0.1).fit, X=X, y=Y, sample_weight=np.ones(12), scikit=("X", "y", "sample_weight")
    ),
    "DiagonalLassoRegressor.coef_path": case(
        dn.DiagonalLassoRegressor(0.1).coef_path, X=X, y=Y, alphas=[0.1, 0.2], scikit=("X", "y")
    ),
}


def numbers(tree: Any) -> list[np.ndarray]:
    """Every array of floats in what a call gives back."""
    if isinstance(tree, dict):
        return [found for value in tree.values() for found in numbers(value)]
    if isinstance(tree, list | tuple):
        return [found for value in tree for found in numbers(value)]
    if isinstance(tree, np.ndarray | jax.Array):
        return [np.asarray(tree)] if jnp.issubdtype(tree.dtype, jnp.floating) else []
    if not hasattr(tree, "__dict__") or callable(tree):
        return []
    kept = {name for name in vars(tree) if isinstance(getattr(type(tree), name, None), functools.cached_property)}
    return numbers({n: value for n, value in vars(tree).items() if n not in kept and not n.startswith("_")})


def successful(found: Any) -> bool:
    result = getattr(found, "result", Result.SUCCESSFUL)
    return bool(np.all(np.asarray(result) == int(Result.SUCCESSFUL)))


@pytest.fixture(params=CASES)
def call(request) -> Call:
    return CASES[request.param]()


def test_there_are_a_hundred():
    assert len(CASES) >= 100


@pytest.mark.filterwarnings("ignore:inverse_temperature")
def test_what_is_hostile_is_refused_in_a_sentence_that_names_it_and_changes_nothing(call):
    before = [array.copy() for array in numbers(call.arguments)]
    found = call()
    assert successful(found)
    assert not any(np.isnan(array).any() for array in numbers(found))
    for name, what, wrong in call.hostile():
        with pytest.raises((ValueError, TypeError)) as caught:
            call(**{name: wrong})
        assert name in call.scikit or any(word in str(caught.value) for word in (name, *ALSO.get(name, ()))), (
            f"{name} as {what}: {caught.value}"
        )
    after = numbers(call.arguments)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:inverse_temperature", "ignore:the query's cosine")
def test_no_number_gives_nan_with_success(call):
    for name, value in call.arguments.items():
        for extreme in EXTREMES if isinstance(value, float) else ():
            with contextlib.suppress(ValueError, SolveError):
                found = call(**{name: extreme})
                nan = any(np.isnan(array).any() for array in numbers(found))
                assert not (nan and successful(found)), f"{name}={extreme}"
