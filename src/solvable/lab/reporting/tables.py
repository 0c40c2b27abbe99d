"""The tables of a page: agreement, parameters, predictions, failures, commands, environment."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from solvable.lab.comparing.agreement import Row, signed
from solvable.lab.declare import Experiment, Overlay
from solvable.lab.declare.experiment import said
from solvable.lab.declare.grid import varying
from solvable.lab.declare.symbols import greek
from solvable.lab.figures.words import text
from solvable.lab.reporting import reproduce
from solvable.lab.reporting.section import (
    Section,
    counted,
    finite,
    observable_text,
    value_text,
    where_text,
    worst_first,
)
from solvable.lab.store.arrays import CellResult
from solvable.lab.store.dataset import axes_of
from solvable.numerics.html import Markup, table, tag

MOST_ROWS = 1000
_SHORT = 12
_MOST_DIFFERING = 30
_OUTCOME = ("observable", "verdict", "z")
_COMPARED: Mapping[str, Callable[[Row], str]] = {
    "simulated": lambda row: finite(row.comparison.simulated),
    "predicted": lambda row: finite(row.comparison.predicted),
    "se of difference": lambda row: finite(row.comparison.standard_error),
    "allowance": lambda row: finite(row.comparison.allowance) if row.comparison.allowance else "",
}
_FITTED: Mapping[str, Callable[[Row], str]] = {
    "sizes": lambda row: ", ".join(map(value_text, row.extrapolation.sizes)) if row.extrapolation else "",
    "intercept": lambda row: finite(row.comparison.difference),
    "± 1 se": lambda row: finite(row.comparison.standard_error),
    "slope": lambda row: finite(row.extrapolation.slope) if row.extrapolation else "",
    "misfit": lambda row: signed(row.extrapolation.misfit if row.extrapolation else None),
}
_KINDS = {True: "agrees", False: "differs", None: "untested"}


def mark(kind: str) -> Markup:
    """The sign that stands before a verdict; the words beside it say the same."""
    sign = {"agrees": "✓", "differs": "✗"}.get(kind, "\N{EN DASH}")
    return tag("span", sign, class_=f"mark {kind}", aria_hidden="true")


def agreement_parts(section: Section) -> Iterator[Markup]:
    """The comparisons of each cell: the worst ones, then all of them where there are more."""
    rows = [row for row in worst_first(section.rows) if not row.failed]
    if not rows:
        return
    yield tag("h3", "Agreement")
    shown, caption = rows, "Theory against simulation, the worst first"
    if len(rows) > _SHORT:
        first, seen = [row for row in rows if row.comparison.agrees is False][:_MOST_DIFFERING], set()
        for row in rows:
            if (row.observable, row.overlay) not in seen:
                seen.add((row.observable, row.overlay))
                first.append(row)
        kept = {id(row) for row in (*first, *rows[: max(0, _SHORT - len(seen))])}
        shown = [row for row in rows if id(row) in kept]
        caption = "The worst comparisons, at least one of each observable with each theory"
    yield from _worst_and_all(section, shown, rows, caption, "comparisons", section.rows, _COMPARED)


def extrapolation_parts(section: Section) -> Iterator[Markup]:
    """The lines over sizes, with intercept, slope and misfit: the worst ones, then all of them where there are more."""
    rows = [row for row in worst_first(section.extrapolated) if not row.failed]
    fits = [row.extrapolation for row in rows if row.extrapolation]
    used = {", ".join(map(value_text, fit.sizes)) for fit in fits}
    common = f" from {fits[0].size} = {used.pop()}" if len(used) == 1 else ""
    caption = f"Simulation minus theory, extrapolated to infinite size{common}; the worst first"
    differing = sum(row.comparison.agrees is False for row in rows)
    shown = rows[: max(_SHORT, min(differing, _MOST_DIFFERING))]
    columns = {name: show for name, show in _FITTED.items() if name != "sizes" or not common}
    yield from _worst_and_all(section, shown, rows, caption, "lines over sizes", section.extrapolated, columns)


def _worst_and_all(
    section: Section,
    shown: Sequence[Row],
    rows: Sequence[Row],
    caption: str,
    noun: str,
    among: Sequence[Row],
    own: Mapping[str, Callable[[Row], str]],
) -> Iterator[Markup]:
    """A table of the rows `shown`, and one of all rows to open where they are more."""
    names = varying([row.parameters for row in among])

    def listed(rows: Sequence[Row], caption: str) -> Markup:
        lines = [
            [
                *_outcome(section, row),
                *(value_text(row.parameters[name]) for name in names),
                row.overlay.replace("_", " "),
                row.claim,
                *(show(row) for show in own.values()),
            ]
            for row in rows
        ]
        columns, numbers = [*_OUTCOME, *names, "theory", "claim", *own], ["z", *(set(own) - {"sizes"})]
        return table(caption, columns, lines, of=section.name, numbers=numbers, most=MOST_ROWS)

    yield listed(shown, caption)
    if len(rows) > len(shown):
        words = "`solvable run ... --json` and the Parquet files have them all."
        note = tag("p", words, class_="note") if len(rows) > MOST_ROWS else None
        every = listed(rows, f"All {noun}, the worst first")
        yield tag("details", tag("summary", f"All {len(rows)} {noun}"), note, every)


def _outcome(section: Section, row: Row) -> tuple[Any, ...]:
    """What is compared and what came of it: the columns that a narrow screen shows without scrolling."""
    found = row.comparison
    words = "identity" if found.identity else found.verdict
    return observable_text(section, row), [mark(_KINDS[found.agrees]), " ", words], signed(found.score)


def parameters(experiment: type[Experiment], results: Sequence[CellResult]) -> Markup:
    """The parameters of the stored cells: values and meaning."""
    # what a legend calls a parameter, where that is not its name
    symbols = {name: greek(text(said(field).get("symbol", ""))) for name, field in experiment.model_fields.items()}
    lines = []
    for name, values in axes_of(experiment, results).items():
        shown = ", ".join(value_text(value) for value in values[:40])
        shown += f", ... ({len(values)} values)" if len(values) > 40 else ""
        symbol = [symbols[name]] if any(symbols.values()) else []
        lines.append([tag("code", name), *symbol, shown, experiment.model_fields[name].description or ""])
    columns = ["parameter", *(["symbol"] if any(symbols.values()) else []), "values", "meaning"]
    return table("Parameters of the stored cells", columns, lines, of=experiment.name, quiet=True)


def predictions(experiment: type[Experiment]) -> Iterator[Markup]:
    """What each theory claims of each observable, and what the theories are."""
    lines, meanings = [], []
    for overlay in experiment.overlays:
        status, name = experiment.status(overlay), overlay.label.replace("_", " ")
        meaning = _meaning(experiment, overlay, status)
        if meaning:
            meanings.append(tag("p", tag("b", name), f": {meaning}."))
        for item in experiment.observables:
            if item.name in status:
                label = text(item.label) + (f" ({item.unit})" if item.unit else "")
                compared = "yes" if overlay.compares(item.name) else "no, shown only"
                lines.append([label, name, status[item.name].claim, status[item.name].origin, compared])
    columns = ["observable", "theory", "claim", "origin", "compared"]
    yield table(f"What each theory claims. Source: {experiment.source}", columns, lines, of=experiment.name)
    yield from meanings


def failed(section: Section) -> Iterator[Markup]:
    """The cells where something raised, and the replicates that have no value."""
    places: dict[tuple[str, str, str], list[range | None]] = {}
    names = varying([dict(result.cell) for result in section.results])
    for result in section.failed:
        where = where_text(names, dict(result.cell))
        for failure in result.failures:
            key = (where, failure.source.replace("_", " "), f"{failure.kind}: {failure.message}")
            places.setdefault(key, []).append(failure.replicates)
    lines = [[where, source, _ranges(found), message] for (where, source, message), found in places.items()]
    sources = [one for result in section.results for one in result.sources.items()]
    missing = Counter((source, reason) for source, values in sources for reason in values.reasons if reason)
    if lines or missing:
        yield tag("h3", "What failed")
    if lines:
        columns = ["cell", "source", "replicates", "message"]
        yield table("Cells that failed", columns, lines, of=section.name, most=MOST_ROWS)
    if missing:
        gone = [[source.replace("_", " "), reason, str(count)] for (source, reason), count in missing.most_common()]
        yield table(
            "Values that are missing", ["source", "reason", "how many"], gone, of=section.name, numbers=["how many"]
        )


def _ranges(found: Sequence[range | None]) -> str:
    """Blocks of replicates, neighbours joined."""
    joined: list[range] = []
    for block in sorted((block for block in found if block is not None), key=lambda block: block.start):
        if joined and block.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(block.stop, joined[-1].stop))
        else:
            joined.append(block)
    return ", ".join(_span([block.start, block.stop - 1]) for block in joined) or "all"


def commands(section: Section, out: str) -> Iterator[Markup]:
    """The commands that make the stored cells again."""
    assert section.experiment is not None
    made = reproduce.commands(section.experiment, section.results, out)
    shown = made[:20]
    yield tag("p", "This makes the stored cells; where they are stored already it only draws and compares them again.")
    yield _pre("\n".join(command.line for command in shown), f"Commands ({section.name})")
    for command in shown:
        if command.grid:
            yield tag("p", "with ", tag("code", command.grid_name), ":")
            yield _pre(command.grid, f"{command.grid_name} ({section.name})")
    if len(made) > len(shown):
        yield tag("p", f"{counted(len(made) - len(shown), 'more')} commands are left out.", class_="note")


def _pre(text: str, label: str) -> Markup:
    return tag("pre", tag("code", text), tabindex=0, role="region", aria_label=label)


def environment(name: str, results: Sequence[CellResult]) -> Markup:
    """Cells, replicates, dates, devices, number types and versions, as they were stored."""
    facts = [entry for result in results for entry in result.facts]
    versions: dict[str, list[str]] = {}
    for entry in facts:
        for package, version in entry.get("versions", {}).items():
            versions.setdefault(str(package), []).append(str(version))
    sources = [values for result in results for values in result.sources.values()]
    numbers = [len(values.replicates) for values in sources if values.replicates is not None]
    created = sorted(str(entry["created"]) for entry in facts if "created" in entry)
    packages = (f"{package} {_distinct(found)}" for package, found in versions.items())
    lines = [
        ["cells", str(len(results))],
        ["replicates a cell", _span(numbers) if numbers else "none: theory alone"],
        ["stored", " to ".join(dict.fromkeys(map(_minute, (created[0], created[-1])))) if created else "unknown"],
        ["device", _distinct(entry["device"] for entry in facts if "device" in entry)],
        ["type of the numbers", _distinct(values.dtype for values in sources if values.dtype)],
        ["versions", ", ".join(packages) or "unknown"],
    ]
    return table("When, on what and with which versions", ["what", "value"], lines, of=name, quiet=True)


def _minute(stamp: str) -> str:
    return stamp[:16].replace("T", " ") + (" UTC" if stamp.endswith("+00:00") else stamp[19:])


def _meaning(experiment: type[Experiment], overlay: Overlay, status: Mapping[str, Any]) -> str:
    theories = getattr(importlib.import_module(experiment.system), "theories", {})
    theory = theories.get(overlay.theory or next(iter(theories), None))
    return theory.meaning if theory is not None and theory.status is status else ""


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values})) or "unknown"
