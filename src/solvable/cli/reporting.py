"""`solvable report`."""

from __future__ import annotations

from rich.text import Text

from solvable.cli.call import BAD_DATA, Answer
from solvable.lab.reporting import document


def write(folder: str, out: str | None) -> Answer:
    """Write the page and say what is in it; where something stored could not be read, the exit code is 4."""
    report = document.write(folder, out)
    found = {
        "report": str(report.path),
        "summary": report.summary,
        "experiments": report.experiments,
        "comparisons": report.comparisons,
        "disagreeing": report.disagreeing,
        "identities": report.identities,
        "failed_cells": report.failed_cells,
        "unreadable": report.unreadable,
        "damaged": report.damaged,
    }
    lost = report.unreadable or report.damaged
    wrong = report.disagreeing or report.failed_cells
    parts = [
        Text(report.summary, style="bold red" if wrong or lost else ""),
        *(Text(f"could not be read: {name}", style="yellow") for name in report.unreadable),
        Text(f"report   {report.path}", overflow="fold"),
    ]
    return Answer(found, parts, BAD_DATA if lost else 1 if wrong else 0)
