"""`solvable plan` as users meet it: answers in words, one document, exit codes."""

import json
import os
from pathlib import Path

import pytest

from tests.lab import sample

ROOT = Path(__file__).resolve().parents[2]
ALIGNMENT = ["plan", "sparse-tokens/alignment", "--solve", "query_ratio", "--target"]
TOY = ["plan", "toy/mean", "--solve", "location", "--target"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment in which the lab's toy is installed as a third party's package."""
    site = tmp_path_factory.mktemp("site")
    about = site / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[solvable.experiments]\ntoy = tests.lab.toy\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_plan_in_words(environment):
    code, out, error = sample.run(
        environment, *ALIGNMENT, "cosine=0.9", "--set", "loss=square,hinge", "--set", "dim=1000"
    )
    assert (code, error) == (0, "")
    head, square, hinge, theory, others = out.splitlines()
    assert head == "sparse-tokens/alignment: query_ratio at which cosine = 0.9"
    assert square.startswith("  loss=square  query_ratio 1.362 = 1 362 bags at dim 1 000; cosine is at least 0.9 from")
    assert hinge.startswith("  loss=hinge   query_ratio 1.117 = 1 117 bags at dim 1 000; cosine is at least 0.9 from")
    assert theory == "theory of cosine: asymptotic, derived"
    assert others.startswith("with length=10, sparsity=1, strength=5,")


def test_a_plan_as_a_document_and_every_exit_code(environment):
    never = ["--set", "loss=square", "--between", "0.1,10", "--json"]
    lines = [
        [*ALIGNMENT, "cosine=0.9", "--set", "loss=square", "--json"],
        [*ALIGNMENT, "cosine=0.9999", *never],
        [*TOY, "mean=0.7", "--set", "kind=plain,unsolved", "--json"],
        [*TOY, "mean=0.7", "--set", "kind=unsolved", "--json"],
    ]
    met, missed, half, unsolved = sample.run_each(environment, lines)
    document = strict(met[1])
    assert (met[0], document["experiment"], document["solve"]) == (0, "sparse-tokens/alignment", "query_ratio")
    assert document["target"] == {"cosine": 0.9}
    (row,) = document["rows"]
    assert (row["overlay"], row["claim"], row["origin"]) == ("theory", "asymptotic", "derived")
    (crossing,) = row["crossings"]
    assert crossing["amounts"] == {"bags": round(400 * crossing["value"])}
    assert abs(crossing["reached"] - 0.9) < 1e-7
    assert "query_ratio" not in row["parameters"]
    assert row["parameters"]["loss"] == "square"

    (row,) = strict(missed[1])["rows"]
    assert (missed[0], row["crossings"]) == (0, [])
    assert row["answer"].startswith("no query_ratio from 0.1 to 10: cosine rises to 0.98")
    assert row["closest"]["query_ratio"] == 10.0

    plain, lost = strict(half[1])["rows"]
    assert (half[0], [crossing["value"] for crossing in plain["crossings"]]) == (0, [pytest.approx(0.7)])
    assert (lost["tried"], lost["reason"]) == ([], "the toy's equation: the solve stopped")

    assert unsolved[0] == 3
    assert strict(unsolved[1]) == {"error": "the toy's equation: the solve stopped", "exit_code": 3}


def test_bad_input_is_one_sentence_and_exit_code_two(environment):
    cases = [
        ([*TOY, "mean"], "--target mean cannot be read; accepted: OBSERVABLE=VALUE"),
        ([*TOY, "mean=much"], "--target mean=much cannot be read; accepted: OBSERVABLE=VALUE"),
        ([*TOY, "maen=1"], "observable 'maen' is unknown in toy/mean; did you mean 'mean'"),
        ([*TOY, "moments=1"], "target: 'moments' has a value for each of order in toy/mean"),
        ([*TOY, "mean=1", "--set", "kind=timid"], "kind='timid' is out of the theory's domain"),
        ([*TOY, "mean=1", "--between", "3"], "--between 3 cannot be read; accepted: LOW,HIGH"),
        ([*TOY, "mean=1", "--between", "a,b"], "--between a,b cannot be read; accepted: LOW,HIGH"),
        ([*TOY, "mean=1", "--between", "3,1"], "between=(3, 1) is not accepted"),
        (["plan", "toy/mean", "--solve", "kind", "--target", "mean=1"], "solve: 'kind' is no number in toy/mean"),
        (["plan", "toy/mean", "--target", "mean=1"], "Missing option '--solve'"),
        (
            ["plan", "token-selection/joint", "--solve", "p", "--target", "token=1"],
            "no theory of token-selection/joint",
        ),
    ]
    answers = sample.run_each(environment, [[*line, "--json"] for line, _ in cases])
    for (code, out, error), (_, sentence) in zip(answers, cases, strict=True):
        assert code == 2
        (found,) = [line for line in error.splitlines() if not line.startswith("warning: ")]
        assert found.startswith(f"error: {sentence}")
        assert strict(out)["exit_code"] == 2
