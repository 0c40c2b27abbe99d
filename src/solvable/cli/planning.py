"""`solvable plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from solvable.cli.call import Answer
from solvable.cli.running import settings
from solvable.lab.declare.registry import find
from solvable.lab.planning import answer
from solvable.lab.planning.result import Solution
from solvable.lab.planning.solve import Plan
from solvable.lab.planning.solve import plan as planned


def plan(name: str, solve: str, target: str, options: Sequence[str], between: str | None) -> Answer:
    """The plan in words, and as a document."""
    experiment = find(name)
    observable, _, value = target.partition("=")
    aim = {observable.strip(): _number(value, f"--target {target}", "OBSERVABLE=VALUE")}
    limits = None
    if between is not None:
        ends = [_number(text, f"--between {between}", "LOW,HIGH") for text in between.split(",")]
        if len(ends) != 2:
            raise ValueError(f"--between {between} cannot be read; accepted: LOW,HIGH")
        limits = (ends[0], ends[1])
    with Console(stderr=True).status("inverting the theory"):  # shown on a terminal only
        found = planned(experiment, solve, aim, settings(options), limits)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for label, texts in answer.rows(found):
        for place, text in enumerate(texts):
            table.add_row(Text(f"  {label}" if place == 0 else ""), Text(text))
    parts = [Text(answer.question(found), style="bold"), table, *map(Text, answer.foot(found))]
    return Answer(document(found), parts)


def document(found: Plan) -> dict[str, Any]:
    """A plan for --json."""
    return {
        "experiment": found.experiment.name,
        "source": found.experiment.source,
        "solve": found.solve,
        "target": {found.observable.name: found.target},
        "bound": found.observable.bound,
        "rows": [_row(found, row) for row in found.rows],
    }


def _row(found: Plan, row: Solution) -> dict[str, Any]:
    inverse, advice = row.inverse, row.advice
    parameters = row.cell.model_dump(mode="json")
    del parameters[found.solve]
    closest = inverse.closest(found.target) if inverse.tried else None
    return {
        "parameters": parameters,
        "overlay": row.overlay and row.overlay.label,
        "claim": row.status and row.status.claim,
        "origin": row.status and row.status.origin,
        "answer": answer.answer(found, row),
        "crossings": [
            dataclasses.asdict(crossing) | {"amounts": dict(found.at(row, crossing.value).amounts())}
            for crossing in inverse.crossings
        ],
        "closest": closest and {found.solve: closest[0], found.observable.name: closest[1]},
        "tried": inverse.tried,
        "ends": inverse.ends,
        "unsolved": inverse.unsolved,
        "reason": inverse.message if inverse.unsolved or not inverse.tried else "",
        "advice": advice and dataclasses.asdict(advice),
        "notes": list(row.notes),
    }


def _number(text: str, option: str, accepted: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{option} cannot be read; accepted: {accepted}") from None
