"""`diagnose`: what the theory of sparse tokens says about a user's bags."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from solvable.bags.diagnosis import words
from solvable.bags.diagnosis.estimates import estimate, first_fits, splits_of
from solvable.bags.diagnosis.figure import draw
from solvable.bags.diagnosis.findings import Findings, Tokens
from solvable.bags.diagnosis.intervals import GAIN, Interval, of_mixture, of_pooled, unknown
from solvable.bags.diagnosis.measured import Curves, measure
from solvable.bags.diagnosis.misfit import examine
from solvable.bags.diagnosis.pooled import negatives_of, squared_difference
from solvable.bags.diagnosis.predicted import Halving, LeastErrors, halving, predict_curves, sparsity
from solvable.bags.diagnosis.preparation import CheckedBags, Sample, checked
from solvable.bags.labels import length_effect
from solvable.numerics.validation import integer, number


class Diagnosis(Findings):
    """What `diagnose` found (see `Findings` for what it holds); printing it gives the answer in words."""

    @property
    def verdict(self) -> tuple[str, ...]:
        """The answers, a sentence each."""
        return words.verdict(self)

    def __str__(self) -> str:
        """Estimates and answers."""
        return words.report(self)

    def figure(self) -> Any:
        """A matplotlib Figure: held-out tokens along the signal, and learning curves where they are known."""
        return draw(self)

    def document(self) -> dict[str, Any]:
        """Everything but the held-out tokens, for JSON; what is not known is None."""
        content = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("projections", "comparison")
        }
        content["comparison"] = None if self.comparison is None else self.comparison.document()
        content |= {"verdict": list(self.verdict)}
        content["misfit"] = {
            "statistic": self.misfit.statistic,
            "p_value": self.misfit.p_value,
            "rejected": self.misfit.rejected,
            "words": str(self.misfit),
            "checks": self.misfit.checks,
        }
        return _plain(content)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def diagnose(
    bags: Any,
    labels: Any = None,
    *,
    positive: Any = None,
    groups: Any = None,
    bootstrap: int = 200,
    confidence: float = 0.95,
    curves: bool = True,
    random_state: int = 0,
) -> Diagnosis:
    """Diagnose bags by the model of arXiv:2509.25153: positives hide a unit vector, times a strength, in few tokens.

    A token is noise N(m, S), plus, in a share of a positive bag's tokens, a fixed shift v; strength = sqrt(v^T S^-1 v).
    S is estimated within negative bags, the direction of v on one half of the bags, strength and share on the other
    (`estimates.estimate`), strength x share likewise or from the debiased squared difference of pooled means
    (`pooled.squared_difference`). Statistics derived here; what was measured of their intervals is in
    docs/bags/diagnosis.md. The learning curves are predicted for the model with the mean number of tokens a bag and a
    whole number of signal tokens, for a classifier whose tokens are whitened and whose head is linear. They are
    measured for `AttentionClassifier()` and `PooledClassifier()`, by `compare` (`measured.measure`).

    Arguments: bags as in `as_bags`; labels (n,) of two values, None for those of the bags; positive: the class whose
    bags hide the signal; without it the model is tried with either, and the one whose held-out tokens two components
    describe better than one by more is taken, so that the names of the classes decide nothing; groups (n,): bags of one
    group (a patient, a day) are never divided among halves and folds, and are reweighted together; bootstrap
    reweightings of the bags (>= 50); confidence in (0, 1); curves False leaves the learning curves out.

    Raises: ValueError for labels that are missing or not of two classes, fewer than 10 bags or groups of a class, bags
    of one token, values that are not finite, or a feature that predicts the labels by itself (see `leakage`).
    """
    bootstrap = integer("bootstrap", bootstrap, at_least=50)
    confidence = float(number("confidence", confidence, above=0.0, below=1.0))
    seed = integer("random_state", random_state, at_least=0)
    given = checked(bags, labels, positive, groups)
    name, sample, splits, firsts, rng = _oriented(given, positive, seed)
    dim, length = sample.values.shape[1], float(sample.lengths.mean())
    found = estimate(sample, splits, firsts, bootstrap, rng)
    strength, share, product = of_mixture(found, dim, confidence)
    difference = squared_difference(sample, negatives_of(sample))
    misfit = examine(sample, found, difference, strength.identifiable, rng)
    if not product.identifiable:
        product = of_pooled(difference, confidence)
    measured, compared = measure(given, positive, seed) if curves else (None, None)
    predicted, half = (None, None) if measured is None else _prediction(sample, strength, share, product, measured.bags)
    order = np.argsort(given.classes == name)
    return Diagnosis(
        strength,
        share,
        share.times(length) if share.identifiable else unknown(share.reason),
        product,
        confidence,
        dim,
        tuple(int(column) for column in sample.dropped),
        tuple(given.classes[order].tolist()),
        positive is None,
        (int((~sample.positive).sum()), int(sample.positive.sum())),
        None if given.groups is None else int(given.groups.max()) + 1,
        len(sample.values),
        length,
        bool(np.all(sample.lengths == sample.lengths[0])),
        length_effect(given.bags, given.labels, given.classes),
        misfit,
        predicted,
        measured,
        compared,
        half,
        _tokens(found, strength.identifiable),
    )


def _oriented(given: CheckedBags, positive: Any, seed: int) -> tuple[Any, Sample, Any, Any, np.random.Generator]:
    """The positive class with its sample, splits, first fits and the state of their random numbers.

    Where it is not named, either class is tried, and that whose negatives determine the noise is preferred. A signal in
    few tokens is two components in the positives alone; one in all tokens is one component in either, and then the
    class with more evidence of a signal is taken.
    """
    found, errors = [], []
    for name in given.classes[1:] if positive is not None else given.classes:
        rng = np.random.default_rng(seed)
        try:
            sample = given.sample(name)
        except ValueError as error:  # no noise is known in bags of the other class
            errors.append(error)
            continue
        splits = splits_of(sample, rng)
        firsts = first_fits(sample, splits)
        gain, signal = (float(np.mean([getattr(fit, kind) for fit in firsts])) for kind in ("gain", "signal"))
        known = not any(split.shrunk for split in splits)
        found.append(((known, gain if gain >= GAIN else 0.0, signal), (name, sample, splits, firsts, rng)))
    if not found:
        raise errors[0]
    return max(found, key=lambda tried: tried[0])[1]


def _prediction(
    sample: Sample, strength: Interval, share: Interval, product: Interval, sizes: np.ndarray
) -> tuple[Curves | None, Halving | None]:
    """Both curves where strength and share are known, that of pooling where only their product is."""
    length = max(round(float(sample.lengths.mean())), 2)
    rate, dim, count = float(sample.positive.mean()), sample.values.shape[1], len(sample.positive)
    bags = np.unique(np.concatenate([sizes, count * 2.0 ** np.arange(4)]))
    if strength.identifiable:
        tokens = sparsity(share.estimate, length)
        theories = [LeastErrors(length, tokens, x, rate, dim) for x in (strength.estimate, strength.low, strength.high)]
    elif product.identifiable:
        # Pooling sees strength x share alone: one token of the whole bag's shift gives the same curve.
        ends = (product.estimate, product.low, product.high)
        theories = [LeastErrors(length, 1, x * length, rate, dim) for x in ends if x > 0.0]
    else:
        return None, None
    predicted = predict_curves(theories, bags, strength.identifiable)
    if strength.identifiable:
        return predicted, halving(theories[0], count, predicted)
    return predicted, None


def _tokens(found: Any, identified: bool) -> Tokens:
    """The densities of the first split's held-out tokens, the halves together, and the mixture fitted to them."""
    halves, law = found.splits[0].halves, found.fits[0]
    edges = np.linspace(-5.0, 9.0, 57)
    places, width = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    kinds = {}
    for label in (False, True):
        tokens = np.concatenate([h.projections[np.repeat(h.positive == label, h.lengths)] for h in halves])
        kinds[label] = np.histogram(tokens, edges)[0] / (len(tokens) * width)
    part = [float(h.lengths[h.positive].sum()) for h in halves]
    fitted = np.zeros_like(places)
    for i, tokens in enumerate(part):
        shift, share = float(law.shift[0, i]), float(law.share[0])
        density = (1.0 - share) * np.exp(-0.5 * places**2) + share * np.exp(-0.5 * (places - shift) ** 2)
        fitted += tokens / sum(part) * density / np.sqrt(2.0 * np.pi)
    return Tokens(places, kinds[False], kinds[True], fitted if identified else np.full_like(places, np.nan))
