"""The whole page: summary, contents, one section an experiment, calibration, how to read it; written in one piece.

Nothing is fetched and nothing is evaluated: Plotly, the style and the pictures are inside, a content security policy
allows the two scripts by their hashes and nothing else, and every text is escaped where it enters the page.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from solvable.lab.comparing import agreement, calibration, finite_size
from solvable.lab.declare import Experiment, registry
from solvable.lab.figures import calibration as scores
from solvable.lab.figures.plotly import script
from solvable.lab.reporting.figures import Graphs, figure_block, figures, over_sizes
from solvable.lab.reporting.section import Section, counted, missing_replicates, verdict
from solvable.lab.reporting.tables import (
    agreement_parts,
    commands,
    environment,
    extrapolation_parts,
    failed,
    mark,
    parameters,
    predictions,
)
from solvable.lab.store import dataset
from solvable.lab.store.atomic import StoreError, WriteError, not_a_file, write_whole
from solvable.numerics.html import Markup, inline_json, join, tag

_MOST_WARNINGS = 20
_WORDS = {
    "se of difference": "One standard error of the mean of simulated minus predicted over replicates. Where the theory "
    "was given each run it is that of the paired differences, and not that of the simulated mean.",
    "allowance": "What the two may differ by without disagreeing: the observable's allowance for finite size and the "
    "error of the prediction's own quadrature, as one standard deviation. Nothing where it is zero.",
    "z": "The mean difference divided by the root of the sum of squares of its se and the allowance, turned into a "
    "normal score by Student's t. Beyond 4 the two differ.",
    "identity": "Nothing is random and both sides are the same number. It is not counted as an agreement.",
    "exact": "The theory holds at the simulated sizes.",
    "asymptotic": "The theory holds in a limit; an allowance stands for what the simulated sizes may be away from it.",
    "bound": "The theory bounds the simulation from one side, and only that side is tested.",
    "heuristic": "The theory is not proved.",
    "stated": "The source states it.",
    "derived": "It was derived for this library.",
    "reconstruction": "The source's form or setting was not found, and this is the nearest one.",
}


@dataclasses.dataclass(frozen=True)
class Report:
    """What was written: the path, the summary in words, and its numbers.

    `unreadable` names the experiments that are stored and cannot be shown, `damaged` counts the damaged files.
    """

    path: Path
    summary: str
    experiments: int
    comparisons: int
    disagreeing: int
    identities: int
    failed_cells: int
    unreadable: list[str]
    damaged: int


def write(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    experiments: Sequence[type[Experiment]] = (),
) -> Report:
    """Write the report of everything stored in `folder`, to `folder`/report.html unless `out` names another file.

    `experiments` are classes that no installed package declares. An experiment that is stored and cannot be read (it is
    not installed, say) has a section that says so. The file is written in one piece: a reader meets the old report or
    the new one.

    Raises: StoreError when nothing is stored or nothing of it can be read; ValueError when `folder` is a file or `out`
    names no file in a folder that exists; WriteError when the file cannot be written.
    """
    path = Path(folder) / "report.html" if out is None else _accepted(out)
    sections, notes = read(folder, experiments)
    try:
        write_whole(path, page(folder, sections, notes).encode())
    except WriteError as error:
        if error.__cause__ is None:  # what is there is no file
            raise
        reason = getattr(error.__cause__, "strerror", None) or "the reason is unknown"
        raise WriteError(f"{path} cannot be written ({reason}); --out names another file") from error
    count = agreement.tally(row for section in sections for row in section.every)
    return Report(
        path,
        summary(sections, notes),
        len(sections),
        count.tested,
        count.differing,
        count.identities,
        sum(len(section.failed) for section in sections),
        [section.name for section in sections if section.trouble],
        len(dataset.damaged_files(notes)),
    )


def read(
    folder: str | os.PathLike[str], experiments: Sequence[type[Experiment]] = ()
) -> tuple[list[Section], list[Warning]]:
    """Every stored experiment with its comparisons, and what was passed over while reading.

    Raises: StoreError when nothing is stored or nothing of it can be read; ValueError when `folder` is a file.
    """
    sections = []
    store = dataset.open_store(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        names = dataset.stored_experiments(store)
        known = {**registry.experiments(), **{experiment.name: experiment for experiment in experiments}}
        for name in names:
            if name not in known:
                sections.append(Section(name, trouble=dataset.not_installed(folder, name)))
                continue
            try:
                experiment, results = dataset.read_results(folder, known[name], store=store)
            except (ValueError, StoreError) as error:
                sections.append(Section(name, trouble=" ".join(str(error).split())))
                continue
            rows = agreement.rows(experiment, results)
            sections.append(Section(name, experiment, results, rows, finite_size.extrapolate(experiment, results)))
    notes = list({str(one.message): one.message for one in caught if isinstance(one.message, Warning)}.values())
    for note in notes:
        warnings.warn(note, stacklevel=2)
    damaged = len(dataset.damaged_files(notes))
    if not sections and damaged:
        raise StoreError(f"{os.fspath(folder)} holds nothing that can be read: {counted(damaged, 'file')} damaged")
    if not sections:
        raise StoreError(f"{os.fspath(folder)} holds no results; `solvable run EXPERIMENT --out {folder}` makes some")
    if all(section.trouble for section in sections):
        others = f"; {counted(len(sections) - 1, 'more')} cannot be read either" if len(sections) > 1 else ""
        raise StoreError(sections[0].trouble + others)
    return sections, notes


def summary(sections: Sequence[Section], notes: Sequence[Warning] = ()) -> str:
    """The report in a few sentences; `notes` are the warnings of reading."""
    count = agreement.tally(row for section in sections for row in section.every)
    broken, damaged = sum(len(section.failed) for section in sections), len(dataset.damaged_files(notes))
    lost = sum(bool(section.trouble) for section in sections)
    words = [f"{counted(len(sections), 'experiment')}: {count.headline}"]
    words += [f"{counted(broken, 'cell')} failed"] if broken else []
    words += missing_replicates(sections)
    words += [f"{counted(damaged, 'file')} {'is' if damaged == 1 else 'are'} damaged"] if damaged else []
    words += [f"{counted(lost, 'experiment')} could not be read"] if lost else []
    return ". ".join(words) + "."


def page(folder: str | os.PathLike[str], sections: Sequence[Section], notes: Sequence[Warning] = ()) -> str:
    """The HTML of the report."""
    graphs = Graphs()
    anchors = [f"experiment-{number}" for number in range(1, len(sections) + 1)]
    parts = [
        _section(section, anchor, graphs, os.fspath(folder)) for section, anchor in zip(sections, anchors, strict=True)
    ]
    title = f"Theory and simulation: {Path(folder).resolve().name}"
    made = f"Made by solvable {version('solvable')} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC from {os.fspath(folder)}."
    contents = None
    if len(sections) > 1:
        lines = [
            tag("li", mark(kind), " ", tag("a", section.name, href=f"#{anchor}"), " ", tag("span", words))
            for section, anchor in zip(sections, anchors, strict=True)
            for kind, words in [verdict(section)]
        ]
        contents = tag("nav", tag("h2", "Contents", id="contents"), tag("ol", *lines), aria_labelledby="contents")
    main = [
        tag(
            "header",
            tag("h1", title),
            tag("p", summary(sections, notes), class_="summary"),
            tag("p", made, class_="note"),
        ),
        _warnings(notes),
        contents,
        *parts,
        _calibration(sections, graphs),
        _reading(),
    ]
    early = Markup('document.documentElement.className = "js";')
    late, plotly = Markup(_resource("page.js")), script()
    packed = base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode()  # a third of its size
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, (early, plotly, late)))}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(_resource("page.css"))),
        tag("script", early),
    ]
    body = [
        tag("a", "Skip to the results", href=f"#{anchors[0]}", class_="skip"),
        tag("main", *main),
        tag("script", inline_json(graphs), type="application/json", id="graphs"),
        tag("script", packed, type="application/gzip", id="plotly"),
        tag("script", late),
    ]
    document = tag("html", tag("head", *head), "\n", tag("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _accepted(out: str | os.PathLike[str]) -> Path:
    path = Path(out)
    other = "empty" if not os.fspath(out) else not_a_file(path)
    if other:
        raise ValueError(f"out={os.fspath(out)!r} is {other}; accepted: the name of a file, or one that is free")
    if not os.path.isdir(path.parent):
        raise ValueError(f"out={os.fspath(out)!r} lies in no folder that exists; accepted: a file in one that does")
    return path


def _warnings(notes: Sequence[Warning]) -> Markup | None:
    if not notes:
        return None
    lines = [tag("p", tag("strong", "Warning: "), str(note)) for note in notes[:_MOST_WARNINGS]]
    if len(notes) > _MOST_WARNINGS:
        lines.append(tag("p", f"{counted(len(notes) - _MOST_WARNINGS, 'more')} warnings are left out."))
    return tag("div", *lines, class_="warnings", role="note", aria_label="Warnings")


def _section(section: Section, anchor: str, graphs: Graphs, out: str) -> Markup:
    kind, words = verdict(section)
    head = tag("h2", section.name, id=f"{anchor}-title")
    if section.experiment is None:
        parts = [head, tag("p", mark(kind), " ", section.trouble, class_="verdict")]
        return tag("section", *parts, id=anchor, tabindex=-1, aria_labelledby=f"{anchor}-title")
    lines, over = (section.experiment.__doc__ or "").strip().splitlines(), []
    if section.extrapolated:
        over = [tag("h3", "Agreement over sizes"), over_sizes(section, graphs), *extrapolation_parts(section)]
    parts = [
        head,
        tag("p", lines[0] if lines else "", class_="lead"),
        tag("p", "Source: ", _linked(section.experiment.source), class_="note"),
        tag("p", mark(kind), " ", words, class_="verdict"),
        tag("h3", "Figure"),
        *figures(section, graphs, out),
        *agreement_parts(section),
        *over,
        *failed(section),
        _columns(
            [tag("h3", "Parameters"), parameters(section.experiment, section.results)],
            [tag("h3", "Predictions"), *predictions(section.experiment)],
        ),
        _columns(
            [tag("h3", "How to reproduce it"), *commands(section, out)],
            [tag("h3", "Where it was computed"), environment(section.name, section.results)],
        ),
    ]
    return tag("section", *parts, id=anchor, tabindex=-1, aria_labelledby=f"{anchor}-title")


def _calibration(sections: Sequence[Section], graphs: Graphs) -> Markup:
    found = calibration.scores([row for section in sections for row in section.every])
    head = tag("h2", "Calibration of all z-scores", id="calibration-title")
    words = [tag("p", sentence) for sentence in calibration.sentences(found)]
    if found:
        drawn = figure_block(scores.sheet(found), graphs, "Calibration: sorted z-scores")
        words = [_columns([tag("p", calibration.introduction(found)), *words], [drawn])]
    return tag("section", head, *words, id="calibration", aria_labelledby="calibration-title")


def _reading() -> Markup:
    entries = [tag("div", tag("dt", word), tag("dd", meaning)) for word, meaning in _WORDS.items()]
    parts = [tag("h2", "The words of this report", id="words-title"), tag("dl", *entries)]
    return tag("section", *parts, id="words", aria_labelledby="words-title")


def _columns(*parts: list[Markup]) -> Markup:
    """Parts side by side where the screen is wide enough."""
    return tag("div", *(tag("div", part) for part in parts), class_="columns")


def _linked(source: str) -> Markup:
    """The source with its arXiv number as a link."""
    found = re.search(r"arXiv:(\d{4}\.\d{4,5})", source)
    if found is None:
        return join([source])
    link = tag("a", found[0], href=f"https://arxiv.org/abs/{found[1]}", rel="noreferrer")
    return join([source[: found.start()], link, source[found.end() :]])


def _resource(name: str) -> str:
    return (files("solvable.lab.reporting") / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
