"""What the system's page shows works as it stands there."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[3] / "docs" / "systems" / "self_attention.md"


def test_self_attention_as_its_page_shows_it():
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(block, names)
    assert names["run"].losses[-1] < 0.6 * names["run"].losses[0]
    assert names["answers"].shape == (5, 5)
    np.testing.assert_allclose(
        names["runs"].excess_risk.mean(axis=0), names["path"].excess_risk.mean(axis=0), atol=2e-3
    )
