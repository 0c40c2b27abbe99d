"""Fit the pooling and the head of an estimator by a few reads of its source."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from scipy.special import expit

from solvable.bags import heads, leakage, passes
from solvable.bags.container import Bags, unchecked
from solvable.bags.passes import Block, Group
from solvable.numerics.threads import one_blas_thread

POOLINGS = ("attention", "mean", "max", "min", "logsumexp")
# A feature whose deviation is below this share of its mean is constant but for rounding.
CONSTANT = 1e-12
# A head on fewer bags is fitted by one thread.
LARGE = 400


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to fit: the parameters of the estimators that the mathematics needs."""

    pooling: tuple[str, ...]
    queries: int
    sharpness: float
    head_rate: float
    standardize: bool
    clip: float
    inverse_temperature: float
    head: str
    loss: str
    C: float
    class_weight: Any
    bounded_memory: bool
    regression: bool = False


@dataclasses.dataclass(frozen=True)
class Pooling:
    """Fitted pooling: what maps bags to features.

    `queries` (d, K) score raw tokens, sharpness included; `mean` and `deviation` (d,) standardise tokens for the
    log-sum-exp; `feature_mean` and `feature_deviation` (p,) standardise the pooled features, which are then clipped.
    """

    parts: tuple[str, ...]
    queries: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    inverse_temperature: float
    feature_mean: np.ndarray
    feature_deviation: np.ndarray
    clip: float

    @property
    def widths(self) -> tuple[int, ...]:
        """How many features vary in each block of d: a block a pooling, or a query."""
        varying = np.isfinite(self.feature_deviation).reshape(-1, len(self.mean))
        return tuple(max(1, int(width)) for width in varying.sum(axis=1))

    def raw(self, bags: Bags) -> np.ndarray:
        """The pooled features (n, p) before they are standardised."""
        found = []
        for part in self.parts:
            if part == "attention":
                tokens = passes.float64(bags.values)
                weights = passes.attention_weights(tokens @ self.queries, bags.offsets)
                found += [passes.weighted_sums(tokens, column, bags.offsets) for column in weights.T]
            elif part == "mean":
                found.append(passes.token_means(bags.values, bags.offsets))
            elif part == "logsumexp":
                rate = self.inverse_temperature
                found.append(passes.log_mean_exp(bags, self.mean, self.deviation, rate))
            else:
                found.append(passes.extremes(bags, part))
        return np.concatenate(found, axis=1)

    def features(self, bags: Bags) -> np.ndarray:
        """The standardised, clipped features (n, p)."""
        return self.standardised(self.raw(bags))

    def standardised(self, raw: np.ndarray) -> np.ndarray:
        """Raw features standardised and clipped."""
        return np.clip((raw - self.feature_mean) / self.feature_deviation, -self.clip, self.clip)

    def attention(self, bags: Bags) -> np.ndarray:
        """The weight (N, K) of each token in its bag for each query."""
        return passes.attention_weights(passes.float64(bags.values) @ self.queries, bags.offsets)


@dataclasses.dataclass(frozen=True)
class Fit:
    """Everything that was learned, and the values that the labels took (None in a regression)."""

    pooling: Pooling
    head: heads.Head
    classes: np.ndarray | None
    target_mean: float = 0.0
    target_deviation: float = 1.0


@dataclasses.dataclass(frozen=True)
class Coded:
    """Targets as numbers, -1 and +1 or standardised, with their weights and moments.

    `groups` are the two classes (the first one is negative), or all bags; `weights` (n,) weigh bags in the head,
    `query_weights` in the second step, where both classes count alike. `held_out` (n,) is the share of a bag that
    leave-one-out scores leave out: all of it, or one of the copies that a sample weight above one stands for.
    `reweighted`: class weights change the proportion of the classes.
    """

    groups: tuple[Group, ...]
    targets: np.ndarray
    weights: np.ndarray
    query_weights: np.ndarray
    held_out: np.ndarray
    classes: np.ndarray | None
    target_mean: float = 0.0
    target_deviation: float = 1.0
    reweighted: bool = False


def fit(source: Any, recipe: Recipe) -> Fit:
    """Four reads: moments and the first step; the query; its scale; the features. Then the head.

    A fifth, of one token a bag, where a feature has one value in each bag, which may give the labels away.

    With `bounded_memory` the features are not kept, and the head reads once a Newton step and once for its
    probabilities.

    Raises: ValueError naming what is wrong with labels or weights, or a feature that predicts the labels by itself.
    """
    totals, constant_within = _first_pass(source, recipe.regression)
    coded = _code_targets(totals, source) if recipe.regression else _code_classes(totals, source, recipe.class_weight)
    _refuse_leakage(source, constant_within, coded)
    total = reduce(add, coded.groups)
    mean, deviation = total.token_mean, _deviation(total.token_square / total.token_weight, total.token_mean)
    constant = ~np.isfinite(deviation)
    if not recipe.standardize:
        deviation = np.full_like(deviation, np.sqrt(np.mean(total.token_square) / total.token_weight) or np.inf)
    queries = np.zeros((len(mean), 0))
    if "attention" in recipe.pooling:
        queries = _fit_queries(source, recipe, coded, deviation)
    blank = np.zeros(0)
    pooling = Pooling(recipe.pooling, queries, mean, deviation, recipe.inverse_temperature, blank, blank, recipe.clip)
    pooling, features = _fit_features(source, pooling, constant, coded.weights, keep=not recipe.bounded_memory)
    if features is None:
        head = _fit_streamed_head(source, pooling, coded, recipe)
    else:
        # Threads of BLAS pay for large matrices only.
        with one_blas_thread() if len(features) < LARGE else nullcontext():
            head = heads.fit_head(
                features,
                coded.targets,
                coded.weights,
                coded.held_out,
                kind=recipe.head,
                loss=recipe.loss,
                C=recipe.C,
                widths=pooling.widths,
                calibrated=not recipe.regression,
                reweighted=coded.reweighted,
            )
    return Fit(pooling, head, coded.classes, coded.target_mean, coded.target_deviation)


def _first_pass(source: Any, regression: bool) -> tuple[dict[Any, Group], list[np.ndarray]]:
    """The moments of each label's bags, or of all bags in a regression; and which features are constant within bags.

    The latter of every block that has bags of several tokens.
    """

    def gather(block: Block) -> tuple[dict[Any, Group], np.ndarray | None]:
        counted = block.weights > 0.0
        return moments(block), leakage.constant_within(block.bags if counted.all() else block.bags[counted])

    def moments(block: Block) -> dict[Any, Group]:
        if regression:
            try:
                values = block.targets.astype(np.float64)
            except (TypeError, ValueError):
                raise ValueError(f"y has dtype {block.targets.dtype}; accepted: numbers") from None
            return passes.moments(block, np.zeros(len(values), dtype=np.int8), values)
        return passes.moments(block, block.targets, np.zeros(len(block.targets)))

    totals: dict[Any, Group] = {}
    constant = []
    with np.errstate(over="ignore", invalid="ignore"):
        for found, within in source.each(gather):
            constant += [] if within is None else [within]
            for name, group in found.items():
                totals[name] = totals[name] + group if name in totals else group
    if not all(np.isfinite(group.token_square).all() for group in totals.values()):
        raise ValueError("X holds values whose squares overflow; accepted: numbers below 1e150 in size: rescale them")
    if not totals:
        raise ValueError("sample_weight is zero for every bag; accepted: at least one positive weight")
    return totals, constant


def _refuse_leakage(source: Any, constant_within: list[np.ndarray], coded: Coded) -> None:
    """Read the features that are constant within every bag, unless all are, or the whole was looked at before."""
    columns = np.flatnonzero(np.all(constant_within, axis=0)) if constant_within else np.empty(0, int)
    if 0 < len(columns) < len(coded.groups[0].token_mean) and not leakage.DECIDED.get():
        counted = coded.weights > 0.0
        first = source.each(lambda b: b.bags.values[b.bags.offsets[:-1]][:, columns], coded.targets, coded.weights)
        values = np.concatenate(list(first))[counted]
        targets, classes = coded.targets[counted], coded.classes is not None
        leakage.refuse_leakage(values, columns.tolist(), source.feature_names, targets, classes)


def _code_classes(totals: dict[Any, Group], source: Any, class_weight: Any) -> Coded:
    labels = np.asarray(source.targets)
    classes = np.unique(labels)
    require_two_classes(classes)
    missing = [name for name in classes.tolist() if name not in totals]
    if missing:
        raise ValueError(f"sample_weight leaves one class: every bag of class {missing[0]!r} has weight zero")
    groups = [totals[name] for name in classes]
    whole = sum(group.weight for group in groups)
    if class_weight is None:
        factors = [1.0, 1.0]
    elif isinstance(class_weight, str):
        factors = [whole / (2.0 * group.weight) for group in groups]
    else:
        unknown = [name for name in class_weight if name not in classes.tolist()]
        if unknown:
            raise ValueError(f"class_weight names {unknown[0]!r}, which is no label; accepted: {classes.tolist()}")
        factors = [float(class_weight.get(name, 1.0)) for name in classes.tolist()]
    positive = labels == classes[1]
    weights = source.weights * np.where(positive, factors[1], factors[0])
    halves = source.weights / np.where(positive, 2.0 * groups[1].weight, 2.0 * groups[0].weight)
    groups = tuple(group.scaled(factor) for group, factor in zip(groups, factors, strict=True))
    copies = 1.0 / np.maximum(source.weights, 1.0)
    signs = np.where(positive, 1.0, -1.0)
    return Coded(groups, signs, weights, halves, copies, classes, reweighted=factors[0] != factors[1])


def require_two_classes(classes: np.ndarray) -> None:
    """Raises: ValueError unless there are two classes."""
    if len(classes) < 2:
        raise ValueError(
            f"Classifier can't train when only one class is present: y holds only {classes.tolist()}; accepted: two"
        )
    if len(classes) > 2:
        raise ValueError(
            "Only binary classification is supported. The type of the target is multiclass: y holds "
            f"{len(classes)} classes; accepted: two (several classes through sklearn.multiclass.OneVsRestClassifier)"
        )


def _code_targets(totals: dict[Any, Group], source: Any) -> Coded:
    (group,) = totals.values()
    targets = np.asarray(source.targets, dtype=np.float64)
    deviation = float(np.sqrt(group.target_square / group.weight)) or 1.0
    shares = source.weights / group.weight
    return Coded(
        (group,),
        (targets - group.target_mean) / deviation,
        source.weights,
        shares,
        np.ones_like(shares),
        None,
        group.target_mean,
        deviation,
    )


def _deviation(variance: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The standard deviation of each feature; infinite where it is constant: dividing by it drops the feature."""
    deviation = np.sqrt(variance)
    return np.where(deviation > CONSTANT * np.abs(mean), deviation, np.inf)


def _fit_queries(source: Any, recipe: Recipe, coded: Any, deviation: np.ndarray) -> np.ndarray:
    """The scoring vectors (d, K) of raw tokens.

    With tokens standardised: step one moves the head to w = (mean of positives' bag means - that of negatives)/2, of
    length a = min(head_rate/2, 1/|w|^2), where 1/|w|^2 brings the mean margin to one; step two moves the query to
    q = sum_i v_i r_i/L_i Z_i^T C Z_i w, with r_i the logistic residual at the scores a <w, mean token - midpoint of the
    classes' bag means> and v_i weights that balance the classes. In a regression w is the covariance of bag means and
    targets, and r_i the target.
    Further queries are the eigenvectors of the matrix in front of w, off q, whose eigenvalues are largest in size.
    """
    weights, targets = coded.query_weights, coded.targets
    if recipe.queries > len(deviation):
        raise ValueError(
            f"queries={recipe.queries} exceeds the features of a token; accepted: 1 to {len(deviation)} where "
            f"n_features={len(deviation)}"
        )
    if coded.classes is None:
        (group,) = coded.groups
        direction = group.product / group.weight / max(coded.target_deviation, 1e-300) / deviation
        centre = group.bag_mean

        def residual(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
            return targets
    else:
        down, up = coded.groups
        direction = 0.5 * (up.bag_mean - down.bag_mean) / deviation
        centre = 0.5 * (up.bag_mean + down.bag_mean)
        rate = min(0.5 * recipe.head_rate, 1.0 / max(direction @ direction, 1e-300))

        def residual(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
            return targets * expit(-rate * targets * scores)

    raw = direction / deviation
    if recipe.queries == 1:
        work = lambda block: passes.query_gradient(block, raw, centre, residual)  # noqa: E731
        queries = (source.total(work, targets, weights) / deviation)[:, None]
    else:
        work = lambda block: passes.query_matrix(block, raw, centre, residual)  # noqa: E731
        matrix = source.total(work, targets, weights) / np.outer(deviation, deviation)
        queries = _leading(matrix, direction, recipe.queries)
    queries = queries / deviation[:, None]
    scatter = source.total(lambda block: passes.score_scatter(block, queries, centre), targets, coded.weights)
    scale = np.sqrt(scatter[1:] / scatter[0])
    # Bags of one token, or tokens that do not differ within a bag, leave the query at zero: attention is uniform.
    return np.where(scale > 0.0, recipe.sharpness * queries / np.where(scale > 0.0, scale, 1.0), 0.0)


def _leading(matrix: np.ndarray, direction: np.ndarray, count: int) -> np.ndarray:
    """The query matrix @ direction and the count - 1 leading eigenvectors of the matrix across it, (d, count).

    Leading in size, with the sign that matrix @ direction has along each: both are even in the sign of the labels, as
    the query is, so that the names of the classes decide nothing.
    """
    matrix = 0.5 * (matrix + matrix.T)
    query = matrix @ direction
    norm = np.linalg.norm(query)
    unit = query / norm if norm > 0.0 else query
    across = matrix - np.outer(unit, unit @ matrix)
    across = across - np.outer(across @ unit, unit)
    values, vectors = np.linalg.eigh(across)
    sizes = np.abs(values)
    sizes[np.argmax(np.abs(unit @ vectors))] = -np.inf  # q itself, of eigenvalue 0
    leading = np.argsort(-sizes)[: count - 1]
    chosen = vectors[:, leading]
    signs = np.where(values[leading] * (chosen.T @ direction) < 0.0, -1.0, 1.0)
    return np.concatenate([query[:, None], chosen * signs], axis=1)


def _fit_features(
    source: Any, pooling: Pooling, constant: np.ndarray, weights: np.ndarray, keep: bool
) -> tuple[Pooling, np.ndarray | None]:
    """The pooling with the moments of its features, and the standardised features where they are kept."""
    if keep:
        raw = np.concatenate(list(source.each(lambda block: pooling.raw(block.bags), weights, weights)))
        share = weights / weights.sum()
        mean = share @ raw
        square = share @ (raw - mean) ** 2
    else:

        def gather(block: Block) -> Group | None:
            features = pooling.raw(block.bags)
            one_token = Block(unchecked(features, np.arange(len(features) + 1)), block.targets, block.weights)
            nothing = np.zeros(len(features))
            return passes.moments(one_token, nothing, nothing).get(0.0)

        found = source.each(gather, weights, weights)
        total = reduce(add, (group for group in found if group is not None))
        raw, mean, square = None, total.token_mean, total.token_square / total.token_weight
    # What is constant in all tokens is so in every pooling, where rounding could hide it.
    deviation = np.where(np.resize(constant, len(mean)), np.inf, _deviation(square, mean))
    pooling = dataclasses.replace(pooling, feature_mean=mean, feature_deviation=deviation)
    return pooling, None if raw is None else pooling.standardised(raw)


def _fit_streamed_head(source: Any, pooling: Pooling, coded: Coded, recipe: Recipe) -> heads.Head:
    """The linear head in O(p^2) memory: one read a Newton step, and for the square loss one for held-out scores."""
    width = len(pooling.feature_mean)
    root = np.sqrt(sum(pooling.widths))
    targets, strengths = coded.targets, recipe.C * coded.weights

    def at(state: np.ndarray) -> heads.Statistics:
        def gather(block: Block) -> heads.Statistics:
            features = pooling.features(block.bags) / root
            return heads.newton_statistics(features, block.targets, block.weights, recipe.loss, state)

        return source.total(gather, targets, strengths)

    state, statistics = heads.minimise(at, width + 1, recipe.loss)
    slope, shift = 1.0, 0.0
    if recipe.loss == "square" and not recipe.regression:

        def held_out(block: Block) -> np.ndarray:
            features = pooling.features(block.bags) / root
            scores = features @ state[:-1] + state[-1]
            leverage = heads.leverages(features, block.weights, statistics.hessian)
            return np.stack([scores, leverage], axis=1)

        scores, leverage = np.concatenate(list(source.each(held_out, targets, strengths))).T
        scores = heads.held_out_scores(scores, targets, leverage * coded.held_out)
        slope, shift = heads.sigmoid(scores, targets, coded.weights, coded.reweighted)
    return heads.Head(None, state[:-1] / root, float(state[-1]), slope, shift, pooling.widths)
