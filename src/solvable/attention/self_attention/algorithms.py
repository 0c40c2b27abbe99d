"""Preconditioned gradient descent on the two matrices of the layer, on one sequence or on the population."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.population import (
    gradients_of,
    spectral_norm,
    symmetric_root,
    unwhitened,
    whitened,
)
from solvable.attention.self_attention.streaming import attended, loss_and_gradients
from solvable.attention.self_attention.task import LinearMap, RegressionProblem, gaussian
from solvable.lab.declare import Checked, flag, instance, log_spaced, pick, real, recorded, recorded_steps, whole, word
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.random import a_key
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import truth
from solvable.optim.closed_form_head import closed_form_head, closed_form_head_from_moments

RECORDED = 30
CUTOFF = 1e-12  # of the largest eigenvalue: what a pseudo-inverse takes for zero
RIDGE = 1e-12  # of the mean square feature: a solved value layer exists for a score of lower rank too


class TrainingPath(eqx.Module):
    """The recorded steps (K,) and the parameters there, stacked along their leading axis."""

    steps: Int[Array, "K"]
    parameters: Parameters


class RegressionRun(eqx.Module):
    """A trained layer: its `start`, its `parameters`, the `losses` before, between and after the steps, its `path`.

    The losses (steps + 1,) are L_n on a sequence, the excess risk (without the noise) on a `LinearMap`; those of steps
    that were not asked for are NaN. `result` is a `Result` code.
    """

    start: Parameters
    parameters: Parameters
    losses: Float[Array, "steps+1"]
    path: TrainingPath
    result: Int[Array, ""]

    @property
    def at(self) -> Int[Array, "K"]:
        """The recorded steps."""
        return self.path.steps


class Source(eqx.Module):
    """Where gradients come from: a sequence, or the population, with the covariance of its tokens and its roots."""

    problem: RegressionProblem | LinearMap
    covariance: Array
    inverse: Array
    root: Array
    inverse_root: Array

    @staticmethod
    def of(problem: RegressionProblem | LinearMap) -> Source:
        """The source of a problem."""
        problem = jax.tree_util.tree_map(jnp.asarray, problem)
        if isinstance(problem, LinearMap):
            covariance = problem.covariance
        else:
            covariance = problem.tokens.T @ problem.tokens / problem.tokens.shape[0]
        root, inverse_root = symmetric_root(covariance)
        return Source(problem, covariance, inverse_root @ inverse_root, root, inverse_root)

    def least_squares(self) -> Float[Array, "m d"]:
        """M, or its least-squares estimate."""
        if isinstance(self.problem, LinearMap):
            return self.problem.matrix
        moment = self.problem.tokens.T @ self.problem.targets / self.problem.tokens.shape[0]
        return (self.inverse @ moment).T

    def gradients(self, params: Parameters) -> tuple[Array, Array, Array]:
        """The loss (the excess loss in the population) and its gradients in A and B."""
        if isinstance(self.problem, LinearMap):
            return gradients_of(params.value, params.score, self.problem.matrix, self.covariance)
        found, of = loss_and_gradients(params.value, params.score, self.problem.tokens, self.problem.targets)
        return found, of.value, of.score

    def solved(self, params: Parameters) -> Parameters:
        """The parameters with the A that is best for their B."""
        if isinstance(self.problem, LinearMap):
            passed = self.covariance @ params.score.T @ self.covariance  # Sigma B^T times the covariance
            gram = passed @ params.score @ self.covariance
            moment = passed @ self.problem.matrix.T
            ridge = RIDGE * jnp.trace(gram) / gram.shape[0]
            weights = closed_form_head_from_moments(0.5 * (gram + gram.T), moment, ridge=ridge)
        else:
            features = attended(params.score, self.problem.tokens, self.problem.tokens)
            ridge = RIDGE * jnp.mean(features * features)
            weights = closed_form_head(features, self.problem.targets, ridge=ridge).weights
        return Parameters(weights.T, params.score)

    def spectral_start(self) -> Parameters:
        """At = U s^1/2 and Bt = V s^1/2 from the singular values of M S^1/2."""
        return unwhitened(*spectral_factors(self.least_squares() @ self.root), self.inverse_root)

    def random_start(self, scale: Array, key: jax.Array) -> Parameters:
        """At and Bt of independent normals times the scale, whatever the covariance."""
        outputs, dim = self.least_squares().shape
        normal = scale * jax.random.normal(key, (outputs + dim, dim), self.root.dtype)
        return unwhitened(normal[:outputs], normal[outputs:], self.inverse_root)


class PreconditionedDescent(Checked):
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

    preconditioner: str = word("full", "none", "right", "scaled")
    learning_rate: Any = real(0.5, above=0.0)
    steps: int = whole(100, at_least=1)
    balance: Any = real(0.0, at_least=0.0)
    init: str = word("spectral", "random")
    renormalize: bool = flag()
    value: str = word("descent", "closed_form")
    init_scale: Any = real(0.1, above=0.0)
    damping: Any = real(0.0, at_least=0.0)

    def __check_init__(self) -> None:
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
        key: jax.Array | None = None,
        *,
        init: Parameters | None = None,
        at: Sequence[int] | None = None,
        throw: bool = True,
    ) -> RegressionRun:
        """Train on one sequence, in the dtype of its tokens, or on a `LinearMap`'s population loss, in float64.

        `init` are the parameters to start from (None: as the algorithm says, random ones drawn from `key`, None being
        seed 0). `at` are the steps to record, from 0 to `steps` (None: about 30). Works inside jit and vmap.

        Raises: TypeError for what is no problem; ValueError for a start at zero, which is stationary, for one that does
        not fit, for a sequence with n <= d, whose covariance is singular, and for a law with a `sample` of its own,
        whose population loss is not known; SolveError, unless throw=False, when the parameters are not finite.
        """
        instance("problem", problem, (RegressionProblem, LinearMap))
        if isinstance(problem, RegressionProblem):
            check_length("n", *problem.tokens.shape[-2:])
        else:
            gaussian(problem)
        start = None if init is None else start_of(problem, init)
        key = a_key(key)
        run = _train(self, problem, start, key, jnp.asarray(self.stops(at)))
        if truth("throw", throw):
            raise_unless_successful(run.result, f"PreconditionedDescent over {self.steps} steps")
        return run

    def stops(self, at: Any = None) -> Int[np.ndarray, "K"]:
        """The steps to record: those of `at`, else 0 and about 30 up to `steps`, evenly spaced in the logarithm.

        Raises: ValueError for steps that are not whole, increasing and between 0 and `steps`.
        """
        return recorded_steps(at, self.steps, [0, *log_spaced(1, self.steps, RECORDED)])

    def begun(self, source: Source, init: Parameters | None, key: jax.Array) -> Parameters:
        """The parameters before the first step."""
        if init is None:
            spectral = self.init == "spectral"
            init = source.spectral_start() if spectral else source.random_start(self.init_scale, key)
        return self.settled(source, init)

    def settled(self, source: Source, params: Parameters) -> Parameters:
        """Renormalised, or with A solved, where the algorithm does so."""
        if self.renormalize:
            dim = source.root.shape[0]
            _, score = whitened(params, source.root)
            gain = spectral_norm(score) * jnp.sqrt(jnp.asarray(dim + 2, score.dtype))
            params = Parameters(params.value * gain, params.score / gain)
        return source.solved(params) if self.value == "closed_form" else params

    def step(self, source: Source, params: Parameters, in_value: Array, in_score: Array) -> Parameters:
        """The parameters after a step along these gradients."""
        value, score = whitened(params, source.root)
        unbalanced = value.T @ value - score.T @ score
        in_value = in_value + self.balance * value @ unbalanced @ source.root
        in_score = in_score - self.balance * source.root @ score @ unbalanced @ source.root
        rates = (self.learning_rate, self.learning_rate)
        if self.preconditioner == "scaled":
            in_value = in_value @ source.inverse_root @ self._damped(score) @ source.inverse_root
            in_score = source.inverse @ in_score @ source.inverse_root @ self._damped(value) @ source.inverse_root
        else:
            if self.renormalize:
                rates = tuple(self.learning_rate / spectral_norm(factor) ** 2 for factor in (score, value))
            if self.preconditioner != "none":
                in_value, in_score = in_value @ source.inverse, in_score @ source.inverse
            if self.preconditioner == "full":
                in_score = source.inverse @ in_score
        stepped = Parameters(params.value - rates[0] * in_value, params.score - rates[1] * in_score)
        return self.settled(source, stepped)

    def _damped(self, factor: Array) -> Array:
        """(F^T F + damping |F|_2^2 I)^-1, the pseudo-inverse where the damping is 0."""
        square = factor.T @ factor
        # LAPACK prints a complaint about a matrix that is not finite; what has diverged stays so
        sound = jnp.all(jnp.isfinite(square))
        values, vectors = jnp.linalg.eigh(jnp.where(sound, square, jnp.eye(*square.shape, dtype=square.dtype)))
        values = jnp.where(sound, values, jnp.nan)
        top = values[-1]
        shifted = values + self.damping * top
        kept = ~(shifted <= CUTOFF * top)
        return (vectors * jnp.where(kept, 1.0 / jnp.where(kept, shifted, 1.0), 0.0)[None, :]) @ vectors.T


@float64
def best_learning_rate(task: LinearMap | RegressionProblem) -> Float[Array, ""]:
    """1/(s_1 + s_r), s_1 and s_r the largest and least singular value of M Sigma^1/2 (derived here).

    The rate at which "full" converges fastest from a balanced start; it is stable below 1/s_1. Of data, M is the
    least-squares map and Sigma is X^T X / n. Raises: as training does.
    """
    instance("task", task, (RegressionProblem, LinearMap))
    if isinstance(task, RegressionProblem):
        check_length("n", *task.tokens.shape[-2:])
        tokens, targets = as_float64(task.tokens), as_float64(task.targets)
        covariance = tokens.T @ tokens / tokens.shape[0]
        matrix = jnp.linalg.lstsq(tokens, targets)[0].T
    else:
        matrix, covariance = jnp.asarray(task.matrix), jnp.asarray(task.covariance)
    values = jnp.linalg.svd(matrix @ jnp.linalg.cholesky(covariance), compute_uv=False)
    return 1.0 / (values[0] + values[-1])


def spectral_factors(goal: Float[Array, "m d"]) -> tuple[Float[Array, "m d"], Float[Array, "d d"]]:
    """U s^1/2 and V s^1/2 with d columns, of the singular values s of Mt."""
    left, values, right = jnp.linalg.svd(goal, full_matrices=False)
    missing = ((0, 0), (0, goal.shape[1] - values.shape[0]))
    value, score = (jnp.pad(each * jnp.sqrt(values)[None, :], missing) for each in (left, right.T))
    return value, score


def check_length(name: str, length: int, dim: int) -> None:
    """Raises: ValueError unless least squares and the covariance of a sequence are determined."""
    if length <= dim:
        raise ValueError(
            f"{name}={length} tokens of dimension {dim} have a singular covariance, so that neither the spectral "
            f"start nor a preconditioner exists; accepted: more than {dim}"
        )


def start_of(problem: RegressionProblem | LinearMap, init: Any) -> Parameters:
    """The parameters given, in the dtype of the problem. Raises: ValueError if they do not fit or are zero."""
    if isinstance(problem, LinearMap):
        shape, dtype = problem.matrix.shape, jnp.float64
    else:
        shape, dtype = (problem.targets.shape[1], problem.tokens.shape[1]), problem.tokens.dtype
    instance("init", init, (Parameters,))
    if np.shape(init.value) != shape:
        raise ValueError(f"init has value of shape {np.shape(init.value)}; accepted: {shape}")
    if not is_traced(init) and not np.any(np.asarray(init.value)) and not np.any(np.asarray(init.score)):
        raise ValueError("init is zero, where every gradient vanishes; accepted: a value or a score that is not zero")
    return jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf).astype(dtype), init)


def trained(
    algorithm: PreconditionedDescent,
    problem: RegressionProblem | LinearMap,
    init: Parameters | None,
    key: Any,
    stops: Int[Array, "K"],
) -> RegressionRun:
    """Train for `stops[-1]` steps and record the parameters when `stops` steps are done."""
    source = Source.of(problem)
    dtype = source.root.dtype
    algorithm = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf).astype(dtype), algorithm)
    start = algorithm.begun(source, init, key)

    def advance(count: Int[Array, ""], state: tuple[Parameters, Array]) -> tuple[Parameters, Array]:
        params, losses = state
        loss, in_value, in_score = source.gradients(params)
        return algorithm.step(source, params, in_value, in_score), losses.at[count].set(loss)

    blank = jnp.full((algorithm.steps + 1,), jnp.nan, dtype)
    # one step more than asked for, whose parameters are dropped: it records the last loss without compiling it again
    (_, losses), (path, _) = recorded(advance, (start, blank), jnp.append(stops, stops[-1] + 1))
    path = jax.tree_util.tree_map(lambda leaf: leaf[:-1], path)
    last = pick(path, -1)
    finite = jnp.all(jnp.isfinite(last.value)) & jnp.all(jnp.isfinite(last.score))
    moves = jnp.any(start.value != 0.0) | jnp.any(start.score != 0.0)
    code = jnp.where(moves, int(Result.SUCCESSFUL), int(Result.ZERO_GRADIENT))
    code = jnp.where(finite, code, int(Result.NONFINITE))
    return RegressionRun(start, last, losses, TrainingPath(stops, path), code)


_train = eqx.filter_jit(trained)
