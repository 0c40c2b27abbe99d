"""How features come from bags, the object that makes a classifier: by attention, as the mean token, as the flat bag.

Each kind says how real bags become features, how a design of them is drawn exactly from the few numbers that matter,
what is read off the weights of a fit, and what the features are in the limit of many dimensions.
"""

from __future__ import annotations

import abc
import functools
import itertools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.classifiers import (
    AttentionClassifier,
    FlatClassifier,
    TrainedClassifier,
    pooled_features,
)
from solvable.attention.sparse_tokens.nodes import Law, MixtureLaw, attention_scalars, sine
from solvable.attention.sparse_tokens.task import Batch, Scalar, SparseTokens, sample_labels, sample_positions
from solvable.attention.sparse_tokens.two_steps import Query, Stream, in_memory
from solvable.lab.declare import Checked, Result, absent, converted, float64, instance, on_the_host, real
from solvable.numerics.erm import ERMSolution, ridge_erm
from solvable.numerics.gaussian import normal_cdf
from solvable.numerics.losses import get_loss
from solvable.numerics.random import a_key, normal
from solvable.numerics.validation import truth

POSITION_SETS = 2000


class Overlaps(eqx.Module):
    """What the outcome needs of a fit: the weights along the query, along the rest of the signal, and off the query.

    `signal_weight` is None where the features have no such direction; `tokens` holds the signal's weight in every
    token's block for the flat classifier.
    """

    query: Query
    bias: Scalar
    query_weight: Scalar
    signal_weight: Any
    orthogonal_norm: Scalar
    tokens: Float[Array, "L"] | None = None


class Classifier(Checked):
    """A linear classifier of features of a bag, by ridge ERM: mean loss + (ridge/2)||w||^2, with a free bias.

    What all algorithms here are. One of your own says its `features`, and then it has `train` and, with `full=True`,
    `simulate`. Arguments: loss, "logistic", "square", "hinge" or a `Loss`; ridge >= 0.
    """

    loss: Any = converted(get_loss, "logistic")
    ridge: Any = real(1e-2, at_least=0.0)

    trains_query: ClassVar[bool] = False

    @abc.abstractmethod
    def features(self, tokens: Float[Array, "n L d"], query: Float[Array, "d"]) -> Float[Array, "n p"]:
        """The features of bags under a query."""

    @float64
    def train(
        self, problem: Batch, key: jax.Array | None = None, *, init: None = None, at: None = None, throw: bool = True
    ) -> TrainedClassifier:
        """Train on a batch.

        `key` shuffles the bags of a `TwoStepAttention` before they are split (None keeps their order), draws the
        direction of a `FixedQueryAttention` off the signal (None: seed 0), and means nothing to the others. There is no
        `init` and no `at`. `throw` False returns a classifier of NaN with its `result` where a solve fails.

        Raises: ValueError when the bags, or a part of the split, do not hold both classes, when a fixed query meets a
        batch without a signal, or when the query stays at zero; SolveError when ERM does not converge.
        """
        instance("problem", problem, (Batch,))
        absent("init", init, "the fit is convex and the query starts at zero")
        absent("at", at, "two steps and a convex fit have no path")
        on_the_host("train", self, problem)
        a_key(key)
        tokens, labels = jnp.asarray(problem.tokens), jnp.asarray(problem.labels).astype(jnp.float64)
        if self.trains_query and key is not None:
            order = jax.random.permutation(key, labels.shape[0])
            tokens, labels = tokens[order], labels[order]
        count, _ = self.split(labels.shape[0])
        self.check_bags(tokens, labels, count)
        signal = None if problem.signal is None else jnp.asarray(problem.signal)
        vector, query = _query(self, key, tokens[:count], labels[:count], signal)
        if truth("throw", throw) and int(query.result) != Result.SUCCESSFUL:
            raise ValueError(
                "tokens leave the query at zero, so that its direction is undefined; accepted: bags of at least two "
                "tokens that differ, and a loss with a gradient"
            )
        fit = ridge_erm(_features(self, tokens[count:], vector), labels[count:], self.loss, self.ridge, throw=throw)
        code = jnp.where(query.result == int(Result.SUCCESSFUL), fit.result, query.result)
        kept = jnp.where(code == int(Result.SUCCESSFUL), 1.0, jnp.nan)
        return self.trained(vector * kept, fit.weights * kept, fit.bias * kept, code, query)

    def check_bags(self, tokens: Any, labels: Any, count: int) -> None:
        """Raises: ValueError when the labels do not hold both classes."""
        require_both_classes(labels, "labels")

    def trained(self, vector: Any, weights: Any, bias: Any, result: Any, query: Query) -> TrainedClassifier:
        """The trained object."""
        return TrainedClassifier(vector, weights, bias, result, self)

    # ---- real bags

    def split(self, samples: int) -> tuple[int, int]:
        """How many of the bags train the query, and how many the head."""
        return 0, samples

    def query(
        self, key: Any, stream: Stream | None, signal: Float[Array, "d"] | None, length: int, dim: int
    ) -> tuple[Float[Array, "d"], Query]:
        """The query that is trained on a stream of bags, is given, or is lacking: zero."""
        return jnp.zeros(dim), no_query()

    def overlaps(
        self, fit: ERMSolution, vector: Float[Array, "d"], query: Query, signal: Float[Array, "d"]
    ) -> Overlaps:
        """What is read off a fit; features that are no combinations of tokens have no weight along the signal."""
        w, norm = fit.weights, jnp.linalg.norm(vector)
        if w.shape != signal.shape:
            return Overlaps(query, fit.bias, jnp.zeros(()), None, jnp.linalg.norm(w))
        unit = vector / jnp.where(norm > 0, norm, 1.0)
        along, cosine = jnp.dot(w, unit), jnp.dot(unit, signal)
        kappa = sine(cosine)
        across = (jnp.dot(w, signal) - cosine * along) / jnp.where(kappa > 1e-8, kappa, jnp.inf)
        return Overlaps(query, fit.bias, along, across, jnp.linalg.norm(w - along * unit))

    # ---- what only the library's kinds know

    def sampled_query(self, key: Any, task: SparseTokens, samples: int, dim: int) -> Query:
        """The query as `query` trains it, drawn from its exact law."""
        return no_query()

    def design(
        self, key: Any, task: SparseTokens, query: Query, samples: int, dim: int
    ) -> tuple[Float[Array, "n p"], Float[Array, "n"]]:
        """The features of bags up to a rotation that a ridge fit does not see, and the labels."""
        raise ValueError(f"algorithm={type(self).__name__} draws no features without tokens; accepted: full=True")

    def error(self, key: Any, task: SparseTokens, overlaps: Overlaps, rule: Any, samples: int | None) -> Scalar | None:
        """P(wrong) on fresh bags, by `rule`, or the share of errors on `samples`; None where that needs tokens."""
        return None

    def law(self, task: SparseTokens) -> Law:
        """The features in the limit. Raises: ValueError for a classifier without a theory."""
        raise ValueError(f"algorithm={type(self).__name__} has no theory; accepted: a classifier that says its law")

    def limit(self, task: SparseTokens, ratio: Any) -> tuple[Law, Any]:
        """(features in the limit, `Result` code) with ratio * dim bags in all."""
        return self.law(task), int(Result.SUCCESSFUL)

    @property
    def head_share(self) -> Any:
        """The share of the bags that trains the head."""
        return 1.0


class SampledClassifier(Classifier):
    """A classifier whose score of a bag, given a row of L numbers, is Gaussian; it also says `design_overlaps`."""

    @abc.abstractmethod
    def bags(self, key: Any, task: SparseTokens, rule: Float[Array, "N L"]) -> Float[Array, "N L"]:
        """The rows of the bags over which errors are averaged."""

    @abc.abstractmethod
    def fresh_bags(self, noise_key: Any, place_key: Any, task: SparseTokens, samples: int) -> Float[Array, "n L"]:
        """The rows of random bags."""

    @abc.abstractmethod
    def margins(self, task: SparseTokens, overlaps: Overlaps, bags: Any, positive: Any) -> tuple[Any, Any]:
        """Mean of the scores of bags but for the bias (N,), and the deviation of their noise."""

    def error(self, key, task, overlaps, rule, samples):
        rate, bias = task.positive_rate, overlaps.bias
        if samples is None:
            bags, total = self.bags(key, task, rule), 0.0
            for label, share in ((1.0, rate), (-1.0, 1.0 - rate)):
                margin, spread = self.margins(task, overlaps, bags, jnp.full(bags.shape[:1], 0.5 + 0.5 * label))
                total = total + share * jnp.mean(normal_cdf(-label * (margin + bias) / spread))
            return total
        label_key, noise_key, rest_key, place_key = jax.random.split(key, 4)
        labels = sample_labels(label_key, samples, rate)
        bags = self.fresh_bags(noise_key, place_key, task, samples)
        margin, spread = self.margins(task, overlaps, bags, jnp.where(labels > 0, 1.0, 0.0))
        scores = margin + bias + spread * jax.random.normal(rest_key, (samples,), jnp.float64)
        return jnp.mean(jnp.where(labels * scores <= 0, 1.0, 0.0))


class AttentionFeatures(SampledClassifier):
    """X^T softmax(X q): d features, of which the query q and the signal span what is not noise."""

    def features(self, tokens, query):
        return pooled_features(tokens, query)[0]

    def trained(self, vector, weights, bias, result, query):
        return AttentionClassifier(vector, weights, bias, result, self, query.cosine, query.sharpness)

    def design(self, key, task, query, samples, dim):
        """Columns (A, kappa c + r z, r Z), Z as in `gaussian_rows`; and labels."""
        label_key, noise_key, rest_key = jax.random.split(key, 3)
        labels = sample_labels(label_key, samples, task.positive_rate)
        noise, positive = normal(noise_key, (samples, task.length + 1), jnp.float64), jnp.where(labels > 0, 1.0, 0.0)
        along, c, scale = attention_scalars(task, query.cosine, query.sharpness, noise[:, 1:], positive)
        plane = sine(query.cosine) * c + scale * noise[:, 0]
        rest = scale[:, None] * gaussian_rows(rest_key, samples, dim - 2)
        return jnp.concatenate([along[:, None], plane[:, None], rest], axis=1), labels

    def design_overlaps(self, fit, query, task):
        return Overlaps(query, fit.bias, fit.weights[0], fit.weights[1], jnp.linalg.norm(fit.weights[1:]))

    def bags(self, key, task, rule):
        """The noise along the query; flipped signs keep its law, and make errors of the rule independent."""
        return rule * jax.random.rademacher(key, (task.length,), jnp.float64)[None, :]

    def fresh_bags(self, noise_key, place_key, task, samples):
        return normal(noise_key, (samples, task.length), jnp.float64)

    def margins(self, task, overlaps, bags, positive):
        cosine, sharpness, _ = overlaps.query
        along, c, scale = attention_scalars(task, cosine, sharpness, bags, positive)
        margin = overlaps.query_weight * along + overlaps.signal_weight * sine(cosine) * c
        return margin, scale * overlaps.orthogonal_norm


class MeanFeatures(AttentionFeatures):
    """The mean token: attention with a zero query, where all is Gaussian."""

    def design(self, key, task, query, samples, dim):
        """Columns (along the signal, the others as in `gaussian_rows`); and labels."""
        label_key, signal_key, rest_key = jax.random.split(key, 3)
        labels = sample_labels(label_key, samples, task.positive_rate)
        scale = task.length**-0.5
        shift = jnp.where(labels > 0, task.strength * (task.sparsity / task.length), 0.0)
        first = shift + scale * jax.random.normal(signal_key, (samples,), jnp.float64)
        rest = scale * gaussian_rows(rest_key, samples, dim - 1)
        return jnp.concatenate([first[:, None], rest], axis=1), labels

    def design_overlaps(self, fit, query, task):
        return Overlaps(query, fit.bias, jnp.zeros(()), fit.weights[0], jnp.linalg.norm(fit.weights))

    def bags(self, key, task, rule):
        """One bag: the noise of its tokens along the query has no weight."""
        return jnp.zeros((1, task.length))

    def law(self, task):
        # The mean token has noise 1/sqrt(L) an entry: its weights are sqrt(L) times those of the unit-noise mixture.
        return MixtureLaw.of(task, ratio=1.0, ridge=task.length, unit=task.length**0.5)


class FlatFeatures(SampledClassifier):
    """The entries of all tokens: L d features, of which L lie along the signal."""

    def features(self, tokens, query):
        return tokens.reshape(tokens.shape[0], -1)

    def trained(self, vector, weights, bias, result, query):
        return FlatClassifier(None, weights.reshape(-1, vector.shape[0]), bias, result, self)

    def overlaps(self, fit, vector, query, signal):
        return self._overlaps(fit, query, fit.weights.reshape(-1, signal.shape[0]) @ signal)

    def design_overlaps(self, fit, query, task):
        return self._overlaps(fit, query, fit.weights[: task.length])

    def _overlaps(self, fit, query, tokens):
        along = jnp.sum(tokens) * tokens.shape[0] ** -0.5
        return Overlaps(query, fit.bias, jnp.zeros(()), along, jnp.linalg.norm(fit.weights), tokens)

    def design(self, key, task, query, samples, dim):
        """Columns (the L coordinates along the signal, one a token; the others as in `gaussian_rows`); and labels."""
        label_key, place_key, signal_key, rest_key = jax.random.split(key, 4)
        labels = sample_labels(label_key, samples, task.positive_rate)
        shift = jnp.where(labels > 0, task.strength, 0.0)[:, None] * sample_positions(place_key, samples, task)
        first = shift + normal(signal_key, (samples, task.length), jnp.float64)
        rest = gaussian_rows(rest_key, samples, task.length * (dim - 1))
        return jnp.concatenate([first, rest], axis=1), labels

    def bags(self, key, task, rule):
        """The places where the signal may be."""
        return jnp.asarray(position_sets(task.length, task.sparsity))

    def fresh_bags(self, noise_key, place_key, task, samples):
        sets = jnp.asarray(position_sets(task.length, task.sparsity))
        return sets[jax.random.randint(place_key, (samples,), 0, sets.shape[0])]

    def margins(self, task, overlaps, bags, positive):
        return task.strength * positive * (bags @ overlaps.tokens), overlaps.orthogonal_norm

    def law(self, task):
        return MixtureLaw.of(task, ratio=1.0 / task.length, ridge=1.0, unit=1.0)


def no_query() -> Query:
    """No attention."""
    return Query(jnp.zeros(()), jnp.zeros(()), jnp.array(int(Result.SUCCESSFUL)))


def gaussian_rows(key: jax.Array, rows: int, columns: int) -> Float[Array, "rows m"]:
    """A matrix whose Gram matrix has the law of a Gaussian (rows, columns) one's, with m = rows columns if
    columns > 2 rows, else m = columns.

    A Gaussian matrix wider than tall is T Q with Q orthonormal and independent of the lower triangular T (Bartlett:
    T_ij ~ N(0, 1) below the diagonal, T_ii ~ chi with columns - i degrees), and a ridge fit sees Q only as a rotation.
    Draws are single precision: their grain of 1e-7 is far below anything a run resolves.
    """
    if columns <= 2 * rows:  # the triangle saves less than half of the draws: not worth its gamma sampler
        return normal(key, (rows, columns), jnp.float32).astype(jnp.float64)
    below_key, diagonal_key = jax.random.split(key)
    below = normal(below_key, (rows, rows), jnp.float32).astype(jnp.float64)
    degrees = columns - jnp.arange(rows).astype(jnp.float64)
    diagonal = jnp.sqrt(2.0 * jax.random.gamma(diagonal_key, 0.5 * degrees, dtype=jnp.float64))
    return jnp.tril(below, -1) + jnp.diag(diagonal)


@functools.lru_cache(maxsize=16)
def position_sets(length: int, sparsity: int) -> np.ndarray:
    """Indicators of the sets of signal positions: all of them, or 2000 random ones where there are more."""
    sets = list(itertools.islice(itertools.combinations(range(length), sparsity), POSITION_SETS + 1))
    if len(sets) > POSITION_SETS:
        rng = np.random.default_rng(0)
        sets = [rng.choice(length, sparsity, replace=False) for _ in range(POSITION_SETS)]
    indicators = np.zeros((len(sets), length))
    np.put_along_axis(indicators, np.array(sets), 1.0, axis=1)
    return indicators


def require_both_classes(labels: Any, what: str) -> None:
    """Raises: ValueError when the labels do not hold both classes."""
    present = np.unique(np.asarray(labels))
    if present.size < 2:
        held = "no label" if present.size == 0 else f"only the label {int(present[0]):+d}"
        raise ValueError(f"{what} holds {held}; accepted: both classes; bags sorted by label need key=, which shuffles")


# The arrays are arguments of compiled functions: closed over, they would be copied into them as constants.
@eqx.filter_jit
def _query(algorithm: Classifier, key: Any, tokens: Any, labels: Any, signal: Any) -> tuple[Float[Array, "d"], Query]:
    stream = in_memory(tokens, labels) if algorithm.trains_query else None
    return algorithm.query(key, stream, signal, *tokens.shape[1:])


@eqx.filter_jit
def _features(algorithm: Classifier, tokens: Any, query: Any) -> Float[Array, "n p"]:
    return algorithm.features(tokens, query).astype(jnp.float64)
