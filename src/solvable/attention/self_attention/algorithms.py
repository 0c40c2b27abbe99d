"""The training algorithm: preconditioned gradient descent on the two matrices of the layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.population import largest_values
from solvable.attention.self_attention.task import LinearMap, RegressionProblem
from solvable.attention.self_attention.training import Rule, train
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import choice, floating, integer, number

RECORDED = 30


class TrainingPath(eqx.Module):
    """The recorded steps (K,) and the parameters there, stacked along their leading axis."""

    steps: Int[Array, "K"]
    parameters: Parameters


class RegressionRun(eqx.Module):
    """A trained layer: its `parameters`, the `losses` (steps + 1,) before, between and after the steps, its `path`.

    The losses are L_n on a sequence, the excess loss (without the noise) on a `LinearMap`. `result` is a `Result` code.
    """

    parameters: Parameters
    losses: Float[Array, "steps+1"]
    path: TrainingPath
    result: Int[Array, ""]


class PreconditionedDescent(eqx.Module):
    """Gradient descent on A and B with steps measured in the covariance S of the tokens (arXiv:2603.01514).

    G_A and G_B are the gradients, S is Sigma for a `LinearMap` and X^T X / n on a sequence, At = A S^1/2 and
    Bt = S^1/2 B S^1/2 the whitened factors, in which the limit loss is |At Bt^T - M S^1/2|^2 / 2.

    preconditioner: "none"; "right", A -= eta G_A S^-1, B -= eta G_B S^-1; "full", A -= eta G_A S^-1,
    B -= eta S^-1 G_B S^-1, which is gradient descent on At and Bt; "scaled", the gradients in At and Bt times
    (Bt^T Bt + damping |Bt|_2^2 I)^-1 and (At^T At + damping |At|_2^2 I)^-1, with eta = 1/2 Newton-like near a solution
    (damping 0: pseudo-inverses; a small random start needs 0.1 to 1).
    learning_rate eta > 0 (see `best_learning_rate`; at most 1/2 for "scaled" and with `renormalize`), steps >= 1.
    balance >= 0: the weight of the penalty |At^T At - Bt^T Bt|_F^2 / 4.
    init: "spectral", At = U s^1/2, Bt = V s^1/2 of the singular values s of Mt = M S^1/2, M estimated by least squares
    on a sequence; "random", At and Bt of independent normals times `init_scale`.
    renormalize: after each step |Bt|_2 is brought to 1/sqrt(d + 2) and A scaled by the inverse, which leaves the limit
    as it is and the attention broad; the steps (not of "scaled") are then divided by |Bt|_2^2 for A, |At|_2^2 for B.
    value: "descent", or "closed_form", A solved by least squares for the B of every step (arXiv:2510.04606).

    Of the paper a preconditioner, a balancing penalty, a spectral start are known to us, not their exact forms: all
    forms here are reconstructions, and `renormalize` is a heuristic of ours.
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    preconditioner: str = eqx.field(static=True)
    learning_rate: Any
    steps: int = eqx.field(static=True)
    balance: Any
    init: str = eqx.field(static=True)
    renormalize: bool = eqx.field(static=True)
    value: str = eqx.field(static=True)
    init_scale: Any
    damping: Any

    def __init__(
        self,
        preconditioner: str = "full",
        learning_rate: Any = 0.5,
        steps: int = 100,
        balance: Any = 0.0,
        init: str = "spectral",
        renormalize: bool = False,
        value: str = "descent",
        init_scale: Any = 0.1,
        damping: Any = 0.0,
    ) -> None:
        self.preconditioner = choice("preconditioner", preconditioner, ("none", "right", "full", "scaled"))
        self.learning_rate = number("learning_rate", learning_rate, above=0.0)
        self.steps = integer("steps", steps, at_least=1)
        self.balance = number("balance", balance, at_least=0.0)
        self.init = choice("init", init, ("spectral", "random"))
        self.renormalize = bool(renormalize)
        self.value = choice("value", value, ("descent", "closed_form"))
        self.init_scale = number("init_scale", init_scale, above=0.0)
        self.damping = number("damping", damping, at_least=0.0)
        if not is_traced(self.balance) and self.balance > 0 and (self.renormalize or self.value == "closed_form"):
            fixed = "renormalize=True" if self.renormalize else "value='closed_form'"
            raise ValueError(
                f"balance={float(self.balance):g} is not accepted with {fixed}, which sets the sizes of A and B "
                "itself; accepted: balance=0"
            )
        if not is_traced(self.damping) and self.damping > 0 and self.preconditioner != "scaled":
            raise ValueError(
                f"damping={float(self.damping):g} is not accepted with preconditioner={self.preconditioner!r}; "
                "accepted: damping=0, or preconditioner='scaled'"
            )

    @float64
    def train(
        self,
        problem: RegressionProblem | LinearMap,
        init: Parameters | None = None,
        key: jax.Array | None = None,
        *,
        at: Sequence[int] | None = None,
        throw: bool = True,
    ) -> RegressionRun:
        """Train on one sequence, in the dtype of its tokens, or on a `LinearMap`'s population loss, in float64.

        `init` are the parameters to start from (None: as the algorithm says, random ones drawn from `key`, None being
        seed 0). `at` are the steps to record, from 0 to `steps` (None: about 30). Works inside jit and vmap.

        Raises: TypeError for what is no problem; ValueError for a start at zero, which is stationary, for one that does
        not fit, and for a sequence with n <= d, whose covariance is singular; SolveError, unless throw=False, when the
        parameters are not finite.
        """
        check_problem(problem)
        start = None if init is None else start_of(problem, init)
        stops = recorded_steps(self.steps, at)
        key = jax.random.key(0) if key is None else key
        run = _train(Rule.of(self), self.steps, problem, start, key, jnp.asarray(stops))
        if throw:
            raise_unless_successful(run.result, f"PreconditionedDescent over {self.steps} steps")
        return run


@float64
def best_learning_rate(task: LinearMap | RegressionProblem) -> Float[Array, ""]:
    """1/(s_1 + s_r), s_1 and s_r the largest and least singular value of M Sigma^1/2 (derived here).

    The rate at which "full" converges fastest from a balanced start; it is stable below 1/s_1. Of data, M is the
    least-squares map and Sigma is X^T X / n. Raises: as training does.
    """
    check_problem(task)
    if isinstance(task, RegressionProblem):
        tokens, targets = as_float64(task.tokens), as_float64(task.targets)
        covariance = tokens.T @ tokens / tokens.shape[0]
        matrix = jnp.linalg.lstsq(tokens, targets)[0].T
    else:
        matrix, covariance = jnp.asarray(task.matrix), jnp.asarray(task.covariance)
    values = largest_values(matrix, covariance)
    return 1.0 / (values[0] + values[-1])


def check_problem(problem: Any) -> None:
    """Check that an algorithm can train on it.

    Raises: TypeError, or ValueError for too few tokens.
    """
    if not isinstance(problem, RegressionProblem | LinearMap):
        raise TypeError(
            f"problem={type(problem).__name__} is not accepted; accepted: a RegressionProblem or a LinearMap"
        )
    if isinstance(problem, RegressionProblem):
        check_samples(*problem.tokens.shape[-2:])


def check_samples(samples: int, dim: int) -> None:
    """Check that least squares and the covariance of a sequence are determined.

    Raises: ValueError.
    """
    if samples <= dim:
        raise ValueError(
            f"samples={samples} tokens of dimension {dim} have a singular covariance, so that neither the spectral "
            f"start nor a preconditioner exists; accepted: more than {dim}"
        )


def start_of(problem: RegressionProblem | LinearMap, init: Any) -> Parameters:
    """The parameters given, in the dtype of the problem.

    Raises: TypeError, or ValueError for shapes that do not fit and a start at zero.
    """
    if isinstance(problem, LinearMap):
        shape, dtype = problem.matrix.shape, jnp.float64
    else:
        shape, dtype = (problem.targets.shape[1], problem.tokens.shape[1]), problem.tokens.dtype
    if not isinstance(init, Parameters):
        raise TypeError(f"init={type(init).__name__} is not accepted; accepted: a Parameters")
    if np.shape(init.value) != shape:
        raise ValueError(f"init has value of shape {np.shape(init.value)}; accepted: {shape}")
    value, score = floating("value", init.value), floating("score", init.score)
    if not is_traced(value, score) and not np.any(np.asarray(value)) and not np.any(np.asarray(score)):
        raise ValueError("init is zero, where every gradient vanishes; accepted: a value or a score that is not zero")
    return Parameters(jnp.asarray(value).astype(dtype), jnp.asarray(score).astype(dtype))


def recorded_steps(steps: int, at: Any = None) -> np.ndarray:
    """The steps to record: those of `at`, else 0 and about 30 up to `steps`, evenly spaced in the logarithm.

    Raises: ValueError for steps that are not whole, increasing and between 0 and `steps`.
    """
    if at is None:
        return np.unique(np.concatenate([[0], np.round(np.geomspace(1, steps, RECORDED))]).astype(np.int64))
    found = np.atleast_1d(np.asarray(at))
    whole = found.dtype.kind in "iuf" and found.ndim == 1 and found.size and np.all(found == np.round(found))
    if not whole or found[0] < 0 or found[-1] > steps or np.any(np.diff(found) <= 0):
        raise ValueError(f"at={at!r} is not accepted; accepted: increasing whole numbers from 0 to steps={steps}")
    return found.astype(np.int64)


def finished(rule: Rule, steps: int, problem: Any, start: Parameters | None, key: Any, stops: Any) -> RegressionRun:
    """Train, and what the recorded parameters make."""
    trained = train(rule, steps, problem, start, key, stops)
    last = jax.tree_util.tree_map(lambda leaf: leaf[-1], trained.path)
    finite = jnp.all(jnp.isfinite(last.value)) & jnp.all(jnp.isfinite(last.score))
    first = jax.tree_util.tree_map(lambda leaf: leaf[0], trained.path)
    moves = jnp.any(first.value != 0.0) | jnp.any(first.score != 0.0)
    code = jnp.where(moves, int(Result.SUCCESSFUL), int(Result.ZERO_GRADIENT))
    code = jnp.where(finite, code, int(Result.NONFINITE))
    return RegressionRun(last, trained.losses, TrainingPath(stops, trained.path), code)


_train = eqx.filter_jit(finished)
