"""A diagnosis in words. Every sentence has its condition beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvable.bags.diagnosis.intervals import DENSE, Interval
from solvable.bags.diagnosis.predicted import sparsity
from solvable.bags.scores import of_folds

if TYPE_CHECKING:
    from solvable.bags.comparison import Comparison
    from solvable.bags.diagnosis.findings import Findings

NEGLIGIBLE = 1e-3


def report(found: Findings) -> str:
    """The estimates, a line each, then the answers."""
    negative, positive = found.classes
    length = f"{found.mean_length:.3g} a bag{'' if found.equal_lengths else ' on average'}"
    others = {
        "share": found.share,
        "signal tokens a bag": found.sparsity,
        "strength x share": found.strength_times_share,
    }
    lines = [
        f"bags                {found.counts[0]} of {negative} (negative), {found.counts[1]} of {positive} (positive)",
        *([f"positive            {positive}, chosen by these data: positive= names it"] if found.chosen else []),
        *([] if found.groups is None else [f"groups              {found.groups}, whose bags stay together"]),
        f"tokens              {found.tokens}, {length}",
        f"dimension           {found.dimension}{_dropped(found)}",
        f"strength            {found.strength}",
        *(f"{name:<20}{_line(interval, found.strength)}" for name, interval in others.items()),
        f"intervals           {100 * found.confidence:g} %",
        "",
    ]
    return "\n".join([*lines, *verdict(found)])


def _line(interval: Interval, first: Interval) -> str:
    """The interval; a reason that was just given is not repeated."""
    repeated = not interval.identifiable and interval.reason == first.reason
    return "not identifiable, for the same reason" if repeated else str(interval)


def _dropped(found: Findings) -> str:
    count = len(found.dropped)
    if not count:
        return ""
    return f" ({count} {'feature' if count == 1 else 'features'} constant within negative bags left out)"


def verdict(found: Findings) -> tuple[str, ...]:
    """Does the model hold, is the signal sparse, does attention help, how many bags halve the error."""
    answers = [f"Model: {found.misfit}.", f"Sparse: {_sparse(found)}."]
    if found.measured is not None:
        answers += [f"Attention: {_attention(found)}.", f"More bags: {_halving(found)}."]
    if found.length_effect is not None:
        answers += [f"Length: {found.length_effect}"]
    return (*answers, *_caveats(found))


def _sparse(found: Findings) -> str:
    share = found.share
    if not share.identifiable:
        return f"not identifiable, because {share.reason}"
    doubt = " (if the model held)" if found.misfit.rejected else ""
    tokens = f"{100 * share.low:.3g} to {100 * share.high:.3g} % of the tokens of positive bags carry it"
    if share.low >= DENSE:
        return f"the signal is not sparse{doubt}: {tokens}"
    if share.high < DENSE:
        return f"the signal is sparse{doubt}: {tokens}"
    return f"it cannot be told whether the signal is sparse{doubt}: {tokens}"


def _attention(found: Findings) -> str:
    compared, measured = found.comparison, found.measured
    assert compared is not None
    assert measured is not None
    attention, pooling = compared.evaluations.values()
    larger = attention.classes[np.argmax(attention.class_counts)]
    numbers = (
        f"error {1.0 - attention.accuracy:.3f} and AUC {attention.auc:.3f}, and {1.0 - pooling.accuracy:.3f} and "
        f"{pooling.auc:.3f} for pooling; always answering {larger} errs on {1.0 - attention.base_rate:.3f}"
    )
    if np.isnan(attention.auc):
        numbers = (
            f"error {1.0 - attention.accuracy:.3f}, and {1.0 - pooling.accuracy:.3f} for pooling; always answering "
            f"{larger} errs on {1.0 - attention.base_rate:.3f}"
        )
    text = f"{_judged(compared)}: {numbers}; {'; '.join(map(str, compared.differences))}"
    predicted = found.predicted
    if predicted is None:
        return f"{text}; nothing is predicted, as strength and share are not identifiable"
    at = int(np.argmin(np.abs(predicted.bags - measured.bags[-1])))
    theory = "the theory, whose classifiers whiten the tokens and are linear, predicts errors of"
    if not np.isfinite(predicted.advantage[at]):
        return f"{text}; {theory} {predicted.pooled[at]:.3f} for pooling, and nothing for attention{_doubt(found)}"
    return f"{text}; {theory} {predicted.attention[at]:.3f} and {predicted.pooled[at]:.3f}{_doubt(found)}"


def _judged(compared: Comparison) -> str:
    """Whether attention helps, by the differences that are resolved."""
    helps = [row.measure for row in compared.differences if row.resolved and row.difference > 0.0]
    hurts = [row.measure for row in compared.differences if row.resolved and row.difference < 0.0]
    if helps and hurts:
        return f"attention helps in {helps[0]} and hurts in {hurts[0]}"
    for verb, measures in (("helps", helps), ("hurts", hurts)):
        if measures:
            return f"attention {verb}" + ("" if len(measures) == 2 else f" in {measures[0]}")
    return "these data do not resolve whether attention helps"


def _doubt(found: Findings) -> str:
    return ", which is not to be relied upon" if found.misfit.rejected else ""


def _halving(found: Findings) -> str:
    half = found.halving
    if found.misfit.rejected:
        return "not known how many would halve the error, because the model does not describe these data"
    if half is None:
        return "not known how many would halve the error, because strength and share are not identifiable"
    if not np.isfinite(half.now):
        return f"not known how many would halve the error, because {half.reason}"
    total = sum(found.counts)
    here = f"the predicted error of {half.model} with all {total} bags, {half.now:.3f}"
    if half.now < NEGLIGIBLE:
        return f"there is no error to halve: the predicted one of {half.model} with all {total} bags is below .001"
    if np.isfinite(half.bags):
        return f"about {_rounded(half.bags)} bags would halve {here}"
    if half.reason:
        return f"{half.reason} would be needed to halve {here}"
    return f"no number of bags would halve {here}: it levels off at {half.floor:.3f}"


def _rounded(value: float) -> int:
    """Two significant digits: the estimates give no more."""
    return int(float(f"{value:.2g}"))


def _caveats(found: Findings) -> list[str]:
    notes = [] if found.comparison is None else of_folds(next(iter(found.comparison.evaluations.values())))
    if found.predicted is not None and not found.equal_lengths:
        notes.append(f"The prediction is for bags of {max(round(found.mean_length), 2)} tokens, the mean length.")
    if found.predicted is not None and found.share.identifiable and found.sparsity.identifiable:
        length = max(round(found.mean_length), 2)
        whole = sparsity(found.share.estimate, length)
        if not found.sparsity.low <= whole <= found.sparsity.high:
            notes.append(
                f"The prediction is for {whole} signal {'token' if whole == 1 else 'tokens'} of {length}, the nearest "
                "whole number that the theory takes, which lies outside the interval."
            )
    return notes
