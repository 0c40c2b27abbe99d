"""What the documentation shows works as it stands there."""

import re
import sys
from pathlib import Path

import numpy as np

from solvable import lab
from solvable.lab import registry

PAGE = Path(__file__).parents[1] / "docs" / "sweeps.md"


def test_an_experiment_of_your_own(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if "class LargestEigenvalue" in block]
    (tmp_path / "wishart_of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    (declared,) = registry.experiments_in("wishart_of_the_docs")
    data = lab.run(declared, {"dim": [40, 60, 80], "ratio": [1.0, 4.0]}, replicates=16, jobs=2, out=tmp_path / "out")
    assert data.sizes == {"ratio": 2, "dim": 3, "replicate": 16}
    np.testing.assert_allclose(data["theory_largest"].isel(dim=0), [4.0, 2.25])
    rows = lab.compare(tmp_path / "out", declared)
    assert len(rows) == 6 + 2
    assert all(row.comparison.agrees for row in rows)
    sys.modules.pop("wishart_of_the_docs")
