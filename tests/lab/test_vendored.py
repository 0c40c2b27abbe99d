"""The vendored plotly.js is what its README says, is distributed, and keeps a report small."""

import hashlib
import re
from importlib.resources import files
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from solvable import lab

ROOT = Path(__file__).resolve().parents[2]
VENDOR = files("solvable.lab.figures") / "vendor"
SCRIPT = "plotly-cartesian.min.js"


def test_version_and_checksum_are_the_stated_ones():
    content, stated = (VENDOR / SCRIPT).read_bytes(), (VENDOR / "README.md").read_text()
    (version,) = re.findall(rb"plotly\.js \(cartesian - minified\) v([\d.]+)\n", content[:200])
    assert re.findall(r"plotly\.js (\d[\d.]*\d)\b", stated) == [version.decode()]
    assert re.findall(r"sha256 (\w{64})", stated) == [hashlib.sha256(content).hexdigest()]
    assert b"\r" not in content  # a browser drops it before the script is hashed


def test_the_licence_is_there():
    licence = (VENDOR / "LICENSE").read_text()
    assert licence.startswith("MIT License")
    assert "Plotly" in licence
    assert "The above copyright notice and this permission notice shall be included" in licence


@pytest.mark.parametrize("builder", [WheelBuilder, SdistBuilder])
def test_it_is_distributed(builder):
    found = [Path(one.distribution_path) for one in builder(str(ROOT)).recurse_included_files()]
    names = {path.name for path in found if path.parent.parts[-3:] == ("lab", "figures", "vendor")}
    assert names == {SCRIPT, "LICENSE", "README.md"}


@pytest.mark.parametrize(
    ("experiment", "grid"),
    [
        ("sparse-tokens/phase-diagram", {"strength": [2, 4], "cosine": [0, 0.5, 1]}),
        pytest.param("sparse-tokens/phase-diagram", {}, marks=pytest.mark.slow),
        pytest.param(
            "sparse-tokens/error", {"loss": "logistic", "ratio": [0.5, 1], "dim": 100}, marks=pytest.mark.slow
        ),
        pytest.param("diagonal/lasso-path", {}, marks=pytest.mark.slow),  # more than a thousand comparisons
    ],
)
def test_the_report_of_one_experiment_has_at_most_two_megabytes(tmp_path, experiment, grid):
    lab.run(experiment, grid, replicates=None if "phase" in experiment else 2, out=tmp_path)
    assert lab.report(tmp_path).stat().st_size <= 2e6
