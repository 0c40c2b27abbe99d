"""Predictions along lines of settings, each solved from the one before: what figures draw between the points of a run.

One small program holds a whole line: it compiles in a third of the time of `solution`, which solves every setting from
nowhere on several rules, and two or three turns of Newton a setting are all that it takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.sparse_tokens import equations as eq
from solvable.attention.sparse_tokens.features import Classifier
from solvable.attention.sparse_tokens.nodes import Quadrature
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.attention.sparse_tokens.theories import OBSERVABLES
from solvable.lab.declare import Outcome, Result
from solvable.numerics.losses import Logistic, Square
from solvable.numerics.newton import newton

RULE = Quadrature(points=2**12, scramblings=1)
"""Its test errors are within .3 % of those of the default rule, which is 16 times dearer."""
STRONG, STAGES, TURNS = 0.3, 6, 30


def of_cells(cells: Sequence[Any], otherwise: Callable[[list[Any]], list[Outcome | None]]) -> list[Outcome | None]:
    """`along` for cells of an experiment with a `ratio`, whose lines are those along which one parameter changes.

    `otherwise` predicts the cells that are not reached so.
    """
    names = type(cells[0]).model_fields if cells else ()
    moved = [[name for name in names if getattr(a, name) != getattr(b, name)] for a, b in itertools.pairwise(cells)]
    settings = [(cell.task(), cell.algorithm(), cell.ratio) for cell in cells]
    found = along(settings, [True, *(len(one) > 1 for one in moved)])
    lost = [place for place, one in enumerate(found) if one is None]
    for place, one in zip(lost, otherwise([cells[place] for place in lost]), strict=True):
        found[place] = one
    return found


def along(settings: Sequence[tuple[SparseTokens, Classifier, Any]], begins: Sequence[bool]) -> list[Outcome | None]:
    """The limit in settings (task, algorithm, ratio), on `RULE`; None where it is not reached so.

    `begins` says where a line begins, which is solved along a path of ridges; within a line little changes.
    """
    found: list[Outcome | None] = [None] * len(settings)
    groups: dict[Any, list[tuple[int, Any, Any, bool]]] = {}
    with jax.enable_x64(True):
        for place, (task, algorithm, ratio) in enumerate(settings):
            # whatever else a task draws, the limit is that of its four numbers: one structure, compiled once
            task = SparseTokens(task.length, task.sparsity, task.strength, task.positive_rate)
            law, code = algorithm.limit(task, ratio)
            law = jax.tree_util.tree_map(np.float64, law)
            if int(code) == Result.SUCCESSFUL and algorithm.ridge > 0.0:
                scalars = np.array([algorithm.ridge * law.ridge, ratio * algorithm.head_share * law.ratio])
                key = jax.tree_util.tree_structure((law, algorithm.loss))
                groups.setdefault(key, []).append((place, (law, algorithm.loss, scalars), law.unit, begins[place]))
        for group in groups.values():
            rows, first = [], []
            for number, (place, row, _, begin) in enumerate(group):
                begin = begin or not number or group[number - 1][0] != place - 1
                if begin and not isinstance(row[1], Square):
                    ladder = np.geomspace(max(STRONG, row[2][0]), row[2][0], STAGES)[:-1]
                    rows += [(row[0], row[1], np.array([ridge, row[2][1]])) for ridge in ladder]
                    first += [True, *[False] * (STAGES - 2)]
                rows.append(row)
                first.append(False)
            _fill(found, group, rows, first)
    return found


def _fill(found: list[Outcome | None], group: Any, rows: Sequence[Any], first: Sequence[bool]) -> None:
    stacked = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *rows)
    rule = tuple(one[0] for one in rows[0][0].rules(RULE))
    values, reached = jax.tree_util.tree_map(np.asarray, _solved(stacked, np.array(first), rule))
    place_of = {id(row): number for number, row in enumerate(rows)}
    dims = {one.name: one.dims for one in OBSERVABLES}
    for place, row, unit, _ in group:
        number = place_of[id(row)]
        if reached[number]:
            said = {name: value[number] for name, value in values.items()}
            said |= {name: said[name] * unit for name in ("query_weight", "signal_weight", "orthogonal_norm")}
            said |= {"cosine": row[0].cosine, "sharpness": row[0].sharpness}
            found[place] = Outcome.of(said, int(Result.SUCCESSFUL), dims, theory="limit")


@eqx.filter_jit
def _solved(rows: Any, first: Any, rule: Any) -> tuple[dict[str, Any], Any]:
    """The observables of the rows, one after the other, and whether each is solved."""

    def one(state: tuple[Any, Any], row: Any) -> tuple[Any, Any]:
        (law, loss, (ridge, ratio)), begin = row
        equations = eq.Equations(law.nodes(*rule), loss, ridge, ratio)
        x, move = state
        if isinstance(loss, Square):
            reached = eq.solve_square(equations)
            new, solved = reached.x, reached.result == int(Result.SUCCESSFUL)
        else:
            nowhere = jnp.array([0.0, 0.0, 0.0, -2.0, 0.0]) - eq.UNIT[4] * jnp.log(ratio * (ridge + 0.1))
            ended = newton(equations, jnp.where(begin, nowhere, x + move), TURNS, 1e-9)
            new, solved = ended.x, ended.norm < eq.STALLED
            if not isinstance(loss, Logistic):
                solved = solved & ~eq.undetermined(equations)
        test_error, train_error = eq.errors(equations, new)
        values = {
            "test_error": test_error,
            "train_loss": eq.training_loss(equations, new),
            "train_error": train_error,
            "query_weight": new[0],
            "signal_weight": new[1],
            "bias": new[2],
            "orthogonal_norm": jnp.exp(new[3]),
        }
        # what fails is not gone on from, and no line is extrapolated over its beginning
        further = solved & ~begin
        return (jnp.where(solved | begin, new, x), jnp.where(further, new - x, 0.0)), (values, solved)

    return jax.lax.scan(one, (jnp.zeros(5), jnp.zeros(5)), (rows, first))[1]
