"""`solvable list` and `solvable show`."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from solvable.cli.call import Answer
from solvable.lab.declare import Experiment
from solvable.lab.declare.grid import accepted
from solvable.lab.declare.registry import experiments, find


def every_experiment() -> Answer:
    """Every installed experiment by system."""
    entries = [_summary(experiment) for experiment in experiments().values()]
    entries.sort(key=lambda entry: entry["system"])
    table = _table("experiment", "what it shows", "source", "claims")
    system = None
    for entry in entries:
        if entry["system"] != system:
            system = entry["system"]
            table.add_row(Text(system, style="bold"), "", "", "")
        claims = ", ".join(dict.fromkeys(claim for item in entry["overlays"] for claim in item["claims"]))
        table.add_row(Text("  " + entry["name"]), Text(entry["title"]), Text(entry["source"]), Text(claims))
    return Answer({"experiments": entries}, [table] if entries else [Text("no experiment is installed")])


def one_experiment(name: str) -> Answer:
    """One experiment in full."""
    experiment = find(name)
    entry = _summary(experiment) | {
        "description": _description(experiment),
        "abscissa": experiment.x,
        "replicates": experiment.replicates,
        "parameters": _parameters(experiment),
        "observables": _observables(experiment),
    }
    parameters = _table("parameter", "default", "accepted", "meaning")
    for item in entry["parameters"]:
        values = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in item["default"])
        parameters.add_row(Text(item["name"]), Text(values), Text(item["accepted"]), Text(item["meaning"]))
    observables = _table("observable", "label", "theory", "claim", "origin")
    for item in entry["observables"]:
        label = f"{item['label']} ({item['unit']})" if item["unit"] else item["label"]
        for place, status in enumerate(item["status"] or [{"overlay": "", "claim": "", "origin": ""}]):
            cells = (item["name"], label) if place == 0 else ("", "")
            observables.add_row(*map(Text, (*cells, status["overlay"], status["claim"], status["origin"])))
    head = Text(
        f"{experiment.name}  ({experiment.source}; {experiment.replicates} replicates by default)", style="bold"
    )
    return Answer(entry, [head, Text(entry["description"] + "\n"), parameters, Text(""), observables])


def _summary(experiment: type[Experiment]) -> dict[str, Any]:
    overlays = []
    for overlay in experiment.overlays:
        status = experiment.status(overlay)
        claims = [status[item.name].claim for item in experiment.observables if item.name in status]
        overlays.append({"label": overlay.label, "given": overlay.given, "claims": list(dict.fromkeys(claims))})
    return {
        "name": experiment.name,
        "system": experiment.system,
        "title": _description(experiment).partition("\n")[0],
        "source": experiment.source,
        "overlays": overlays,
    }


def _description(experiment: type[Experiment]) -> str:
    lines = (experiment.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)


def _parameters(experiment: type[Experiment]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "default": values,
            "accepted": accepted(experiment.model_fields[name].annotation),
            "meaning": experiment.model_fields[name].description or "",
        }
        for name, values in experiment.default_grid().items()
    ]


def _observables(experiment: type[Experiment]) -> list[dict[str, Any]]:
    statuses = {overlay.label: experiment.status(overlay) for overlay in experiment.overlays}
    return [
        {
            "name": item.name,
            "label": item.label.replace("$", ""),
            "unit": item.unit,
            "bound": item.bound,
            "status": [
                {"overlay": label, "claim": status[item.name].claim, "origin": status[item.name].origin}
                for label, status in statuses.items()
                if item.name in status
            ],
        }
        for item in experiment.observables
    ]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
