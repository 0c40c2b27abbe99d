"""By what the count of the classes in a draw moves the head: part of the allowance of finite runs."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from solvable.attention.sparse_tokens.algorithms import fixed_query
from solvable.attention.sparse_tokens.nodes import Quadrature
from solvable.attention.sparse_tokens.system import bag_counts, predict
from solvable.attention.sparse_tokens.task import SparseTokens


@functools.lru_cache(maxsize=64)
def moves(kind: type[Any], canonical: str) -> Mapping[str, float]:
    """How far the mean of the theory over positive_rate +- its deviation in a draw is from the theory; {} for smooth
    losses under a ridge below 1, whose part of it is in b/dim."""
    cell = kind.model_validate_json(canonical)
    if cell.loss != "hinge" and cell.ridge < 1.0:
        return {}
    algorithm, rate, rule = cell.algorithm(), cell.positive_rate, Quadrature(points=2**11, scramblings=1)
    _, bags = bag_counts(algorithm, ratio=cell.ratio, dim=cell.dim)
    if cell.model == "attention":  # the bags that train the query are others
        algorithm = fixed_query(cell.task(), algorithm, cell.ratio * cell.query_share)
    move = min(math.sqrt(rate * (1.0 - rate) / bags), 0.9 * rate, 0.9 * (1.0 - rate))

    def said(rate: float) -> Any:
        task = SparseTokens(cell.length, cell.sparsity, cell.strength, rate)
        return predict(task, algorithm, ratio=bags / cell.dim, quadrature=rule, throw=False).present()

    lower, middle, upper = said(rate - move), said(rate), said(rate + move)
    shifts = {name: abs(float(0.5 * (lower[name] + upper[name]) - middle[name])) for name in middle}
    return {name: shift for name, shift in shifts.items() if math.isfinite(shift)}
