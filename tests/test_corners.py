"""Every theory at corners of what constructors accept, against simulation; the page lists the same rows."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from solvable.lab.comparing.agreement import compare
from solvable.lab.declare.registry import experiments
from tests.corner import Corner

FOLDER = Path(__file__).parent / "corners"
PAGE = Path(__file__).parents[1] / "docs" / "corners.md"
MODULES = [importlib.import_module(f"tests.corners.{path.stem}") for path in sorted(FOLDER.glob("*.py"))]
ROWS: list[Corner] = [row for module in MODULES for row in module.ROWS]


def predicted(row: Corner, given: Any, **options: Any) -> Any:
    system = importlib.import_module(row.system)
    times = {} if row.at is None or row.given is True else {"at": row.at}
    return system.predict(row.task, row.algorithm, theory=row.theory, given=given, **row.shared, **times, **options)


def simulated(row: Corner) -> Any:
    times, system = {} if row.at is None else {"at": row.at}, importlib.import_module(row.system)
    options = {"key": jax.random.key(20), "replicates": row.replicates, **times, **row.shared, **row.sizes}
    return system.simulate(row.task, row.algorithm, **options)


def comparisons(row: Corner, simulation: Any, theory: Any) -> dict[str, list[Any]]:
    """Every point of what is compared."""
    found: dict[str, list[Any]] = {}
    for name in (*row.share, *row.within, *row.tolerance):
        runs, says = np.asarray(simulation.present()[name]), np.asarray(theory.present()[name])
        leading = says.ndim == runs.ndim
        runs, says = runs.reshape(len(runs), -1), says.reshape(len(runs) if leading else 1, -1)
        error = np.asarray(theory.stats.get("standard_error", {}).get(name, 0.0))
        error = np.broadcast_to(error.mean(axis=0) if leading and error.ndim else error, says.shape[1:])
        for place in range(runs.shape[1]):
            one = says[:, place] if leading else says[0, place]
            most = row.within.get(name, row.share.get(name, 0.0) * np.nanmean(np.abs(one)))
            # a comparison accepts four times its allowance
            options = {"allowance": 0.25 * most, "quadrature": error[place], "bound": row.bound.get(name)}
            options["tolerance"] = row.tolerance.get(name)
            found.setdefault(name, []).append(compare(runs[:, place], one, **options))
    return found


def one_sided(row: Corner, name: str, simulation: Any, theory: Any, found: list[Any]) -> bool:
    """Whether all runs lie on one side of the prediction at a point, by more than what is accepted.

    One run that went astray makes the standard error larger than any difference; it does not bring the others back.
    Of twenty-four runs that scatter evenly all lie on one side once in 8 million times.
    """
    runs, says = np.asarray(simulation.present()[name]), np.asarray(theory.present()[name])
    off = (runs - says).reshape(len(runs), -1)
    most = 4.0 * np.array([one.allowance for one in found])
    return row.replicates >= 24 and bool(np.any(np.all(off > most, axis=0) | np.all(off < -most, axis=0)))


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{row.theory}-{row.corner.replace(' ', '_')}")
def test_a_theory_at_a_corner(row: Corner) -> None:
    if row.expected == "refused":
        given = simulated(row) if row.given is True else row.given or None
        with pytest.raises(ValueError, match="accepted") as caught:
            predicted(row, given)
        assert row.words
        assert row.words in str(caught.value)
        return
    simulation = simulated(row)
    theory = predicted(row, simulation if row.given is True else None if row.given is False else row.given, throw=False)
    names = (*row.share, *row.within, *row.tolerance)
    assert names
    if row.expected == "code":
        assert row.code
        assert np.all(np.asarray(theory.result) == row.code), theory.result
        assert all(np.isnan(theory.present()[name]).all() for name in names)
        return
    claims = {name: theory.status[name].claim == "heuristic" for name in names}
    assert all(one == (row.expected == "heuristic") for one in claims.values()), claims
    found = comparisons(row, simulation, theory)
    # a comparison without power agrees with everything
    for name, each in found.items():
        for one in each:
            least = 0.5 * abs(one.predicted) if name in row.share else 0.0
            assert row.differs or 4.0 * one.standard_error <= max(8.0 * one.allowance, least), (name, one)
            assert one.missing <= row.replicates / 2, (name, one)
    agrees = {name: [one.agrees for one in each] for name, each in found.items()}
    if row.differs:
        assert row.expected == "heuristic"
        beside = {name: one_sided(row, name, simulation, theory, each) for name, each in found.items()}
        assert all(False in each or beside[name] for name, each in agrees.items()), found
    else:
        assert all(one is True for each in agrees.values() for one in each), found


def test_every_theory_of_every_system_has_two_corners() -> None:
    ours = {one.system for one in experiments().values() if one.system.startswith("solvable.")}
    assert {row.system for row in ROWS} == ours
    for module in MODULES:
        systems = {row.system for row in module.ROWS}
        assert len(systems) == 1, module
        for theory in importlib.import_module(systems.pop()).theories:
            assert len({row.corner for row in module.ROWS if row.theory == theory}) >= 2, (module.__name__, theory)


def test_the_page_lists_the_same_corners_and_outcomes() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")][2:]
    expected = [row.line for row in ROWS]
    assert lines == expected, "docs/corners.md must hold:\n" + "\n".join(expected)
