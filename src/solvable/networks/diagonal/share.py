"""How many problems have a monotone lasso path, and how many must have one."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import jax
import numpy as np

from solvable.lab.outcome import Outcome
from solvable.networks.diagonal.lasso import lasso_path, parts
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.precision import float64
from solvable.numerics.results import Result
from solvable.numerics.validation import replicate_numbers

MOST = 12  # coordinates, of whose subsets each is looked at
SINGULAR = 1e-10


class ShareOutcome(Outcome):
    """0 or 1 a problem: `monotone`, its lasso path is (from the theory: must be). `problems` are the draws."""

    monotone: Any = None
    problems: Any = None

    observables: ClassVar[tuple[str, ...]] = ("monotone",)


def must_be_monotone(problem: Quadratic) -> bool:
    """Whether M alone makes the lasso path monotone, whatever r: S (M_II)^-1 S 1 >= 0 for all I and all signs S.

    That is, the inverse of every principal submatrix is diagonally dominant. Stated by arXiv:2509.18766 as sufficient;
    singular submatrices are left out here, as no path of a problem without ties has them for its active set. Costs
    2^d inverses.

    Raises: TypeError for what is no `Quadratic`; ValueError for more than 12 coordinates.
    """
    parts(problem, 0.0)
    if problem.dim > MOST:
        raise ValueError(f"problem has {problem.dim} coordinates, too many subsets; accepted: at most {MOST}")
    matrix = np.asarray(problem.matrix)
    for size in range(2, problem.dim + 1):
        for subset in itertools.combinations(range(problem.dim), size):
            block = matrix[np.ix_(subset, subset)]
            values, vectors = np.linalg.eigh(block)
            if values[0] <= SINGULAR * values[-1]:
                continue
            inverse = (vectors / values) @ vectors.T
            diagonal = np.diag(inverse)
            if np.any(2.0 * diagonal < np.abs(inverse).sum(axis=1) * (1.0 - 1e-12)):
                return False
    return True


@float64
def simulate_share(
    task: Any, algorithm: Any, /, *, key: jax.Array | None = None, replicates: int | range = 1
) -> ShareOutcome:
    """Draw problems and follow the lasso path of each."""
    del algorithm
    key = jax.random.key(0) if key is None else key
    problems = tuple(task.sample(jax.random.fold_in(key, number)) for number in replicate_numbers(replicates))
    monotone = np.array([float(lasso_path(problem).monotone) for problem in problems])
    return ShareOutcome(np.full(len(problems), int(Result.SUCCESSFUL)), {}, monotone, problems)


@float64
def predict_share(task: Any, algorithm: Any, /, *, given: Any) -> ShareOutcome:
    """1 for each problem that meets the sufficient condition: a lower bound on the share."""
    del task, algorithm
    must = np.array([float(must_be_monotone(problem)) for problem in given.problems])
    return ShareOutcome(np.array(given.result, int), {}, must)
