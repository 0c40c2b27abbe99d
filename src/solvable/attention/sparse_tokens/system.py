"""Sparse-token classification as a system: what is drawn and trained, what is measured of it, what theory is asked."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.algorithms import ALGORITHMS, TwoStepAttention
from solvable.attention.sparse_tokens.classifiers import AttentionClassifier
from solvable.attention.sparse_tokens.features import Classifier, Overlaps
from solvable.attention.sparse_tokens.nodes import Quadrature
from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.attention.sparse_tokens.separability import require_minimiser
from solvable.attention.sparse_tokens.task import SparseTokens, random_direction
from solvable.attention.sparse_tokens.theories import OBSERVABLES, theories
from solvable.attention.sparse_tokens.two_steps import Query, drawn, query_code
from solvable.lab.declare import Example, Given, Outcome, Status, System
from solvable.numerics.erm import ERMSolution, ridge_erm
from solvable.numerics.precision import as_float64, batched_map
from solvable.numerics.results import Result, is_traced
from solvable.numerics.validation import integer, number, truth

ERROR_POINTS = 2**12
TEST_SAMPLES = 10_000
# Errors that draws of 1000 bags miss by more than this share, for their bias scatters, are heuristic.
FAR = 0.1


class Runs(eqx.Module):
    """Trained classifiers, (R,) each: the observables, by name, and the steps and certificate of their fits."""

    result: Int[Array, "R"]
    values: dict[str, Any]
    stats: dict[str, Any]


def checked(ratio: Any, quadrature: Quadrature | None = None) -> dict[str, Any]:
    """The keywords of `predict` that curves take too. Raises: ValueError for a ratio that is not above 0."""
    return {"ratio": number("ratio", ratio, above=0.0), "quadrature": quadrature}


class SparseTokenClassification(System):
    """Attention against linear classifiers when a weak signal hides in few tokens; the model of arXiv:2509.25153."""

    tasks = (SparseTokens,)
    algorithms = ALGORITHMS
    run_types = (AttentionClassifier,)
    theories = theories
    traced = True
    observables = OBSERVABLES
    shared = staticmethod(checked)

    def train(self, task, algorithm, keys, at, unit, *, ratio, dim, full=False, test_samples=None) -> Runs:
        dim = integer("dim", dim, at_least=3)
        counts = bag_counts(algorithm, ratio=ratio, dim=dim)
        tests = None if test_samples is None else integer("test_samples", test_samples, at_least=1)
        rule = Quadrature(ERROR_POINTS, 1).bags(task.length)[0][0]
        if not self.is_foreign(task):
            return _runs(task, algorithm, keys, rule, counts, dim, truth("full", full), tests)
        # a law of one's own may be written in anything: nothing around it is compiled
        runs = [_run(task, algorithm, key, rule, counts, dim, True, tests, foreign=True) for key in keys]
        return jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *runs)

    def measure(self, task: Any, algorithm: Any, runs: Runs, at: Any) -> dict[str, Any]:
        return runs.values

    def claims(self, stats: Any, values: Any) -> dict[str, Status]:
        """Errors of which draws of 1000 bags are far are heuristic."""
        limit, drawn = np.asarray(values["test_error"]), np.asarray(stats["error_of_1000_bags"])
        far = np.any(np.abs(drawn - limit) > FAR * limit)
        return {name: Status("heuristic", "derived") for name in ("test_error", "train_error") if far}

    def samples_problems(self, algorithm: Any, full: bool = False, **sizes: Any) -> bool:
        return truth("full", full)

    def runs_given(self, task: Any, algorithm: Any, given: Given | None) -> Query | None:
        """The queries that runs reached (R,)."""
        if given is None:
            return None
        cosine, sharpness = (jnp.atleast_1d(as_float64(given.need(name))) for name in ("cosine", "sharpness"))
        if cosine.shape != sharpness.shape or cosine.ndim != 1:
            shapes = f"cosine of shape {cosine.shape} and sharpness of shape {sharpness.shape}"
            raise ValueError(f"given has {shapes}; accepted: one value of each a replicate")
        if not is_traced(cosine, sharpness):
            if np.any(np.abs(cosine) > 1.0):
                raise ValueError(f"given holds cosine {np.nanmax(np.abs(cosine)):g}; accepted: between -1 and 1")
            if np.any(np.asarray(sharpness) < 0.0):
                raise ValueError(f"given holds sharpness {np.nanmin(sharpness):g}; accepted: >= 0")
        codes, success = jnp.asarray(given.codes(cosine.shape[0])), int(Result.SUCCESSFUL)
        # NaN marks a failed run
        known = jnp.isfinite(cosine) & jnp.isfinite(sharpness)
        return Query(cosine, sharpness, jnp.where((codes == success) & ~known, int(Result.FAILED), codes))

    def example(self) -> Example:
        task, algorithm = SparseTokens(4, 1, 3.0), TwoStepAttention("square")
        return Example(
            task,
            algorithm,
            task.sample(jax.random.key(0), 40, 6),
            shared={"ratio": 2.0},
            sizes={"dim": 40},
            failing=(SparseTokens(4, 1, 3.0, positive_rate=1e-9), algorithm),
            code=int(SparseTokenResult.ONE_CLASS),
            unsolved=(task, TwoStepAttention("square", ridge=0.0)),
            agreement={"train_loss": 0.02},
        )


def bag_counts(algorithm: Classifier, *, ratio: Any, dim: Any) -> tuple[int, int]:
    """How many of the round(ratio * dim) bags train the query, and how many the head.

    Raises: ValueError for a ratio, a dim or a share that leaves too few.
    """
    ratio = float(number("ratio", ratio, above=0.0))
    wanted = ratio * integer("dim", dim, at_least=3)
    samples = round(min(wanted, 2.0**31))
    if not 2 <= samples < 2**31:
        raise ValueError(f"ratio={ratio:g} at dim={dim} makes {wanted:.0f} bags; accepted: 2 to 2**31 - 1")
    query_samples, head_samples = algorithm.split(samples)
    if algorithm.trains_query and not 1 <= query_samples < samples:
        raise ValueError(
            f"query_share={1.0 - algorithm.head_share:g} leaves {query_samples} of {samples} bags for the query; "
            "accepted: a share that leaves at least one bag on each side"
        )
    return query_samples, head_samples


@eqx.filter_jit
def _runs(task: Any, algorithm: Any, keys: Any, *settings: Any) -> Runs:
    return batched_map(lambda key: _run(task, algorithm, key, *settings), keys)


def _run(
    task: Any, algorithm: Any, key: Any, rule: Any, counts: Any, dim: int, full: bool, tests: Any, foreign: bool = False
) -> Runs:
    """One replicate: on real tokens in chunks, or (not `full`) on the few numbers that matter."""
    query_key, head_key, test_key = jax.random.split(key, 3)
    query_samples, samples = counts
    if not full:
        query = algorithm.sampled_query(query_key, task, query_samples, dim)
        features, labels = algorithm.design(head_key, task, query, samples, dim)
        fit = ridge_erm(features, labels, algorithm.loss, algorithm.ridge, throw=False)
        overlaps = algorithm.design_overlaps(fit, query, task)
        return _measured(fit, overlaps, labels, algorithm.error(test_key, task, overlaps, rule, tests))
    direction_key, stream_key = jax.random.split(query_key)
    signal = random_direction(direction_key, dim)
    bags = drawn(stream_key, task, query_samples, signal, foreign) if algorithm.trains_query else None
    vector, query = algorithm.query(stream_key, bags, signal, task.length, dim)
    bags = drawn(head_key, task, samples, signal, foreign)
    features, labels = bags.map(lambda tokens, labels: (algorithm.features(tokens, vector), labels))
    fit = ridge_erm(features, labels, algorithm.loss, algorithm.ridge, throw=False)
    overlaps = algorithm.overlaps(fit, vector, query, signal)
    error = None if foreign else algorithm.error(test_key, task, overlaps, rule, tests)
    if error is None:

        def count(wrong: Any, tokens: Any, labels: Any, weight: Any) -> Any:
            scores = algorithm.features(tokens, vector) @ fit.weights + fit.bias
            return wrong + jnp.sum(jnp.where(labels * scores <= 0, weight, 0.0))

        bags = drawn(test_key, task, tests or TEST_SAMPLES, signal, foreign)
        error = bags.fold(count, jnp.zeros(())) / bags.samples
    return _measured(fit, overlaps, labels, error)


def _measured(fit: ERMSolution, overlaps: Overlaps, labels: Float[Array, "n"], error: Any) -> Runs:
    query, result = overlaps.query, fit.result
    for earlier in (query_code(jnp.sum(jnp.where(labels > 0, 1, 0)), labels.shape[0]), query.result):
        result = jnp.where(earlier == int(Result.SUCCESSFUL), result, earlier)
    values = {
        "test_error": error,
        "train_loss": fit.train_loss,
        "train_error": fit.train_error,
        "cosine": query.cosine,
        "sharpness": query.sharpness,
        "query_weight": overlaps.query_weight,
        "signal_weight": overlaps.signal_weight,
        "bias": fit.bias,
        "orthogonal_norm": overlaps.orthogonal_norm,
    }
    return Runs(result, values, {"steps": fit.steps, "certificate": fit.certificate})


SYSTEM = SparseTokenClassification()
curve = SYSTEM.curve


def simulate(
    task: SparseTokens,
    algorithm: Classifier,
    /,
    *,
    ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    full: bool = False,
    test_samples: int | None = None,
) -> Outcome:
    """Train `replicates` classifiers on ratio * dim bags each and measure the observables of `predict`.

    By default the few numbers on which the outcome depends are drawn from their exact law (see `features`); `full=True`
    makes real tokens, in chunks, and runs the real two steps. `replicates` is a count or a range of replicate numbers:
    replicate r depends on `key` and r alone. The test error is an average over the law of
    the bags, by quadrature, not over a test set; with `test_samples` it is the share of errors on that many fresh bags.
    A task with a `sample` of its own needs `full=True`, which draws all bags by it; its test error, and that of a
    classifier of your own, is counted on `test_samples` fresh bags (None: 10000).

    Returns: an outcome; `.stats` holds the steps and certificates of the fits. A replicate whose draw holds one
    class only, or whose fit does not converge, is NaN with its reason in `.result`.
    Raises: ValueError for arguments out of range.
    """
    sizes = {"ratio": ratio, "dim": dim, "full": full, "test_samples": test_samples}
    return SYSTEM.simulate(task, algorithm, key=key, replicates=replicates, **sizes)


def predict(
    task: SparseTokens,
    algorithm: Classifier,
    /,
    *,
    ratio: Any,
    theory: str | None = None,
    given: Any = None,
    quadrature: Quadrature | None = None,
    throw: bool = True,
) -> Outcome:
    """Predict a trained classifier in the limit samples, dim -> infinity with samples/dim = ratio.

    Arguments: `ratio` all samples over dim (`TwoStepAttention` spends query_share of them on the query); `theory`
    "limit" or "given_query"; the latter reads `cosine` and `sharpness` (R,) from `given` (an outcome of `simulate`, a
    trained classifier, or a mapping), keeps the replicate axis, and is what a `given` alone selects. `quadrature` sets
    the accuracy. `throw` False returns an unsuccessful outcome of NaN, its `result` saying why, instead of raising.

    Returns: an outcome; `.stats` holds the standard errors over scramblings, the residual, the Newton turns, and the
    test error where the bias scatters as it does among draws of 1000 bags (10 % off the limit: heuristic).
    Differentiable (and jit- and vmap-able) in strength, positive_rate, ridge, cosine, sharpness, ratio and `given`.
    Raises: ValueError for arguments out of range, or a ridge of 0 where the loss has no unique minimiser; SolveError
    when the equations are not solved. Equations: see `equations`; arXiv:2509.25153, Theorems 3 to 5, derived here.
    """
    shared = checked(ratio, quadrature)
    if truth("throw", throw):
        require_minimiser(task, algorithm, shared["ratio"])
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, throw=throw, **shared)
