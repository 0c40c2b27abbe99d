"""What a report must survive: an experiment whose every text is an attack, and a folder of toys that holds it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest

from solvable import lab
from solvable.lab.declare import Observable, axis, parameter, registry
from solvable.lab.reporting import document
from tests.lab import toy

IMAGE = "<img src=x onerror=alert(2)>"
MESSAGE = "</script><script>alert(3)</script>&amp; %{x} \u2028 ${alert(4)}"


class Hostile(toy.SampleMean):
    """A <b>bold</b> claim</p><script>alert(5)</script>"""

    name = 'x"><script>alert(1)</script>/../../y'
    source = '<iframe src=https://evil.example></iframe> arXiv:2509.25153" onmouseover="alert(6)'
    samples: int = axis([4, 8], "<svg onload=alert(7)>", log=True)
    words: str = axis(["plain", IMAGE], "a </td><script>alert(8)</script> %{y}", symbol="<i>w</i>")
    kind: Literal["plain", "shifted"] = parameter("plain", "which toy")
    observables = (
        Observable("mean", "<a href='https://evil.example'>mean</a> %{y}", unit="</text><script>alert(9)</script>"),
    )
    panels = ()

    def simulate(self, key, replicates):
        if self.words != "plain" and self.samples == 8:
            raise RuntimeError(MESSAGE)
        return super().simulate(key, replicates)


def install(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """The experiments of these modules are the installed ones."""
    points = [SimpleNamespace(value=module) for module in modules]
    monkeypatch.setattr(registry, "entry_points", lambda group, name=None: points)


def written(factory: pytest.TempPathFactory) -> document.Report:
    """The report over such a folder, where it lies."""
    folder = factory.mktemp("stored")
    fill(folder)
    with pytest.MonkeyPatch.context() as patch:
        install(patch, "tests.lab.toy", "tests.lab.hostile")
        return document.write(folder)


def fill(folder: Path) -> None:
    """Cells that agree, that differ, that fail and that lack replicates; a bound, theory alone, a path; the attack."""
    kinds = ["plain", "shifted", "patchy", "broken"]
    with pytest.warns(UserWarning, match="2 of 8 cells"):
        lab.run(toy.SampleMean, {"samples": [4, 64], "kind": kinds}, replicates=12, out=folder)
    lab.run(toy.Ceiling, {"samples": [4, 8]}, replicates=6, out=folder)
    lab.run(toy.TheoryOnly, {"samples": [4, 8]}, out=folder)
    lab.run(toy.Decay, {"rate": [0.1, 0.3]}, replicates=3, out=folder)
    with pytest.warns(UserWarning, match="1 of 4 cells"):
        lab.run(Hostile, replicates=4, out=folder)
