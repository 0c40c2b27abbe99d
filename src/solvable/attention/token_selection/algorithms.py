"""Mirror descent with the potential |.|_p^p / p on the key-query matrix: the algorithm, its loop, the run it leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.token_selection.geometry import power_norm
from solvable.attention.token_selection.gradients import (
    Scaled,
    attention_maps,
    autodiff_gradients,
    excess_loss,
    largest_attention,
    stable_gradients,
)
from solvable.attention.token_selection.results import SelectionResult
from solvable.attention.token_selection.task import AnyArray, Selected, SelectionProblem, Vector, Weights, first_largest
from solvable.numerics.fields import Checked, converted, flag, real, whole, word
from solvable.numerics.losses import get_decreasing_loss
from solvable.numerics.precision import float64
from solvable.numerics.random import a_key, normal
from solvable.numerics.recording import log_spaced, recorded, recorded_steps
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.validation import floating, instance, number, truth
from solvable.optim.mirror_descent import normalized
from solvable.optim.mirror_map import inverse_mirror_map, mirror_map

AUTHORS_EPSILON = 2.220446049250313e-16  # the machine epsilon that the authors' code adds to the gradient's norm


class Parameters(NamedTuple):
    """What is trained: W, or K and Q with W = K Q^T, and the decoder (None: kept as the problem has it)."""

    matrices: tuple[Any, ...]
    decoder: Any

    def product(self) -> Float[Array, "d d"]:
        """W."""
        return self.matrices[0] if len(self.matrices) == 1 else self.matrices[0] @ self.matrices[1].T


class TrainingPath(eqx.Module):
    """The recorded steps: `steps` (K,), `weights` (K, d, d) and, where the decoder is trained, `decoder` (K, d)."""

    steps: Int[AnyArray, "K"]
    weights: Float[AnyArray, "K d d"]
    decoder: Float[AnyArray, "K d"] | None = None


class SelectionRun(eqx.Module):
    """A trained layer: `weights` W (d, d), `decoder` v (d,), `path`, and what the attention ended on.

    `selected` is the token with the largest attention, one a sequence (n,), or one a query (n, m);
    `saturation` is the mean of that largest attention: near 1 the selection is settled. `key_matrix` and `query_matrix`
    are the factors of W = K Q^T where they were trained. `result` is a `Result` code.
    """

    weights: Weights
    decoder: Vector
    selected: Selected
    saturation: Float[AnyArray, ""]
    path: TrainingPath
    result: Int[AnyArray, ""]
    key_matrix: Float[AnyArray, "d k"] | None = None
    query_matrix: Float[AnyArray, "d k"] | None = None

    @float64
    def attention(self, problem: SelectionProblem) -> Float[Array, "n T"] | Float[Array, "n m T"]:
        """The attention maps of this layer on a problem's sequences."""
        instance("problem", problem, (SelectionProblem,))
        maps = attention_maps(problem, jnp.asarray(self.weights))
        return maps[:, 0] if problem.queries.ndim == 2 else maps


class LinearGrowth(Checked):
    """The schedule eta_k = (p - 1) speed^(p-1) k^(p-2), k = 1, 2, ...; an optax schedule, called with k - 1."""

    speed: Any = real(above=0.0)
    p: float = real(above=1.0, static=True)

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
    return LinearGrowth(speed, p)


def _rate(value: Any) -> Any:
    return value if callable(value) else number("learning_rate", value, above=0.0)


class MirrorDescent(Checked):
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

    p: float = real(2.0, above=1.0, static=True)
    learning_rate: Any = converted(_rate, 0.1)
    steps: int = whole(2000, at_least=1)
    step: str = word("normalized", "fixed", "polyak")
    parameterization: str = word("matrix", "factored")
    train_decoder: bool = flag(False)
    gradient: str = word("stable", "autodiff", "authors")
    polyak_constant: Any = real(2.0, above=0.0)
    loss: Any = converted(get_decreasing_loss, "logistic")

    def __check_init__(self) -> None:
        rate = self.learning_rate
        if isinstance(rate, LinearGrowth) and (rate.p != self.p or self.step != "normalized"):
            raise ValueError(
                f"learning_rate=linear_growth(..., p={rate.p:g}) is not accepted with p={self.p:g} and "
                f"step={self.step!r}; accepted: the p of the algorithm, normalized steps"
            )
        if self.gradient == "authors" and self.step == "fixed":
            raise ValueError(
                "gradient='authors' is not accepted with step='fixed', which has no norm to add to; accepted: "
                "gradient='autodiff', or step='normalized'"
            )
        alone = {"p": 2.0, "gradient": "stable", "parameterization": "matrix", "train_decoder": False}
        for name, accepted in alone.items() if self.step == "polyak" else ():
            if getattr(self, name) != accepted:
                shown = f"{self.p:g}" if name == "p" else repr(getattr(self, name))
                raise ValueError(
                    f"{name}={shown} is not accepted with step='polyak'; accepted: p=2, the stable gradient, the "
                    "matrix parameterization and a fixed decoder, whose least loss is known"
                )

    @float64
    def train(
        self,
        problem: SelectionProblem,
        key: jax.Array | None = None,
        *,
        init: Any = None,
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
        instance("problem", problem, (SelectionProblem,))
        a_key(key)
        stops = recorded_steps(at, self.steps, np.union1d([0], log_spaced(1, self.steps, 60)))
        run = trained(self.rule, problem, self.start(problem, key, init), jnp.asarray(stops))
        if truth("throw", throw):
            raise_unless_successful(run.result, f"MirrorDescent(p={self.p:g}) over {self.steps} steps")
        return run

    @property
    def rule(self) -> MirrorDescent:
        """The algorithm without the number of its steps, on which the compiled loop does not depend."""
        return dataclasses.replace(self, steps=1)

    def start(self, problem: SelectionProblem, key: jax.Array | None = None, init: Any = None) -> Parameters:
        """The parameters where training starts (see `train`)."""
        dtype, dim, decoder = problem.tokens.dtype, problem.tokens.shape[-1], None
        if self.train_decoder:
            if init is not None and (not isinstance(init, tuple) or len(init) != 2):
                raise ValueError("init is no pair; accepted with train_decoder: (weights, decoder)")
            init, decoder = (None, np.zeros(dim)) if init is None else init
            decoder = _tensor("decoder", decoder, (dim,), dtype)
        if self.parameterization == "matrix":
            weights = np.zeros((dim, dim)) if init is None else init
            return Parameters((_tensor("weights", weights, (dim, dim), dtype),), decoder)
        if init is None:
            key = jax.random.key(0) if key is None else key
            init = (0.1 * normal(key, (dim, dim), dtype), np.zeros((dim, dim)))
        if not isinstance(init, tuple) or len(init) != 2 or np.ndim(init[0]) != 2:
            raise ValueError("init is no pair; accepted for the factored form: (key matrix, query matrix)")
        shape = (dim, np.shape(init[0])[1])
        return Parameters(tuple(_tensor("factor", factor, shape, dtype) for factor in init), decoder)

    def gradients(self, problem: SelectionProblem, parameters: Parameters) -> Parameters:
        """The scaled gradient of every trained tensor, in the place of the tensor."""
        decoder = problem.decoder if parameters.decoder is None else parameters.decoder
        differentiate = stable_gradients if self.gradient == "stable" else autodiff_gradients
        found = differentiate(problem, parameters.product(), decoder, self.loss)
        matrices, (value, scale) = (found.weights,), found.weights
        if len(parameters.matrices) == 2:
            keys, queries = parameters.matrices
            matrices = (Scaled(value @ queries, scale), Scaled(value.T @ keys, scale))
        return Parameters(matrices, None if parameters.decoder is None else found.decoder)

    def summed_rates(self, stops: Int[np.ndarray, "K"]) -> Float[np.ndarray, "K"]:
        """The sum of the learning rates of the first k steps, for every k of `stops`."""
        if not callable(self.learning_rate):
            return stops * float(self.learning_rate)
        rates = jax.vmap(self.learning_rate)(jnp.arange(self.steps))
        rates = np.broadcast_to(np.asarray(rates, np.float64), (self.steps,))
        return np.concatenate([[0.0], np.cumsum(rates)])[stops]

    @property
    def speed(self) -> float | None:
        """The growth of |W|_p a normalised step, where it is constant: linear growth, or a constant rate at p = 2."""
        if isinstance(self.learning_rate, LinearGrowth):
            return float(self.learning_rate.speed)
        return None if callable(self.learning_rate) or self.p != 2.0 else float(self.learning_rate)

    def displacement(self, scaled: Scaled, rate: Float[Array, ""], excess: Scaled | None) -> Float[Array, "..."]:
        """What a step subtracts from the dual variable of one tensor; `excess` is L - L* of a Polyak step."""
        gradient, log_scale = scaled
        if excess is not None:
            # (L - L*) / (c |G|^2) G, in which the scales of L - L* and G cancel but for their difference
            square = jnp.sum(gradient * gradient) * jnp.asarray(self.polyak_constant).astype(gradient.dtype)
            ratio = jnp.exp(excess.log_scale - log_scale) * excess.value
            return ratio / jnp.where(square > 0.0, square, 1.0) * gradient  # a zero gradient moves nothing
        if self.step == "fixed":
            return rate * jnp.exp(log_scale) * gradient
        if self.gradient == "authors":
            norm = power_norm(gradient, self.p / (self.p - 1.0))
            return rate * gradient / (norm + jnp.asarray(AUTHORS_EPSILON, norm.dtype))
        return rate * normalized(gradient, self.p)


@eqx.filter_jit
def trained(rule: MirrorDescent, problem: SelectionProblem, start: Parameters, stops: Int[Array, "K"]) -> SelectionRun:
    """Run the rule from `start`, and record when `stops` steps (increasing) are done."""
    best = first_largest(problem.scores()) if rule.step == "polyak" else None

    def advance(count: Int[Array, ""], state: tuple[Parameters, Parameters]) -> tuple[Parameters, Parameters]:
        parameters, dual = state
        rate = rule.learning_rate(count) if callable(rule.learning_rate) else rule.learning_rate
        rate = jnp.asarray(rate).astype(problem.tokens.dtype)
        excess = None if best is None else excess_loss(problem, parameters.product(), best, rule.loss)
        gradients = rule.gradients(problem, parameters)
        moved = each(lambda u, gradient: u - rule.displacement(gradient, rate, excess), dual, gradients)
        return each(lambda u: inverse_mirror_map(u, rule.p), moved), moved

    # each gradient is a pair in the place of its tensor
    each, all_of = jax.tree_util.tree_map, jax.tree_util.tree_leaves
    moves = each(lambda _, gradient: jnp.any(gradient.value != 0.0), start, rule.gradients(problem, start))
    (last, _), (path, _) = recorded(advance, (start, each(lambda w: mirror_map(w, rule.p), start)), stops)
    finite = jnp.stack([jnp.all(jnp.isfinite(tensor)) for tensor in all_of(last)]).all()
    code = jnp.where(jnp.stack(all_of(moves)).any(), int(Result.SUCCESSFUL), int(Result.ZERO_GRADIENT))
    weights = jax.vmap(Parameters.product)(path)
    decoder = problem.decoder if last.decoder is None else last.decoder
    code = jnp.where(finite, code, int(Result.NONFINITE if best is None else SelectionResult.UNREACHED_LOSS))
    ends = (weights[-1], decoder, *largest_attention(problem, weights[-1]))
    factors = last.matrices if len(last.matrices) == 2 else (None, None)
    return SelectionRun(*ends, TrainingPath(stops, weights, path.decoder), code, *factors)


def _tensor(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    value = floating(f"init, its {name},", value)
    if value.shape != shape:
        raise ValueError(f"init has {name} of shape {value.shape}; accepted: {shape}")
    return jnp.asarray(value).astype(dtype)
