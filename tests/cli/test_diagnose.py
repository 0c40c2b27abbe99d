"""`solvable diagnose` as users meet it: answers in words, one document, a figure, exit codes."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tests.bags.sparse import draw
from tests.lab import sample

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Bags in both formats, with and without labels, and what is wrong with others."""
    folder = tmp_path_factory.mktemp("bags")
    tokens, labels = draw(bags=120, dim=8, strength=4.0)
    names = np.where(labels, "ill", "healthy")
    flat, offsets = tokens.reshape(-1, 8), np.arange(121) * 10
    features = [f"x{i}" for i in range(8)]
    patients = np.arange(120) // 4
    held = {"labels": names, "feature_names": features, "patients": patients}
    held |= {"doctors": np.full(120, None)}
    np.savez(folder / "bags.npz", values=flat, offsets=offsets, **held)
    np.savez(folder / "numbers.npz", values=flat, offsets=offsets, labels=labels.astype(float))
    np.savez(folder / "unlabelled.npz", values=flat, offsets=offsets)
    np.savez(folder / "one.npz", values=flat, offsets=offsets, labels=np.zeros(120))
    np.savez(folder / "few.npz", values=flat[:120], offsets=offsets[:13], labels=names[:12])
    np.savez(folder / "nan.npz", values=np.where(flat > 5, np.nan, flat), offsets=offsets, labels=names)
    (folder / "torn.npz").write_bytes((folder / "bags.npz").read_bytes()[:500])
    columns = dict(zip(features, flat.T, strict=True)) | {"slide": np.repeat(np.arange(120), 10)}
    columns |= {"outcome": np.repeat(names, 10)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "bags.parquet")
    columns |= {"patients": np.repeat(patients, 10), "token_label": np.arange(1200) % 3}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "patients.parquet")
    columns = {name: columns[name] for name in ("slide", "outcome")} | {"x": flat[:, 0], "y": flat[:, 1]}
    columns |= {"embedding": list(flat), "stain": np.ones(1200)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "embedded.parquet")
    columns = dict(zip(features, flat.T, strict=True)) | {"bag": np.repeat(np.arange(120), 10)}
    columns |= {"label": np.repeat(names, 10), "age": np.repeat(np.arange(120) % 7, 10)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "aged.parquet")
    return folder


def test_a_diagnosis_in_words_with_a_figure(files, tmp_path):
    code, out, error = sample.run(ENVIRONMENT, "diagnose", files / "bags.npz", "--out", tmp_path / "new" / "x.png")
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "features            8: x0, x1, x2, ..., x7"
    assert lines[1].split()[-2:] == ["ill", "(positive)"]
    assert lines[2].split()[:2] == ["positive", "ill,"]
    heads = [line.split(":")[0] for line in lines if line.startswith(("Model", "Sparse", "Attention", "More bags"))]
    assert heads == ["Model", "Sparse", "Attention", "More bags"]
    assert (tmp_path / "new" / "x.png").read_bytes().startswith(b"\x89PNG")


def test_both_formats_give_one_diagnosis(files):
    lines = [
        ["diagnose", files / "bags.npz"],
        ["diagnose", files / "patients.parquet", "--bag", "slide", "--label", "outcome"],
    ]
    lines = [[*line, "--no-curves", "--json", "--groups", "patients", "--positive", "healthy"] for line in lines]
    lines += [["diagnose", files / "numbers.npz", "--no-curves", "--json", "--positive", "0"]]
    documents = []
    for code, out, error in sample.run_each(ENVIRONMENT, lines):
        assert (code, error) == (0, "")
        documents.append(json.loads(out))
    first, second, third = documents
    assert first["classes"] == ["ill", "healthy"]
    assert third["classes"] == [1.0, 0.0]
    assert (first["groups"], third["groups"]) == (30, None)
    assert first["dimension"] == 8
    assert first["measured"] is None
    differ = ("file", "unused")
    assert {name: value for name, value in first.items() if name not in differ} == {
        name: value for name, value in second.items() if name not in differ
    }


def test_the_columns_that_were_taken_are_said(files):
    lines = [
        ["diagnose", files / "embedded.parquet", "--no-curves", "--bag", "slide", "--label", "outcome"],
        ["diagnose", files / "aged.parquet", "--no-curves", "--ignore", "x0", "--ignore", "x3", "--json"],
    ]
    (code, out, error), (other_code, document, warned) = sample.run_each(ENVIRONMENT, lines)
    assert (code, other_code, error) == (0, 0, "")
    named = "8: embedding[0], embedding[1], embedding[2], ..., embedding[7]; coordinates: x, y; unused: stain"
    assert out.splitlines()[0] == f"features            {named}"
    assert json.loads(document)["features"] == ["x1", "x2", "x4", "x5", "x6", "x7", "age"]
    assert json.loads(document)["unused"] == ["x0", "x3"]
    assert warned.count("\n") == 1
    assert "has the features age (constant within every bag)" in warned


def test_bad_input_is_one_sentence(files):
    cases = {
        "unlabelled.npz": "lacks an array labels",
        "one.npz": "labels takes 1 different values (0.0); accepted: two",
        "few.npz": "accepted: at least 10 bags of each class",
        "nan.npz": "contains NaN",
        "torn.npz": "it is damaged or no .npz file",
        "none.npz": "none.npz",
        "bags.parquet": "is no column of",
    }
    lines = [["diagnose", files / name, "--no-curves"] for name in cases]
    lines += [["diagnose", files / "bags.parquet", "--bag", "slide"]]
    lines += [["diagnose", files / "bags.npz", "--out", "figure.xyz"]]
    lines += [["diagnose", files / "bags.npz", "--ignore", "x0"]]
    words = [*cases.values(), "lacks a column label", "--out figure.xyz is no figure; accepted: a name that ends in"]
    words += ["bags.npz has no columns for --bag, --label and --ignore"]
    lines += [["diagnose", files / "bags.npz", "--groups", "wards"]]
    lines += [["diagnose", files / "bags.npz", "--positive", "I"]]
    parquet = ["diagnose", files / "bags.parquet", "--bag", "slide", "--label", "outcome"]
    lines += [[*parquet, "--groups", "wards"], [*parquet, "--groups", "x0"]]
    words += ["groups='wards' is no array of", "positive='I' is no label; accepted: ['healthy', 'ill']"]
    words += ["groups='wards' is no column of", "groups='x0' differs within bag '0' of"]
    lines += [[*parquet, "--groups", "slide"], [*parquet, "--groups", "outcome"]]
    words += ["groups='slide' names the bags of", "groups='outcome' labels the bags of"]
    lines += [
        ["diagnose", files / "bags.npz", "--groups", "doctors"],
        ["diagnose", files / "bags.npz", "--bag", "slide"],
    ]
    words += ["groups='doctors' of", "bags.npz has no columns for --bag, --label"]
    for line, (code, out, error), word in zip(lines, sample.run_each(ENVIRONMENT, lines), words, strict=True):
        assert (code, out) == (2, ""), line
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert word in error, line
