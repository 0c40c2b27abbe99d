"""The table of comparisons: a list of rows, a data frame, text and HTML; and the order of the lab's arguments."""

import html
import math
import re

import pytest

from solvable import lab
from solvable.lab.comparing.agreement import tally
from solvable.lab.comparing.comparisons import Comparisons
from solvable.lab.declare import registry
from tests.lab.toy import Ceiling, SampleMean


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("results")
    lab.run(SampleMean, {"samples": [4, 8], "kind": ["plain", "shifted"]}, replicates=64, out=made)
    return made


def test_the_table_is_a_list_and_a_tidy_data_frame(folder):
    found = lab.compare(folder, SampleMean)
    frame = found.to_dataframe()
    assert isinstance(found, list)
    assert len(frame) == len(found) == 20
    columns = ["samples", "location", "kind", "order", "point", "observable", "overlay", "claim", "origin"]
    assert list(frame.columns[:9]) == columns
    for row, (_, line) in zip(found, frame.iterrows(), strict=True):
        assert (line["samples"], line["kind"]) == (row.parameters["samples"], row.parameters["kind"])
        assert line["difference"] == row.comparison.difference
        assert line["agrees"] == row.comparison.agrees
        assert line["point"] == ("" if not row.point else f"order={row.point['order']:g}")
        assert math.isnan(line["order"]) == (not row.point)
    assert frame.groupby("kind")["agrees"].all().to_dict() == {"plain": True, "shifted": False}


def test_no_parameter_has_the_name_of_another_column(folder):
    facts = set(lab.compare(folder, SampleMean).to_dataframe().columns) - {*SampleMean.model_fields, "order"}
    assert {"point", "observable", "score", "misfit"} < facts
    assert not [name for one in registry.experiments().values() for name in facts & set(one.model_fields)]


def test_printed_it_says_how_many_agree_and_shows_them(folder):
    found = lab.compare(folder, SampleMean)
    headline, head, *lines = repr(found).splitlines()
    assert headline == tally(found).headline
    assert re.fullmatch(r"\d+ of 16 comparisons agree; 4 identities are not counted", headline)
    assert head.split() == [
        "samples",
        "kind",
        "observable",
        "theory",
        "claim",
        "simulated",
        "predicted",
        "se",
        "allowance",
        "z",
        "verdict",
    ]
    assert len(lines) == 20
    assert lines[0].split()[:5] == ["4", "plain", "mean", "theory", "exact"]
    assert lines[1].split()[-1] == "identity"
    assert lines[2].split()[2] == "moments[order=0]"
    assert repr(Comparisons()) == "nothing was tested"


def test_of_many_comparisons_the_worst_are_printed(folder):
    found = lab.compare(folder, SampleMean)
    many = Comparisons([*found[:5], *found[-5:]] * 7)
    headline, _, *lines = repr(many).splitlines()
    assert headline.endswith("(the worst 60 of 70 are shown)")
    assert len(lines) == 60
    assert "differs by" in lines[0]
    assert sum("differs" in line for line in lines) == sum(row.comparison.agrees is False for row in many)


def test_the_table_of_a_notebook_has_no_colours_and_escapes_what_it_shows(folder):
    found = lab.compare(folder, SampleMean)
    text = found._repr_html_()
    assert text.count("<tr>") == 21
    assert "color" not in text
    assert html.escape(tally(found).headline) in text
    row = found[0]
    hostile = Comparisons([type(row)(**{**vars(row), "overlay": "<script>alert(1)</script>"})])
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()


@pytest.mark.parametrize("verb", ["open", "compare", "figure"])
def test_swapped_arguments_are_answered_in_one_sentence(verb, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    call, out = getattr(lab, verb), folder.name
    order = rf"in the other order; accepted: lab\.{verb}\(folder, experiment\)$"
    with pytest.raises(ValueError, match=f"^folder='sparse-tokens/error' and experiment='{out}' are {order}"):
        call("sparse-tokens/error", out)
    with pytest.raises(ValueError, match=f"^folder='sparse-tokens/error' and experiment='nowhere' are {order}"):
        call("sparse-tokens/error", "nowhere")
    with pytest.raises(ValueError, match=f"^folder=SampleMean and experiment=.* are {order}"):
        call(SampleMean, folder)
    with pytest.raises(ValueError, match=f"^folder='toy/mean' and experiment='{out}' are {order}"):
        call("toy/mean", out)
    with pytest.raises(ValueError, match=f"^folder='toy/mean' and experiment=a dataset are {order}"):
        call("toy/mean", lab.open(folder, SampleMean))


def test_a_dataset_says_of_which_experiment_it_is(folder, monkeypatch):
    data = lab.open(folder, SampleMean)
    assert data.attrs["experiment"] == "toy/mean"
    monkeypatch.setattr(registry, "_declared", lambda paths: {"toy/mean": SampleMean, "toy/ceiling": Ceiling})
    named = [axes.get_ylabel() for axes in lab.figure(data, "toy/mean").axes]
    assert [axes.get_ylabel() for axes in lab.figure(data).axes] == named
    assert [axes.get_ylabel() for axes in lab.figure(folder).axes] == named
    del data.attrs["experiment"]
    with pytest.raises(ValueError, match="experiment=None is not accepted with this dataset"):
        lab.figure(data)
