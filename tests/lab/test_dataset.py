"""The labelled dataset: dims, names and attributes."""

import json

import numpy as np
import pytest

from solvable import lab
from solvable.lab.declare import Overlay
from solvable.lab.store import dataset
from solvable.lab.store.atomic import StoreError
from tests.lab.toy import Ceiling, SampleMean


def test_dims_coordinates_and_attributes(tmp_path):
    made = lab.run(SampleMean, {"samples": [16, 4], "kind": ["shifted", "plain"]}, replicates=3, out=tmp_path)
    assert made["mean"].dims == ("samples", "kind", "replicate")
    assert made["moments"].dims == ("samples", "kind", "order", "replicate")
    assert made["theory_moments"].dims == ("samples", "kind", "order")
    assert made["given_first_mean"].dims == ("samples", "kind", "replicate")
    assert made["samples"].values.tolist() == [4, 16]
    assert made["kind"].values.tolist() == ["plain", "shifted"]
    assert made.coords["location"].item() == 0.25
    assert json.loads(made.attrs["parameters"]) == {"location": 0.25}
    assert made.attrs["experiment"] == "toy/mean"
    assert made.attrs["source"] == "a textbook, Fig. 0"
    assert made.attrs["title"] == "The mean of n Gaussians against n."
    assert made.attrs["dtype"] == "float64"
    assert "jax" in json.loads(made.attrs["versions"])
    assert made.attrs["device"].startswith("cpu")
    assert made["mean"].attrs["long_name"] == "sample mean"
    assert "units" not in made["mean"].attrs
    assert made["theory_mean"].attrs["long_name"] == "sample mean (theory)"
    assert made["given_first_mean"].attrs["long_name"] == "sample mean (given first)"
    assert made["samples"].attrs["long_name"] == "samples n"


def test_cells_that_were_not_run_are_missing(tmp_path):
    lab.run(SampleMean, {"samples": [4, 8]}, replicates=2, out=tmp_path)
    lab.run(SampleMean, {"samples": 8, "location": 1.0}, replicates=4, out=tmp_path)
    opened = lab.open(tmp_path, SampleMean)
    there = np.isfinite(opened["mean"]).transpose("samples", "location", "replicate").values
    assert there.sum(axis=-1).tolist() == [[2, 0], [2, 4]]


def test_theories_are_named_by_their_label_where_there_are_several(monkeypatch):
    assert dataset.variable_prefix(SampleMean, "theory") == "theory_"
    assert dataset.variable_prefix(Ceiling, "ceiling") == "theory_"
    monkeypatch.setattr(Ceiling, "overlays", (Overlay("ceiling"), Overlay("law"), Overlay("law", given=True)))
    assert [dataset.variable_prefix(Ceiling, overlay.label) for overlay in Ceiling.overlays] == [
        "ceiling_",
        "law_",
        "law_given_",
    ]


def test_open_asks_for_a_name_where_there_are_several(tmp_path):
    with pytest.raises(StoreError, match="holds no results"):
        lab.open(tmp_path)
    lab.run(SampleMean, {"samples": 4}, replicates=2, out=tmp_path)
    lab.run(Ceiling, {"samples": 4}, replicates=2, out=tmp_path)
    with pytest.raises(ValueError, match="holds several experiments; name one: 'toy/ceiling', 'toy/mean'"):
        lab.open(tmp_path)
    with pytest.raises(ValueError, match=r"'toy/mea' is not stored in .*; did you mean 'toy/mean'"):
        lab.open(tmp_path, "toy/mea")


def test_the_dataset_goes_to_other_tools(tmp_path):
    made = lab.run(SampleMean, {"samples": [4, 8], "kind": ["plain", "patchy"]}, replicates=4, out=tmp_path)
    frame = made["mean"].to_dataframe()
    assert len(frame) == 16
    json.dumps(made.to_dict(encoding=False)["attrs"])


def test_a_file_is_no_folder_of_results(tmp_path):
    (tmp_path / "afile").write_text("not a folder")
    with pytest.raises(ValueError, match=r"afile' is a file; accepted for DIR: a folder of stored results"):
        lab.open(tmp_path / "afile")
