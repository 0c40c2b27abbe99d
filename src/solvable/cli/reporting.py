"""`solvable report`."""

from __future__ import annotations

from rich.text import Text

from solvable.cli.call import Answer
from solvable.lab.page import document


def write(folder: str, out: str | None) -> Answer:
    """Write the page and say what is in it."""
    report = document.write(folder, out)
    found = {
        "report": str(report.path),
        "summary": report.summary,
        "experiments": report.experiments,
        "comparisons": report.comparisons,
        "disagreeing": report.disagreeing,
        "failed_cells": report.failed_cells,
        "unreadable": report.unreadable,
    }
    wrong = report.disagreeing or report.failed_cells
    parts = [
        Text(report.summary, style="bold red" if wrong else ""),
        *(Text(f"could not be read: {name}", style="yellow") for name in report.unreadable),
        Text(f"report   {report.path}", overflow="fold"),
    ]
    return Answer(found, parts, 1 if wrong else 0)
