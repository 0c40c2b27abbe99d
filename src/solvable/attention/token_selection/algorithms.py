"""The training algorithm: mirror descent with the potential |.|_p^p / p on the key-query matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.token_selection.gradients import attention_maps
from solvable.attention.token_selection.results import SelectionResult
from solvable.attention.token_selection.task import SelectionProblem, first_largest
from solvable.attention.token_selection.training import Parameters, Rule, Trained, train
from solvable.numerics.losses import DecreasingLoss, get_decreasing_loss
from solvable.numerics.precision import float64
from solvable.numerics.random import normal
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import choice, integer, number

RECORDED = 60


class LinearGrowth(eqx.Module):
    """The schedule eta_k = (p - 1) speed^(p-1) k^(p-2), k = 1, 2, ...; an optax schedule, called with k - 1."""

    speed: Any
    p: float = eqx.field(static=True)

    def __call__(self, count: Any) -> Any:
        """eta_k at k = count + 1."""
        step = jnp.asarray(count).astype(float) + 1.0
        speed = jnp.asarray(self.speed).astype(step.dtype)
        return (self.p - 1.0) * speed ** (self.p - 1.0) * step ** (self.p - 2.0)


def linear_growth(speed: float, p: float) -> LinearGrowth:
    """The learning rates that make normalised mirror descent grow like |W_k|_p = speed * k.

    eta_k = (p - 1) speed^(p-1) k^(p-2): constant at p = 2. The direction then converges like k^-2 for p >= 2, where a
    constant rate gives k^(-2/(p-1)) (derived here).

    Raises: ValueError for speed <= 0 or p that has no mirror map.
    """
    return LinearGrowth(number("speed", speed, above=0.0), float(number("p", p, above=1.0)))


class TrainingPath(eqx.Module):
    """The recorded steps: `steps` (K,), `weights` (K, d, d) and, where the decoder is trained, `decoder` (K, d)."""

    steps: Int[Array, "K"]
    weights: Float[Array, "K d d"]
    decoder: Float[Array, "K d"] | None = None


class SelectionRun(eqx.Module):
    """A trained layer: `weights` W (d, d), `decoder` v (d,), `path`, and what the attention ended on.

    `selected` is the token with the largest attention, one a sequence (n,), or one a query (n, m);
    `saturation` is the mean of that largest attention: near 1 the selection is settled. `key_matrix` and `query_matrix`
    are the factors of W = K Q^T where they were trained. `result` is a `Result` code.
    """

    weights: Float[Array, "d d"]
    decoder: Float[Array, "d"]
    selected: Int[Array, "n"] | Int[Array, "n m"]
    saturation: Float[Array, ""]
    path: TrainingPath
    result: Int[Array, ""]
    key_matrix: Float[Array, "d k"] | None = None
    query_matrix: Float[Array, "d k"] | None = None

    @float64
    def attention(self, problem: SelectionProblem) -> Float[Array, "n T"] | Float[Array, "n m T"]:
        """The attention maps of this layer on a problem's sequences."""
        maps = attention_maps(problem, self.weights)
        return maps[:, 0] if problem.queries.ndim == 2 else maps


class MirrorDescent(eqx.Module):
    """Mirror descent on one attention layer: U = grad psi(W) - eta G, W <- grad psi*(U), psi = |.|_p^p / p.

    grad psi(W) = sign(W)|W|^(p-1), its inverse sign(U)|U|^(1/(p-1)); p = 2 is gradient descent. The dual variable U is
    what is kept. l_p-AttGD of arXiv:2410.14581, with `train_decoder` l_p-JointGD.

    p > 1 finite; learning_rate > 0, or an optax schedule of the step's number; steps >= 1.
    step: "normalized" moves U by eta G/|G|_q, 1/p + 1/q = 1, each trained tensor by its own norm; "fixed" by eta G;
    "polyak" by (L - L*) G / (polyak_constant |G|_2^2), without a learning rate; L* is the loss of attention on the
    optimal tokens, so that a run which attends to others blows up (p = 2, decoder not trained; the constant of
    arXiv:2402.05738 was not read). parameterization: "matrix" trains W, "factored" trains
    K and Q of W = K Q^T. gradient: "stable" keeps its digits at any margin; "autodiff" differentiates the softmax as
    written and "authors" also adds the machine epsilon to the gradient's norm, as the published code does: both go
    wrong once the attention saturates. loss: "logistic", "exponential", "linear" or a `DecreasingLoss`.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    p: float = eqx.field(static=True)
    learning_rate: Any
    steps: int = eqx.field(static=True)
    step: str = eqx.field(static=True)
    parameterization: str = eqx.field(static=True)
    train_decoder: bool = eqx.field(static=True)
    gradient: str = eqx.field(static=True)
    polyak_constant: Any
    loss: DecreasingLoss

    def __init__(
        self,
        p: float = 2.0,
        learning_rate: float | Callable[[Any], Any] = 0.1,
        steps: int = 2000,
        step: str = "normalized",
        parameterization: str = "matrix",
        train_decoder: bool = False,
        gradient: str = "stable",
        polyak_constant: float = 2.0,
        loss: str | DecreasingLoss = "logistic",
    ) -> None:
        self.p = float(number("p", p, above=1.0))
        self.learning_rate = (
            learning_rate if callable(learning_rate) else number("learning_rate", learning_rate, above=0.0)
        )
        self.steps = integer("steps", steps, at_least=1)
        self.step = choice("step", step, ("normalized", "fixed", "polyak"))
        self.parameterization = choice("parameterization", parameterization, ("matrix", "factored"))
        self.train_decoder = bool(train_decoder)
        self.gradient = choice("gradient", gradient, ("stable", "autodiff", "authors"))
        self.polyak_constant = number("polyak_constant", polyak_constant, above=0.0)
        self.loss = get_decreasing_loss(loss)
        if isinstance(learning_rate, LinearGrowth) and (learning_rate.p != self.p or self.step != "normalized"):
            raise ValueError(
                f"learning_rate=linear_growth(..., p={learning_rate.p:g}) is not accepted with p={self.p:g} and "
                f"step={step!r}; accepted: the p of the algorithm, normalized steps"
            )
        if self.gradient == "authors" and self.step == "fixed":
            raise ValueError(
                "gradient='authors' is not accepted with step='fixed', which has no norm to add to; accepted: "
                "gradient='autodiff', or step='normalized'"
            )
        if self.step == "polyak":
            refused = {
                f"p={self.p:g}": self.p != 2.0,
                f"gradient={gradient!r}": self.gradient != "stable",
                f"parameterization={parameterization!r}": self.parameterization != "matrix",
                "train_decoder=True": self.train_decoder,
            }
            for words, wrong in refused.items():
                if wrong:
                    raise ValueError(
                        f"{words} is not accepted with step='polyak'; accepted: p=2, the stable gradient, the matrix "
                        "parameterization and a fixed decoder, whose least loss is known"
                    )

    @float64
    def train(
        self,
        problem: SelectionProblem,
        init: Any = None,
        key: jax.Array | None = None,
        *,
        at: Sequence[int] | None = None,
        throw: bool = True,
    ) -> SelectionRun:
        """Train on one problem, in the dtype of its tokens; works inside jit and vmap.

        `init` is W (d, d), the pair (K, Q) when factored; with `train_decoder` the pair (those, v). None starts at
        W = 0 and v = 0; the factored form, for which K = Q = 0 is a saddle point, then has Q = 0 and K standard normal
        times 0.1, drawn from `key` (None: seed 0). `at` are the steps to record, from 0 to `steps` (None: about 60,
        evenly spaced in the logarithm).

        Derivatives through a run are forward-mode only (`jax.jvp`, `jax.jacfwd`).

        Raises: TypeError for what is no problem; ValueError for an init or steps that do not fit; SolveError, unless
        throw=False, for weights that are not finite or a start where every gradient is zero.
        """
        if not isinstance(problem, SelectionProblem):
            raise TypeError(f"problem={type(problem).__name__} is not accepted; accepted: a SelectionProblem")
        start = start_of(self.parameterization, self.train_decoder, problem, init, key)
        stops = recorded_steps(self.steps, at)
        run = _train(self.rule, problem, start, jnp.asarray(stops))
        if throw:
            raise_unless_successful(run.result, f"MirrorDescent(p={self.p:g}) over {self.steps} steps")
        return run

    @property
    def rule(self) -> Rule:
        """One step of it."""
        return Rule(self.p, self.step, self.gradient, self.learning_rate, self.polyak_constant, self.loss)


def start_of(
    parameterization: str, train_decoder: bool, problem: SelectionProblem, init: Any, key: jax.Array | None
) -> Parameters:
    """The parameters where training starts (see `MirrorDescent.train`)."""
    dtype, dim = problem.tokens.dtype, problem.tokens.shape[-1]
    decoder = None
    if train_decoder:
        if init is not None and (not isinstance(init, tuple) or len(init) != 2):
            raise ValueError("init is no pair; accepted with train_decoder: (weights, decoder)")
        init, decoder = (None, np.zeros(dim)) if init is None else init
        decoder = _start("decoder", decoder, (dim,), dtype)
    if parameterization == "matrix":
        weights = np.zeros((dim, dim)) if init is None else init
        return Parameters(_start("weights", weights, (dim, dim), dtype), None, None, decoder)
    if init is None:
        key = jax.random.key(0) if key is None else key
        init = (0.1 * normal(key, (dim, dim), dtype), np.zeros((dim, dim)))
    if not isinstance(init, tuple) or len(init) != 2 or np.ndim(init[0]) != 2:
        raise ValueError("init is no pair; accepted for the factored form: (key matrix, query matrix)")
    inner = np.shape(init[0])[1]
    keys, queries = (_start("factor", factor, (dim, inner), dtype) for factor in init)
    return Parameters(None, keys, queries, decoder)


def recorded_steps(steps: int, at: Any = None) -> np.ndarray:
    """The steps to record: those of `at`, else 0 and about 60 up to `steps`, evenly spaced in the logarithm.

    Raises: ValueError for steps that are not whole, increasing and between 0 and `steps`.
    """
    if at is None:
        return np.unique(np.concatenate([[0], np.round(np.geomspace(1, steps, RECORDED))]).astype(np.int64))
    found = np.atleast_1d(np.asarray(at))
    whole = found.dtype.kind in "iuf" and found.ndim == 1 and found.size and np.all(found == np.round(found))
    if not whole or found[0] < 0 or found[-1] > steps or np.any(np.diff(found) <= 0):
        raise ValueError(f"at={at!r} is not accepted; accepted: increasing whole numbers from 0 to steps={steps}")
    return found.astype(np.int64)


def finished(problem: SelectionProblem, trained: Trained, steps: Int[Array, "K"], polyak: bool) -> SelectionRun:
    """The run that the recorded parameters make."""
    factored = trained.path.weights is None
    products = jax.vmap(lambda parameters: parameters.product())(trained.path)
    last = jax.tree_util.tree_map(lambda value: value[-1], trained.path)
    weights = products[-1]
    maps = attention_maps(problem, weights)
    selected = first_largest(maps)
    code = jnp.where(trained.moves, int(Result.SUCCESSFUL), int(Result.ZERO_GRADIENT))
    return SelectionRun(
        weights=weights,
        decoder=problem.decoder if last.decoder is None else last.decoder,
        selected=selected[:, 0] if problem.queries.ndim == 2 else selected,
        saturation=jnp.mean(jnp.max(maps, axis=-1)),
        path=TrainingPath(steps, products, trained.path.decoder),
        result=jnp.where(trained.finite, code, int(SelectionResult.UNREACHED_LOSS if polyak else Result.NONFINITE)),
        key_matrix=last.key_matrix if factored else None,
        query_matrix=last.query_matrix if factored else None,
    )


@eqx.filter_jit
def _train(rule: Rule, problem: SelectionProblem, start: Parameters, stops: Int[Array, "K"]) -> SelectionRun:
    return finished(problem, train(rule, problem, start, stops), stops, rule.step == "polyak")


@eqx.filter_jit
def train_batch(rule: Rule, problems: SelectionProblem, starts: Parameters, stops: Int[Array, "K"]) -> SelectionRun:
    """Runs over problems of one shape, stacked along a leading axis, with a start each: one step for all at a time."""
    runs = jax.vmap(lambda problem, start: train(rule, problem, start, stops))(problems, starts)
    polyak = rule.step == "polyak"
    return jax.vmap(lambda problem, trained: finished(problem, trained, stops, polyak))(problems, runs)


def _start(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    if np.shape(value) != shape:
        raise ValueError(f"init has {name} of shape {np.shape(value)}; accepted: {shape}")
    if not is_traced(value) and not np.all(np.isfinite(np.asarray(value))):
        raise ValueError(f"init has {name} that are not finite; accepted: finite numbers")
    return jnp.asarray(value).astype(dtype)
