"""scikit-learn estimators for bags of tokens: attention, the pooled baselines, and a regressor of the same kind."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from solvable.bags import saving
from solvable.bags.arrays import column, given, is_dask, real
from solvable.bags.container import Bags, as_bags
from solvable.bags.sources import Memory, SlicedArray, batch_parts, is_stream, on_disk, source_of
from solvable.bags.training import POOLINGS, Fit, Recipe, fit, require_two_classes
from solvable.numerics.validation import choice, integer, number

PoolingName = Literal["attention", "mean", "max", "min", "logsumexp"]


class _BagEstimator(TransformerMixin, BaseEstimator):
    """What the estimators share: bags in, a `Fit` kept, features and attention out."""

    _fit: Fit
    _longest: int  # tokens of the longest bag that was learned

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def transform(self, X: Any) -> np.ndarray:
        """The standardised, clipped, pooled features of bags, (n, p): one block of d for each pooling and query."""
        return self._mapped(X, self._fitted().pooling.features)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns of `transform`: the pooling, and the feature it pools."""
        pooling = self._fitted().pooling
        names = getattr(self, "feature_names_in_", input_features)
        names = [f"x{i}" for i in range(self.n_features_in_)] if names is None else list(names)
        parts = []
        for part in pooling.parts:
            count = pooling.queries.shape[1] if part == "attention" else 1
            parts += [part] if count == 1 else [f"{part}{k}" for k in range(count)]
        return np.asarray([f"{part}_{name}" for part in parts for name in names], dtype=object)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a .npz file of plain arrays, for `solvable.bags.load`. Nothing is pickled."""
        saving.save(self, path, ESTIMATORS)

    def _recipe(self) -> Recipe:
        raise NotImplementedError

    def _learn(self, X: Any, y: Any, sample_weight: Any, recipe: Recipe) -> None:
        X = given(X)
        source = source_of(X, y, sample_weight, self._checked_targets)
        held = source is None
        if source is None:
            bags, labels = self._training_bags(X, y)
            labels = self._checked_targets(labels)
            if len(labels) != len(bags):
                raise ValueError(f"y has {len(labels)} labels and X {len(bags)} bags; accepted: one label a bag")
            weights = _check_sample_weight(_weights(sample_weight), labels, dtype=np.float64, ensure_non_negative=True)
            source = Memory(bags, labels, weights)
        self._restored(fit(source, recipe), source.longest)
        # scikit-learn's names, which its own checks of two-dimensional frames set as well; a stream has read them now
        if source.feature_names is not None:
            self.feature_names_in_ = np.asarray(source.feature_names, dtype=object)
        elif not (held and _two_dimensional(X)) and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _restored(self, fitted: Fit, longest: int) -> Any:
        """The estimator itself, with what was learned before."""
        self._fit, self._longest = fitted, longest
        self.n_features_in_ = len(fitted.pooling.mean)
        if fitted.classes is not None:
            self.classes_ = fitted.classes
        return self

    def _training_bags(self, X: Any, y: Any) -> tuple[Bags, Any]:
        if y is None and isinstance(X, Bags):
            y = X.labels
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None; accepted: "
                "labels, Bags that hold labels, or batches with labels"
            )
        if _two_dimensional(X):
            X, y = validate_data(self, cast(Any, X), y, dtype=[np.float64, np.float32], multi_output=True)
        return as_bags(X), y

    def _checked_targets(self, y: Any) -> np.ndarray:
        raise NotImplementedError

    def _bags(self, X: Any) -> Any:
        """Bags to predict, of the dimension that was learned: `Bags`, or an array on disk that is sliced like them."""
        fitted = self._fitted()
        if isinstance(X, SlicedArray):
            return X
        if _two_dimensional(X):
            if self._longest > 1:
                count = np.shape(X)[0]
                warnings.warn(
                    f"X of shape {np.shape(X)} is taken as {count} bags of one token, and {type(self).__name__} "
                    f"learned bags of up to {self._longest}; [X] is one bag of {count} tokens, X[:, None] says "
                    "that bags have one token",
                    stacklevel=4,
                )
            X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        bags = SlicedArray(X) if on_disk(X) else as_bags(X)
        if len(bags) == 0:
            raise ValueError("X holds no bag; accepted: at least one")
        learned = getattr(self, "feature_names_in_", None)
        if bags.feature_names is not None and learned is not None and list(bags.feature_names) != list(learned):
            raise ValueError(
                f"X has the features {', '.join(bags.feature_names[:6])}, ... and {type(self).__name__} learned "
                f"{', '.join(learned[:6])}, ...; accepted: the same ones in the same order (features= of the reader)"
            )
        if bags.shape[1] != len(fitted.pooling.mean):
            raise ValueError(
                f"X has {bags.shape[1]} features, but {type(self).__name__} is expecting {len(fitted.pooling.mean)} "
                "features as input"
            )
        return bags

    def _mapped(self, X: Any, work: Callable[[Bags], np.ndarray]) -> np.ndarray:
        """work(bags) for all bags, a block at a time; an array on disk is read in slices, batches one by one."""
        X = given(X)
        if is_stream(X):
            return np.concatenate([self._mapped(batch_parts(batch)[0], work) for batch in X])
        bags = self._bags(X)
        nothing = np.empty(len(bags))
        return np.concatenate(list(Memory(bags, nothing, nothing).each(lambda block: work(block.bags))))

    def _fitted(self) -> Fit:
        check_is_fitted(self, "_fit")
        return self._fit


class _Classifier(ClassifierMixin, _BagEstimator):
    """The classifiers' side of it: labels of two classes, scores, probabilities."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit on bags and labels of two values; see the class for what X may be.

        Raises: ValueError naming the argument, the bag and what is accepted; or a feature that has one value in each
        bag and predicts the labels by itself, as a label or an id does.
        """
        self._learn(X, y, sample_weight, self._recipe())
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """The log odds of `classes_[1]`, (n,): positive where its probability is above one half."""
        fitted = self._fitted()
        return self._mapped(X, lambda bags: fitted.head.log_odds(fitted.pooling.features(bags)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of `classes_`, (n, 2)."""
        positive = expit(self.decision_function(X))
        return np.stack([1.0 - positive, positive], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """The more probable class of each bag, (n,)."""
        positive = self.decision_function(X) > 0.0
        return self.classes_[positive.astype(int)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of bags (or of their weights) whose class is predicted."""
        labels, told = column_or_1d(column("y", y)), self.predict(X)
        if set(labels.tolist()) <= set(self.classes_.tolist()):  # which scikit-learn may take for no labels
            labels, told = labels == self.classes_[1], told == self.classes_[1]
        return float(accuracy_score(labels, told, sample_weight=_weights(sample_weight)))

    def _checked_targets(self, y: Any) -> np.ndarray:
        labels = column_or_1d(column("y", y), warn=True)
        try:
            classes = np.unique(labels)
        except TypeError:
            raise ValueError("y holds values of kinds that cannot be sorted; accepted: two of one kind") from None
        if len(classes) != 2:  # two are classes, whatever scikit-learn takes them for
            check_classification_targets(labels)
        require_two_classes(classes)
        return labels


class _Attention:
    """The weights of the tokens."""

    def attention(self, X: Any) -> list[np.ndarray]:
        """The weight of each token in its bag: one array a bag, (L_i,), or (L_i, queries) with several queries."""
        X = given(X)
        if is_stream(X):
            return [weights for batch in X for weights in self.attention(batch_parts(batch)[0])]
        bags = self._bags(X)  # pyright: ignore[reportAttributeAccessIssue]
        weights = self._mapped(bags, self._fitted().pooling.attention)  # pyright: ignore[reportAttributeAccessIssue]
        weights = weights[:, 0] if weights.shape[1] == 1 else weights
        return np.split(weights, bags.offsets[1:-1])


class AttentionClassifier(_Attention, _Classifier):
    """Attention on tokens whose query takes two closed-form steps, pooling, and a convex head: no epochs, no seed.

    With tokens z standardised (v_i weights that balance the classes, t_i = -1, +1, C = I - 11^T/L_i):
        w = (mean of the positives' bag means - mean of the negatives')/2,
        q = sum_i v_i r_i/L_i Z_i^T C Z_i w,   r_i = t_i/(1 + exp(a t_i <w, mean token of bag i - m>)),
    m the midpoint of the two mean bag means, a = min(head_rate/2, 1/|w|^2). The query's norm is such that scores
    deviate by `sharpness` within bags; a bag's attention is softmax(Z_i q) and its feature the weighted mean of its
    tokens. The features of all `pooling`s are standardised, clipped at `clip`, and given to a ridge-penalised head. The
    two steps are those of arXiv:2509.25153; the balance, the scale, the other poolings and the head are ours.

    `decision_function` are the log odds of `predict_proba`, and `predict` is the more probable class. For the square
    loss the probabilities are Platt's of leave-one-out scores, one half where the score of the head is zero; with
    `class_weight` the place of one half is fitted too, for either loss with the RBF head, whose score hardly follows
    weights. `class_weight` and `sample_weight` count bags as that many copies, in the probabilities too: "balanced"
    answers as where both classes are equally frequent.

    Arguments
        pooling: poolings side by side, of "attention", "min", "max", "mean".
        queries: number of queries; beyond the first, eigenvectors of the matrix that makes the query, of the largest
            eigenvalues in size.
        sharpness: deviation of the scores within bags.
        head: "rbf" (at most 20 000 bags) or "linear". loss: "square" or "logistic". C: inverse ridge, as in
            scikit-learn; the kernels are scaled to k(x, x) near 1.
        class_weight: None, "balanced" or a mapping from class to weight.
        standardize: True divides each feature of the tokens by its deviation for the query; False divides all by one
            number, which keeps the proportions of features that share a unit (pixels).
        clip: bound on the standardised pooled features. head_rate: rate of the first step.
        bounded_memory: keep no features while fitting: the linear head reads the bags once a Newton step instead.

    `fit(X, y, sample_weight)` takes an (n, L, d) array, a list of (L_i, d) arrays, `Bags`, or (n, d) as bags of one
    token, whose attention is uniform; an (n, L, d) array on disk (np.memmap, zarr, h5py), which is read in slices; a
    re-iterable of batches with labels (`ParquetBags`, any object that yields Bags or (bags, labels)), read four times;
    and a list of Dask partitions. However the bags come, the fit is the same.

    Attributes after fit: `classes_`, `n_features_in_`.
    """

    def __init__(
        self,
        *,
        pooling: PoolingName | Sequence[PoolingName] = ("attention", "min", "max"),
        queries: int = 1,
        sharpness: float = 2.0,
        head: Literal["rbf", "linear"] = "rbf",
        loss: Literal["square", "logistic"] = "square",
        C: float = 10.0,
        class_weight: Any = None,
        standardize: bool = True,
        clip: float = 5.0,
        head_rate: float = 10.0,
        bounded_memory: bool = False,
    ) -> None:
        self.pooling = pooling
        self.queries = queries
        self.sharpness = sharpness
        self.head = head
        self.loss = loss
        self.C = C
        self.class_weight = class_weight
        self.standardize = standardize
        self.clip = clip
        self.head_rate = head_rate
        self.bounded_memory = bounded_memory

    def _recipe(self) -> Recipe:
        return _recipe(self, queries=self.queries, sharpness=self.sharpness, head_rate=self.head_rate)


class PooledClassifier(_Classifier):
    """A head on poolings that look for nothing: the mean, max, min or log-sum-exp of each feature over the tokens.

    The baseline that attention must beat, with the same heads and the same clip as `AttentionClassifier`, whose
    arguments these are. `inverse_temperature` r is that of the log-sum-exp, log(mean_l exp(r z_l))/r of each
    standardised feature: between the mean and the max.
    """

    def __init__(
        self,
        *,
        pooling: PoolingName | Sequence[PoolingName] = "mean",
        inverse_temperature: float = 1.0,
        head: Literal["rbf", "linear"] = "rbf",
        loss: Literal["square", "logistic"] = "square",
        C: float = 10.0,
        class_weight: Any = None,
        standardize: bool = True,
        clip: float = 5.0,
        bounded_memory: bool = False,
    ) -> None:
        self.pooling = pooling
        self.inverse_temperature = inverse_temperature
        self.head = head
        self.loss = loss
        self.C = C
        self.class_weight = class_weight
        self.standardize = standardize
        self.clip = clip
        self.bounded_memory = bounded_memory

    def _recipe(self) -> Recipe:
        return _recipe(self, inverse_temperature=self.inverse_temperature)


class SingleLocationRegressor(_Attention, RegressorMixin, _BagEstimator):
    """A continuous target that one token of each bag carries: where to look, and what to read there.

    The query is that of `AttentionClassifier` with targets y standardised in place of the residuals: w is the
    covariance of bag means and y, q = sum_i y_i/L_i Z_i^T C Z_i w. The head is ridge regression on the pooled features.
    The task is that of arXiv:2410.01537 (`solvable.attention.single_location`); this two-step estimator is ours.
    Arguments as in `AttentionClassifier`.
    """

    def __init__(
        self,
        *,
        pooling: PoolingName | Sequence[PoolingName] = "attention",
        queries: int = 1,
        sharpness: float = 4.0,
        head: Literal["rbf", "linear"] = "linear",
        C: float = 10.0,
        standardize: bool = True,
        clip: float = 5.0,
        bounded_memory: bool = False,
    ) -> None:
        self.pooling = pooling
        self.queries = queries
        self.sharpness = sharpness
        self.head = head
        self.C = C
        self.standardize = standardize
        self.clip = clip
        self.bounded_memory = bounded_memory

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SingleLocationRegressor:
        """Fit on bags and numbers.

        Raises: ValueError naming the argument, the bag and what is accepted.
        """
        self._learn(X, y, sample_weight, self._recipe())
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The target of each bag, (n,)."""
        fitted = self._fitted()
        scores = self._mapped(X, lambda bags: fitted.head.scores(fitted.pooling.features(bags)))
        return fitted.target_mean + fitted.target_deviation * scores

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2: the share of the variance of y that the prediction explains."""
        return super().score(X, real("y", y), _weights(sample_weight))

    def _recipe(self) -> Recipe:
        return _recipe(self, queries=self.queries, sharpness=self.sharpness, regression=True)

    def _checked_targets(self, y: Any) -> np.ndarray:
        targets = real("y", column_or_1d(column("y", y, nan=True), warn=True)).astype(np.float64)
        if not np.isfinite(targets).all():
            bag = int(np.argmin(np.isfinite(targets)))
            kind = "NaN" if np.isnan(targets[bag]) else "infinity"
            raise ValueError(f"Input y contains {kind}, in bag {bag}; accepted: finite numbers")
        return targets


ESTIMATORS = {kind.__name__: kind for kind in (AttentionClassifier, PooledClassifier, SingleLocationRegressor)}


def load(path: str | os.PathLike[str]) -> Any:
    """The estimator that `save` wrote to a file, fitted. Loading runs no code of the file and checks all it reads.

    Raises: FileNotFoundError; ValueError naming what is wrong with a file that is damaged or no estimator.
    """
    return saving.load(path, ESTIMATORS)


def _weights(sample_weight: Any) -> Any:
    return (
        sample_weight if sample_weight is None or np.isscalar(sample_weight) else real("sample_weight", sample_weight)
    )


def _recipe(estimator: Any, *, regression: bool = False, **parameters: Any) -> Recipe:
    """The checked parameters of an estimator. Raises: ValueError naming the parameter and what is accepted."""
    if not isinstance(estimator.pooling, str | Iterable):
        raise ValueError(f"pooling={estimator.pooling!r}; accepted: some of {POOLINGS}")
    pooling = (estimator.pooling,) if isinstance(estimator.pooling, str) else tuple(estimator.pooling)
    attentive = isinstance(estimator, _Attention)
    accepted = tuple(name for name in POOLINGS if name != ("logsumexp" if attentive else "attention"))
    if not pooling or len(set(pooling)) < len(pooling):
        raise ValueError(f"pooling={estimator.pooling!r} names none or one twice; accepted: some of {accepted}")
    for name in pooling:
        choice("pooling", name, accepted)
    weight = getattr(estimator, "class_weight", None)
    if isinstance(weight, str):
        choice("class_weight", weight, ("balanced",))
    elif weight is not None:
        if not isinstance(weight, Mapping):
            raise ValueError(f"class_weight={weight!r}; accepted: None, 'balanced' or a mapping from class to weight")
        for name, value in dict(weight).items():
            number(f"class_weight[{name!r}]", value, above=0.0)
    head = choice("head", estimator.head, ("rbf", "linear"))
    if estimator.bounded_memory and head == "rbf":
        raise ValueError("bounded_memory=True with head='rbf', whose kernel needs every bag; accepted: head='linear'")
    return Recipe(
        pooling=pooling,
        queries=integer("queries", parameters.get("queries", 1), at_least=1),
        sharpness=float(number("sharpness", parameters.get("sharpness", 0.0), at_least=0.0)),
        head_rate=float(number("head_rate", parameters.get("head_rate", 1.0), above=0.0)),
        standardize=bool(estimator.standardize),
        clip=float(number("clip", estimator.clip, above=0.0)),
        inverse_temperature=float(number("inverse_temperature", parameters.get("inverse_temperature", 1.0), above=0.0)),
        head=head,
        loss="square" if regression else choice("loss", estimator.loss, ("square", "logistic")),
        C=float(number("C", estimator.C, above=0.0)),
        class_weight=weight,
        bounded_memory=bool(estimator.bounded_memory),
        regression=regression,
    )


def _two_dimensional(X: Any) -> bool:
    """Whether X is what scikit-learn's own estimators take; their checks then speak."""
    if isinstance(X, Bags) or (isinstance(X, Iterable) and hasattr(X, "toarray")):
        return hasattr(X, "toarray")
    if isinstance(X, list | tuple):
        return bool(len(X)) and all(not is_dask(row) and np.ndim(row) <= 1 for row in X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        return False
    return len(getattr(X, "shape", (0, 0))) <= 2
