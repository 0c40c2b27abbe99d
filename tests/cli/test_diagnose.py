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
    patients = np.arange(120) // 4
    np.savez(folder / "bags.npz", values=flat, offsets=offsets, labels=names, patients=patients)
    np.savez(folder / "unlabelled.npz", values=flat, offsets=offsets)
    np.savez(folder / "one.npz", values=flat, offsets=offsets, labels=np.zeros(120))
    np.savez(folder / "few.npz", values=flat[:120], offsets=offsets[:13], labels=names[:12])
    np.savez(folder / "nan.npz", values=np.where(flat > 5, np.nan, flat), offsets=offsets, labels=names)
    (folder / "torn.npz").write_bytes((folder / "bags.npz").read_bytes()[:500])
    np.savez(folder / "numbers.npz", values=flat, offsets=offsets, labels=labels.astype(float))
    columns = {f"x{i}": flat[:, i] for i in range(8)} | {"slide": np.repeat(np.arange(120), 10)}
    columns |= {"outcome": np.repeat(names, 10), "patients": np.repeat(patients, 10)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "bags.parquet")
    return folder


def test_a_diagnosis_in_words_with_a_figure(files, tmp_path):
    code, out, error = sample.run(ENVIRONMENT, "diagnose", files / "bags.npz", "--out", tmp_path / "new" / "x.png")
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[-2:] == ["ill", "(positive)"]
    heads = [line.split(":")[0] for line in lines if line.startswith(("Model", "Sparse", "Attention", "More bags"))]
    assert heads == ["Model", "Sparse", "Attention", "More bags"]
    assert lines[1].split()[:2] == ["positive", "ill,"]
    assert (tmp_path / "new" / "x.png").read_bytes().startswith(b"\x89PNG")


def test_both_formats_give_one_diagnosis(files):
    lines = [
        ["diagnose", files / "bags.npz"],
        ["diagnose", files / "bags.parquet", "--bag", "slide", "--label", "outcome"],
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
    assert {name: value for name, value in first.items() if name != "file"} == {
        name: value for name, value in second.items() if name != "file"
    }


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
    lines += [
        ["diagnose", files / "bags.npz", "--groups", "wards"],
        ["diagnose", files / "bags.npz", "--positive", "I"],
    ]
    parquet = ["diagnose", files / "bags.parquet", "--bag", "slide", "--label", "outcome"]
    lines += [[*parquet, "--groups", "wards"], [*parquet, "--groups", "x0"]]
    words = [*cases.values(), "lacks a column label", "--out figure.xyz is no figure; accepted: a name that ends in"]
    words += ["--groups wards is no array of", "positive='I' is no label; accepted: ['healthy', 'ill']"]
    words += ["--groups wards is no column of", "--groups x0 differs within a bag"]
    for line, (code, out, error), word in zip(lines, sample.run_each(ENVIRONMENT, lines), words, strict=True):
        assert (code, out) == (2, ""), line
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert word in error, line
