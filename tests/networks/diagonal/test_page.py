"""What the system's page shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[3] / "docs" / "systems" / "diagonal.md"


def test_diagonal_networks_as_their_page_shows_them(capsys) -> None:
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(block, names)
    assert "True" in capsys.readouterr().out
    apart = [np.abs(run.average - names["path"](run.at)).max() for run in (names["run"], names["tiny"])]
    assert apart[1] < 0.1 * apart[0]
    np.testing.assert_allclose(names["exact"].average, names["outcome"].average)
    assert names["limit"].average.shape == (8, 3, 4)
    assert names["model"].support_.sum() in range(4, 9)
    assert names["coefficients"].shape == (4, 10)
