"""Self-attention as a system: how sequences are drawn and trained on, what is measured, the two public calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.self_attention.algorithms import (
    PreconditionedDescent,
    RegressionRun,
    check_length,
    start_of,
    trained,
)
from solvable.attention.self_attention.factors import sizes, speed
from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.population import excess_of, symmetric_root, whitened
from solvable.attention.self_attention.streaming import attended, concentration
from solvable.attention.self_attention.task import LinearMap, RegressionProblem
from solvable.attention.self_attention.theories import theories
from solvable.lab.declare import Example, Given, Observable, Outcome, System, batched_map
from solvable.numerics.validation import instance, integer


class Runs(eqx.Module):
    """Runs of all replicates, the replicate axis first: the start, the states `path` at the steps of `at`, the losses
    (R, steps + 1), and what was drawn: sequences (None: the population), fresh contexts and queries (None: none).

    `moves` says of the population's runs whether they start away from its solution and so have a speed.
    """

    start: Parameters
    path: Parameters
    losses: Float[Array, "R steps+1"]
    result: Int[Array, "R"]
    problem: RegressionProblem | None
    context: Float[Array, "R n d"] | None
    queries: RegressionProblem | None
    moves: bool = eqx.field(static=True)

    @property
    def parameters(self) -> Parameters:
        """The states at the end."""
        return jax.tree_util.tree_map(lambda leaf: leaf[:, -1], self.path)


def lengths(context_length: Any = None, fresh_context_length: Any = None) -> dict[str, int | None]:
    """The numbers of tokens, for a fresh context those of the own unless told otherwise. Raises: ValueError below 1."""
    fresh_context_length = context_length if fresh_context_length is None else fresh_context_length
    found = {"context_length": context_length, "fresh_context_length": fresh_context_length}
    return {name: None if one is None else integer(name, one, at_least=1) for name, one in found.items()}


class SelfAttention(System):
    """Softmax self-attention on linear regression."""

    tasks = (LinearMap,)
    algorithms = (PreconditionedDescent,)
    theories = theories
    run_types = (RegressionRun,)
    bare = {Parameters: "parameters"}
    shared = staticmethod(lengths)
    sampled_with = "context_length=n"
    observables = (
        Observable("excess_risk", "(1/2) |(A Sigma B^T - M) Sigma^1/2|_F^2, on infinitely long contexts", dims=("at",)),
        Observable("train_loss", "L_n on the sequence of training", dims=("at",)),
        Observable("fresh_excess_risk", "(1/2) E|f(x) - M x|^2 on a fresh context", dims=("at",)),
        Observable("score_norm", "|Bt|_2", dims=("at",)),
        Observable("imbalance", "|At^T At - Bt^T Bt|_F", dims=("at",)),
        Observable("effective_share", "1/sum_j P_ij^2 over the tokens in the context", dims=("at",)),
        Observable("start_excess_risk", "excess risk before the first step"),
        Observable("rate", "ratio of the last two excess risks"),
        Observable("iterations", "first step below 1e-10 of the zero map's excess risk"),
    )

    def train(
        self, task: Any, algorithm: Any, keys: Any, at: Any, unit: str, *, query_count=256, init=None, **tokens: Any
    ) -> Runs:
        """Train on one drawn sequence a key, or on the population."""
        length, fresh = lengths(**tokens).values()
        if length is not None:
            check_length("context_length", length, task.matrix.shape[1])
        counts = (length, fresh, integer("query_count", query_count, at_least=1))
        start = None if init is None else start_of(task, init)
        keys, problem, context, queries = (_drawn_by_the_task if self.is_foreign(task) else _drawn)(task, counts, keys)
        run = _trained(algorithm, task if problem is None else None, start, keys, problem, jnp.asarray(at))
        moves = problem is None and (init is not None or algorithm.init == "random")
        return Runs(run.start, run.path.parameters, run.losses, run.result, problem, context, queries, moves)

    def measure(self, task: LinearMap, algorithm: PreconditionedDescent, runs: Runs, at: Any) -> Mapping[str, Any]:
        """The observables of runs; of another law than ours not the risks that only our limit knows."""
        return _measured(task, self.is_foreign(task), runs, jnp.asarray(at))

    def times(self, task: LinearMap, algorithm: PreconditionedDescent, at: Any, unit: str) -> Int[np.ndarray, "K"]:
        """The steps to record."""
        return algorithm.stops(at)

    def is_foreign(self, task: LinearMap) -> bool:
        """Whether a task draws by a `sample` or a `draw` of its own."""
        return not task.is_gaussian

    def samples_problems(self, algorithm: PreconditionedDescent, **sizes: Any) -> bool:
        """Whether there is a sequence: the population loss is known of our law alone."""
        return sizes.get("context_length") is not None

    def runs_given(self, task: LinearMap, algorithm: PreconditionedDescent, given: Given | None) -> Given | None:
        """The states given, checked; one state alone stands for the start and the end of one run."""
        if given is None:
            return None
        state = given.get("parameters")
        given.replicated = not isinstance(state, Parameters) or np.ndim(state.value) != 2
        if not given.replicated:
            state = jax.tree_util.tree_map(lambda leaf: leaf[None], state)
            given.fields = {"start": state, "parameters": state}
        for name, axes in (("start", 1), ("parameters", 1), ("path", 2)):
            state = given.get(name)
            if state is None:
                continue
            state = getattr(state, "parameters", state)  # the path of a run comes with its steps
            instance(f"given[{name!r}]", state, (Parameters,))
            if state.value.shape[axes:] != task.matrix.shape:
                raise ValueError(
                    f"given has {name} with value of shape {state.value.shape}; accepted: that of the task's matrix, "
                    f"{task.matrix.shape}, after {axes} axes of replicates{' and steps' * (axes - 1)}"
                )
            given.fields[name] = jax.tree_util.tree_map(lambda leaf: np.asarray(leaf, np.float64), state)
            given.result = given.codes(len(state.value))
            if name == "path":
                end = jax.tree_util.tree_map(lambda leaf: leaf[:, -1], given.fields[name])
                given.fields.setdefault("parameters", end)
        return given

    def example(self) -> Example:
        """Two matrices of size 2, three steps from a random start on 100 tokens."""
        task, length = LinearMap.conditioned(dim=2), 100
        algorithm = PreconditionedDescent(learning_rate=1.0, steps=3, init="random")
        problem, failing = task.sample(jax.random.key(0), length), PreconditionedDescent(learning_rate=1e6, steps=80)
        shared, near = {"context_length": length}, {"train_loss": 0.25 / length, "excess_risk": 0.25 / length}
        return Example(task, algorithm, problem, shared, {"query_count": 4}, failing=(task, failing), agreement=near)


@eqx.filter_jit
def _drawn(task: LinearMap, counts: tuple[int | None, int | None, int], keys: Any) -> Any:
    """The starts' keys, sequences, fresh contexts and queries: compiled apart, once for all algorithms."""
    length, fresh, count = counts
    own = length or 0

    def one(key: Any) -> Any:
        draw_key, start_key = jax.random.split(key)
        if fresh is None:  # and so no sequence
            return start_key, None, None, None
        end = own + fresh
        tokens, targets = task.draw(draw_key, end + count)
        problem = None if length is None else RegressionProblem(tokens[:own], targets[:own])
        return start_key, problem, tokens[own:end], RegressionProblem(tokens[end:], targets[end:])

    return batched_map(one, keys)


def _drawn_by_the_task(task: LinearMap, counts: Any, keys: Any) -> Any:
    """The same by the task's own `sample`: a sequence, and another one whose tokens are a fresh context and queries."""
    length, fresh, count = counts
    outputs, dim = task.matrix.shape

    def sampled(key: Any, number: int) -> RegressionProblem:
        problem = instance("task.sample", task.sample(key, number), (RegressionProblem,))
        shapes, accepted = (problem.tokens.shape, problem.targets.shape), ((number, dim), (number, outputs))
        if shapes != accepted:
            raise ValueError(f"task.sample drew tokens and targets of shapes {shapes}; accepted: {accepted}")
        return jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf).astype(jnp.float64), problem)

    def one(key: Any) -> Any:
        draw_key, start_key = jax.random.split(key)
        first, second = jax.random.split(draw_key)
        both = sampled(second, fresh + count)
        queries = jax.tree_util.tree_map(lambda leaf: leaf[fresh:], both)
        return start_key, sampled(first, length), both.tokens[:fresh], queries

    return jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *map(one, keys))


@eqx.filter_jit
def _trained(algorithm: PreconditionedDescent, task: Any, init: Any, keys: Any, problem: Any, stops: Any) -> Any:
    def one(key: Any, problem: Any) -> RegressionRun:
        return trained(algorithm, task if problem is None else problem, init, key, stops)

    return batched_map(one, keys, problem)


@eqx.filter_jit
def _measured(task: LinearMap, foreign: bool, runs: Runs, at: Any) -> dict[str, Array]:
    task = jax.tree_util.tree_map(jnp.asarray, task)
    root, _ = symmetric_root(task.covariance)
    noise = 0.5 * task.matrix.shape[0] * task.noise**2

    def excess(params: Parameters) -> Array:
        return excess_of(params.value, params.score, task.matrix, task.covariance)

    def on_context(params: Parameters, queries: Any, context: Any) -> dict[str, Array]:
        answers = attended(params.score, queries.tokens, context) @ params.value.T
        share = jnp.mean(1.0 / concentration(params.score, queries.tokens, context)) / context.shape[0]
        if foreign:
            risk = 0.5 * jnp.mean(jnp.sum((answers - queries.targets) ** 2, axis=1)) - noise
        else:
            # exact in the queries' own excess risk, sampled only in what the context adds
            limits = queries.tokens @ (params.value @ task.covariance @ params.score.T).T
            goals = queries.tokens @ task.matrix.T
            added = jnp.mean(jnp.sum((answers - goals) ** 2 - (limits - goals) ** 2, axis=1))
            risk = excess(params) + 0.5 * added
        return {"fresh_excess_risk": risk, "effective_share": share}

    def one(run: Runs) -> dict[str, Array]:
        found = jax.vmap(lambda params: sizes(*whitened(params, root)))(run.path)
        found["train_loss"] = run.losses[at] + (noise if run.problem is None else 0.0)
        if not foreign:
            found |= {"excess_risk": jax.vmap(excess)(run.path), "start_excess_risk": excess(run.start)}
        if run.moves:
            found |= speed(run.losses, 0.5 * jnp.sum((task.matrix @ task.covariance) * task.matrix))
        if run.queries is not None:
            found |= jax.lax.map(lambda params: on_context(params, run.queries, run.context), run.path)
        return found

    return batched_map(one, runs)


SYSTEM = SelfAttention()
curve = SYSTEM.curve


def simulate(
    task: LinearMap,
    algorithm: PreconditionedDescent,
    /,
    *,
    context_length: int | None = None,
    fresh_context_length: int | None = None,
    query_count: int = 256,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    init: Parameters | None = None,
) -> Outcome:
    """Draw sequences of `context_length` tokens, train on each, and measure the runs.

    `context_length` None is the limit of infinitely many: training on the population loss, where replicates differ by a
    random start alone. Every run answers `query_count` fresh queries from one fresh context of `fresh_context_length`
    tokens (None: as many as `context_length`; without both there is no such measure). `replicates` is a count or a
    range of replicate numbers: replicate r depends on `key` and r alone. `at` are steps (None: about 30 from 0 to
    `algorithm.steps`); `init` replaces the start. A run whose parameters are not finite is NaN with its reason in
    `.result`.

    Over the steps of `at`: `excess_risk` (1/2) |(A Sigma B^T - M) Sigma^1/2|_F^2, the loss on infinitely long contexts
    without the noise; `train_loss` L_n on the sequence of training (the population loss without one);
    `fresh_excess_risk` (1/2) E|f(x) - M x|^2 of fresh queries on a fresh context, exact in the queries' own excess risk
    and sampled only in what the context adds; `score_norm` |Bt|_2; `imbalance` |At^T At - Bt^T Bt|_F;
    `effective_share` mean over fresh queries of 1/sum_j P_ij^2 over the tokens in the context. Once a run:
    `start_excess_risk`, before the first step; for `context_length` None and a start that is no solution also `rate`,
    the ratio of the last two excess risks above 1e-20 of the first, and `iterations`, the first step at which the
    excess risk is below 1e-10 of that of the zero map (the number of steps where it never is). `start` and `path` are
    the parameters at the start and at `at`.

    A task with a `sample` of its own draws every sequence by it. Its `fresh_excess_risk` is the loss on fresh targets
    less (m/2) noise^2; the risks that our law's limit defines are absent.

    Raises: ValueError for arguments out of range, n <= d among them, for a task with a `sample` of its own without
    `context_length`, and for traced values; TypeError for a task or an algorithm of another system.
    """
    tokens: Any = lengths(context_length, fresh_context_length)
    return SYSTEM.simulate(
        task, algorithm, key=key, replicates=replicates, at=at, query_count=query_count, init=init, **tokens
    )


def predict(
    task: LinearMap,
    algorithm: PreconditionedDescent,
    /,
    *,
    context_length: int | None = None,
    fresh_context_length: int | None = None,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    `given` is an outcome of `simulate`, a run, a `Parameters` that stands for start and end of one run, or a mapping
    with what the theory reads, the replicate axis first: "population" the `start`, "local_rate" the `parameters` at
    the end, "context" the `path` of states recorded. Without `given` all three take the spectral start of the
    population, which is a solution already; "population" of a random start needs it. "spectral_start" and "context"
    need `context_length` (or, for "context" without `train_loss`, `fresh_context_length`; None: as many). "context"
    has a `train_loss` of one state alone: that of runs depends on the very sequence. `at` are steps, as
    in `simulate`; with an outcome or a run given they are its own unless told otherwise, with a `Parameters` the
    first. For a task with a `sample` of its own the answer is that for Gaussian tokens, and called heuristic.

    Raises: ValueError for a theory that does not speak of this algorithm or lacks an argument, and for traced values;
    TypeError for a task, an algorithm or a `given` of another system; unless throw=False, SolveError for a run that
    failed and, for "context", where order 1/n^2 exceeds a fifth of order 1/n at any of the steps.
    """
    if at is None and isinstance(given, Parameters):
        at = [0]
    tokens: Any = lengths(context_length, fresh_context_length)
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, throw=throw, **tokens)
