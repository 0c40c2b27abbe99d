"""Diagnosis of bags: what is recovered, what is refused, and the sentences against their conditions."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from solvable.bags import AttentionClassifier, Bags, PooledClassifier, compare, diagnose
from solvable.bags.comparison import Difference
from solvable.bags.diagnosis.intervals import Interval, unknown
from solvable.bags.diagnosis.predicted import Halving, LeastErrors
from tests.bags.data import mil
from tests.bags.sparse import draw

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bags" / "diagnosis.md"


def quick(*data, **options):
    return diagnose(*data, **{"curves": False, "bootstrap": 100, "positive": True} | options)


@pytest.fixture(scope="module")
def sparse():
    """A strong signal with its curves."""
    return diagnose(*draw(bags=400, dim=40, strength=4.0), bootstrap=100)


def test_strength_and_share_are_recovered_at_a_large_sample():
    found = quick(*draw(bags=1000, dim=200, strength=3.0, seed=2))
    assert 2.7 < found.strength.low < 3.0 < found.strength.high < 3.35
    assert 0.08 < found.share.low < 0.1 < found.share.high < 0.125
    assert found.strength_times_share.low < 0.3 < found.strength_times_share.high
    assert not found.misfit.rejected
    assert found.dimension == 200


@pytest.mark.parametrize(
    ("strength", "what"),
    [(0.0, "pure noise"), (2.0, "a signal too weak for 200 bags of dimension 50")],
)
def test_what_cannot_be_known_is_not_guessed(strength, what):
    found = [quick(*draw(bags=200, strength=strength, seed=seed)) for seed in range(7)]
    named = [not x.strength.identifiable and not x.share.identifiable and bool(x.strength.reason) for x in found]
    assert sum(named) >= (7 if strength == 0.0 else 6), what
    assert all(np.isnan(x.strength.low) and "not identifiable" in str(x) for x in found if not x.strength.identifiable)


def test_a_signal_in_all_tokens_is_not_sparse():
    found = quick(*draw(sparsity=10, strength=3.0))
    assert found.share.low > 0.9
    assert found.share.high == 1.0
    assert "the signal is not sparse" in found.verdict[1]
    assert found.strength.low < 3.0 < found.strength.high


@pytest.mark.slow
def test_the_model_is_not_rejected_where_it_holds():
    rejected = [quick(*draw(dim=20, seed=seed)).misfit.rejected for seed in range(20)]
    assert sum(rejected) <= 3  # P(more) = 1.6 % at a level of 5 %


@pytest.mark.parametrize(
    ("departure", "check"),
    [
        ({"bag_effect": 0.5}, "tokens independent within a bag"),
        ({"positive_noise": 1.3}, "same noise in positive bags"),
        ({"tail": 4}, "noise normal along the signal"),
    ],
)
def test_a_departure_from_the_model_is_named(departure, check):
    found = quick(*draw(strength=4.0, dim=20, **departure))
    assert found.misfit.rejected
    assert check in [failed.name for failed in found.misfit.failed]
    assert "does not describe these data" in found.verdict[0]


@pytest.mark.parametrize("name", ["musk1", "elephant"])
def test_real_sets_do_not_follow_the_model(name):
    found = quick(*mil(name))
    assert found.misfit.rejected
    assert not found.strength.identifiable


def test_only_the_law_of_tokens_matters():
    tokens, labels = draw(dim=10, strength=4.0, bags=120)
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(10, 10))
    first, moved = quick(tokens, labels), quick(tokens @ mixing + 5.0, np.where(labels, "b", "a"), positive="b")
    shuffled = quick(tokens[:, rng.permutation(10)], labels)
    for other in (moved, shuffled):
        for name in ("strength", "share", "strength_times_share"):
            mine, theirs = getattr(first, name), getattr(other, name)
            np.testing.assert_allclose(
                [mine.estimate, mine.low, mine.high], [theirs.estimate, theirs.low, theirs.high], rtol=1e-4
            )
    assert moved.classes == ("a", "b")
    assert first.misfit.p_value == pytest.approx(moved.misfit.p_value, rel=0.05)


def test_the_spelling_of_the_classes_decides_nothing():
    tokens, labels = draw(dim=10, strength=4.0, bags=120)
    spellings = (("tumour", "normal"), ("mutant", "wildtype"))
    first, second = (quick(tokens, np.where(labels, *names), positive=None) for names in spellings)
    assert (first.classes, second.classes) == (("normal", "tumour"), ("wildtype", "mutant"))
    assert str(second) == str(first).replace("normal", "wildtype").replace("tumour", "mutant")
    assert first.strength == second.strength == quick(tokens, labels).strength
    assert "positive            tumour, chosen by these data" in str(first)
    named = quick(tokens, np.where(labels, "mutant", "wildtype").astype(object), positive="wildtype")
    assert named.classes == ("mutant", "wildtype")
    assert not named.strength.identifiable or "not sparse" in named.verdict[1]
    assert "chosen by these data" not in str(named)


def test_a_signal_in_all_tokens_has_no_side():
    found = [quick(*draw(bags=200, dim=10, sparsity=10, strength=2.0, seed=1), positive=side) for side in (True, False)]
    for one in found:
        assert one.strength.low < 2.0 < one.strength.high
        assert "the signal is not sparse" in one.verdict[1]


def of_patients(seed, count=30, each=6):
    """Bags of patients that differ, each of one class, without any signal: tokens, labels, patients."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(count), each)
    labels = (rng.permutation(count) < count // 2)[patients]
    return rng.normal(size=(count * each, 4, 6)) + rng.normal(size=(count, 1, 6))[patients], labels, patients


def test_an_effect_of_the_patient_is_no_signal():
    apart, together = [], []
    for seed in range(5):
        tokens, labels, patients = of_patients(seed)
        apart.append(quick(tokens, labels, bootstrap=50))
        together.append(quick(tokens, labels, bootstrap=50, groups=[f"patient {p}" for p in patients]))
    # of 60 seeds 54 and 3
    assert sum(x.strength_times_share.identifiable for x in apart) >= 3
    assert sum(x.strength_times_share.identifiable for x in together) <= 1
    assert not any(x.strength.identifiable for x in together)
    assert together[0].groups == 30
    assert "groups              30, whose bags stay together" in str(together[0])


def test_groups_of_both_classes_cost_little():
    tokens, labels = draw(dim=10, strength=4.0, bags=200)
    plain, grouped = quick(tokens, labels), quick(tokens, labels, groups=np.arange(200) // 5)
    assert grouped.strength.estimate == pytest.approx(plain.strength.estimate, rel=0.1)
    assert grouped.strength.high - grouped.strength.low < 1.5 * (plain.strength.high - plain.strength.low)
    alone = quick(tokens, labels, groups=np.arange(200)[::-1])  # a group a bag is no group
    assert alone.strength == plain.strength


def test_diagnose_and_compare_say_the_same():
    _, labels, patients = of_patients(3, count=20, each=3)
    tokens = np.random.default_rng(0).normal(size=(60, 3, 4))
    models = {"attention": AttentionClassifier(), "pooling": PooledClassifier()}
    for groups in (None, patients):
        found = diagnose(tokens, labels, groups=groups, bootstrap=50, random_state=5)
        peer = compare(models, tokens, labels, groups=groups, random_state=5)
        for name, result in peer.evaluations.items():
            mine = found.comparison.evaluations[name]
            np.testing.assert_array_equal(mine.fold_accuracies, result.fold_accuracies)
            np.testing.assert_array_equal(mine.fold_aucs, result.fold_aucs)
            assert f"{1 - result.accuracy:.3f} and" in found.verdict[2]
        assert found.comparison.differences == peer.differences
        assert all(str(row) in found.verdict[2] for row in peer.differences)
        assert found.measured.bags[-1] == pytest.approx(54)
        assert found.measured.pooled[-1] == pytest.approx(1 - peer.evaluations["pooling"].accuracy)
        advantage, tested = peer.differences[0].difference, peer.differences[0].statistic
        assert found.measured.advantage[-1] == pytest.approx(advantage)
        if groups is None:
            assert abs(found.measured.advantage_error[-1] * tested) == pytest.approx(abs(advantage))
        assert f"always answering {peer.evaluations['pooling'].classes[0]} errs on 0.500" in found.verdict[2]
    assert np.all(np.diff(found.measured.bags) > 0)
    assert found.measured.pooled[-1] > 0.3


def test_lengths_that_tell_the_classes_apart_are_said():
    tokens, labels = draw(dim=4, bags=60, strength=0.0, length=12)
    ragged = [bag[: 12 if label else 6] for bag, label in zip(tokens, labels, strict=True)]
    found = quick(ragged, labels)
    assert found.verdict[2].startswith(
        "Length: Bags of class True are longer, 12 tokens against 6: the number of tokens"
    )
    assert found.length_effect.auc == 1.0
    assert found.document()["length_effect"]["auc"] == 1.0


def test_constant_columns_are_left_out_and_said():
    tokens, labels = draw(dim=10, strength=4.0, bags=120)
    padded = np.concatenate([tokens[:, :, :4], np.full((*tokens.shape[:2], 1), 7.0), tokens[:, :, 4:]], axis=2)
    plain, found = quick(tokens, labels), quick(padded, labels)
    assert found.dropped == (4,)
    assert found.dimension == 10
    assert found.strength.estimate == pytest.approx(plain.strength.estimate)
    assert "1 feature constant" in str(found)


def test_features_that_depend_on_each_other_count_once():
    tokens, labels = draw(dim=10, strength=4.0, bags=120)
    doubled = quick(np.concatenate([tokens, tokens @ np.ones((10, 2))], axis=2), labels)
    plain = quick(tokens, labels)
    assert doubled.dimension == 10
    assert doubled.strength.estimate == pytest.approx(plain.strength.estimate, rel=1e-4)
    assert not doubled.misfit.rejected


def test_strong_signals_and_too_strong_ones():
    strong = quick(*draw(bags=100, dim=5, strength=20.0))
    # A deviation of 500 tokens of noise, in which strength is measured, errs by 1/sqrt(1000).
    assert strong.strength.estimate == pytest.approx(20.0, rel=4 / np.sqrt(1000))
    assert strong.share.low < 0.1 < strong.share.high
    beyond = quick(*draw(bags=100, dim=5, strength=100.0))
    assert "more than 35 deviations" in beyond.strength.reason


@pytest.mark.slow
def test_bags_of_different_lengths():
    tokens, labels = draw(dim=10, strength=4.0, bags=300, length=11)
    lengths = np.random.default_rng(0).integers(9, 12, 300)
    ragged = [bag[:length] for bag, length in zip(tokens, lengths, strict=True)]
    found = diagnose(ragged, labels, bootstrap=50)
    assert found.share.low < 1 / 11 < found.share.high
    assert found.sparsity.estimate == pytest.approx(found.share.estimate * lengths.mean())
    assert found.verdict[4].startswith("The prediction is for bags of 10 tokens, the mean length")


def test_the_curves_fall(sparse):
    measured, predicted = sparse.measured, sparse.predicted
    assert np.isin(measured.bags, predicted.bags).all()
    assert len(measured.bags) == 4
    for name in ("attention", "pooled"):
        assert np.all(np.diff(getattr(predicted, name)) <= 1e-3)
        assert getattr(measured, name)[-1] < getattr(measured, name)[0]
    assert sparse.verdict[2].startswith("Attention: attention helps: error ")
    assert "the theory, whose classifiers whiten the tokens and are linear, predicts errors of" in sparse.verdict[2]
    np.testing.assert_allclose(measured.advantage, measured.pooled - measured.attention)


def test_halving_inverts_the_predicted_curve(sparse):
    theory = LeastErrors(10, 1, sparse.strength.estimate, 0.5, 40)
    floor = theory.floor("attention")
    assert theory.attention(40 * 500.0) == pytest.approx(floor, abs=1e-3)
    assert floor < theory.attention(400.0) - 2e-3
    assert sparse.halving.floor == pytest.approx(floor, rel=0.1)
    if np.isfinite(sparse.halving.bags):
        assert theory.attention(sparse.halving.bags) == pytest.approx(0.5 * sparse.halving.now, rel=0.05)
    else:
        assert sparse.halving.floor >= 0.5 * sparse.halving.now


def row(measure, difference, p_value):
    return Difference("attention", "pooling", measure, difference, 0.0, p_value, p_value, 0.0, 0.0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((row("accuracy", 0.1, 0.01), row("AUC", 0.1, 0.01)), "attention helps"),
        ((row("accuracy", 0.1, 0.2), row("AUC", 0.2, 0.01)), "attention helps in AUC"),
        ((row("accuracy", -0.1, 0.01), row("AUC", -0.1, 0.01)), "attention hurts"),
        ((row("accuracy", -0.1, 0.01), row("AUC", -0.1, 0.2)), "attention hurts in accuracy"),
        ((row("accuracy", -0.1, 0.01), row("AUC", 0.1, 0.01)), "attention helps in AUC and hurts in accuracy"),
        ((row("accuracy", 0.1, 0.2), row("AUC", 0.2, 0.2)), "these data do not resolve whether attention helps"),
    ],
)
def test_the_sentence_on_attention(sparse, rows, words):
    found = dataclasses.replace(sparse, comparison=dataclasses.replace(sparse.comparison, differences=rows))
    assert found.verdict[2].startswith(f"Attention: {words}:")
    lost = dataclasses.replace(found, predicted=None)
    assert lost.verdict[2].endswith("nothing is predicted, as strength and share are not identifiable.")


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (Interval(0.1, 0.08, 0.12), "the signal is sparse: 8 to 12 %"),
        (Interval(0.8, 0.6, 0.9), "the signal is not sparse: 60 to 90 %"),
        (Interval(0.5, 0.3, 0.7), "it cannot be told whether the signal is sparse"),
        (unknown("of a reason"), "not identifiable, because of a reason"),
    ],
)
def test_the_sentence_on_sparsity(sparse, share, words):
    assert dataclasses.replace(sparse, share=share).verdict[1].startswith(f"Sparse: {words}")


@pytest.mark.parametrize(
    ("halving", "words"),
    [
        (Halving("attention", 0.2, 1234.0, 0.01), "about 1200 bags would halve the predicted error of attention"),
        (Halving("pooling", 0.2, np.nan, 0.15), "no number of bags would halve the predicted error of pooling"),
        (Halving("attention", 0.2, np.nan, 0.05, "more than 409600 bags"), "more than 409600 bags would be needed"),
        (Halving("attention", 1e-5, np.nan, 0.0), "there is no error to halve"),
        (None, "not known how many would halve the error, because strength and share are not identifiable"),
    ],
)
def test_the_sentence_on_more_bags(sparse, halving, words):
    assert dataclasses.replace(sparse, halving=halving).verdict[3].startswith(f"More bags: {words}")


def test_a_rejected_model_is_not_relied_upon(sparse):
    rejected = quick(*draw(dim=20, strength=4.0, bag_effect=0.5)).misfit
    found = dataclasses.replace(sparse, misfit=rejected)
    assert "because the model does not describe these data" in found.verdict[3]
    assert "which is not to be relied upon" in found.verdict[2]
    assert "(if the model held)" in found.verdict[1]


def test_the_document_is_strict_json(sparse):
    document = json.loads(json.dumps(sparse.document(), allow_nan=False))
    assert document["strength"]["low"] < 4.0 < document["strength"]["high"]
    assert document["measured"]["bags"] == list(sparse.measured.bags)
    assert document["comparison"]["estimators"]["attention"]["auc"] == sparse.comparison.evaluations["attention"].auc
    assert [found["measure"] for found in document["comparison"]["differences"]] == ["accuracy", "AUC"]
    assert document["verdict"] == list(sparse.verdict)
    assert {"rejected", "p_value", "statistic", "words", "checks"} == set(document["misfit"])


def test_the_figure_shows_what_was_found(sparse):
    figure = sparse.figure()
    left, right = figure.axes
    fitted = next(line for line in left.lines if line.get_label() == "fitted mixture")
    np.testing.assert_allclose(fitted.get_ydata(), sparse.projections.fitted)
    predicted = {line.get_label(): line for line in right.lines}
    np.testing.assert_allclose(predicted["attention, predicted"].get_ydata(), sparse.predicted.attention)
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "tokens of positives",
        "tokens of negatives",
        "fitted mixture",
    ]
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "attention, predicted",
        "attention, measured",
        "pooling, predicted",
        "pooling, measured",
    ]
    alone = dataclasses.replace(sparse, measured=None, predicted=None)
    assert len(alone.figure().axes) == 1


def test_the_seed_decides():
    tokens, labels = draw(dim=10, strength=4.0, bags=60)
    assert str(quick(tokens, labels)) == str(quick(tokens, labels))
    assert quick(tokens, labels).strength != quick(tokens, labels, random_state=1).strength


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": None}, "labels=None, and the bags hold none"),
        ({"labels": np.zeros(40)}, "labels takes 1 different values \\(0.0\\); accepted: two"),
        ({"labels": np.arange(40) % 3}, "labels takes 3 different values \\(0, 1, 2\\); accepted: two"),
        ({"labels": np.arange(40) < 9}, "class True has 9 bags; accepted: at least 10"),
        ({"labels": np.arange(39) % 2}, "there are 40 bags and 39 labels"),
        ({"labels": np.where(np.arange(40) == 3, np.nan, np.arange(40) % 2)}, "labels\\[3\\] is nan"),
        ({"positive": "ill"}, "positive='ill' is no label; accepted: \\[0, 1\\]"),
        ({"groups": np.arange(39)}, "groups has shape \\(39,\\)"),
        ({"groups": np.arange(40) % 8}, "class 0 is in 4 groups; accepted: at least 10 groups with bags of each class"),
        ({"bags": np.zeros((40, 3, 2))}, "no feature varies within the negative bags"),
        ({"bags": np.random.default_rng(0).normal(size=(40, 3))}, "every bag has one token"),
        ({"bags": np.full((40, 3, 2), np.nan)}, "contains NaN, in bag 0"),
        ({"bootstrap": 10}, "bootstrap=10"),
        ({"confidence": 1.0}, "confidence=1 is out of range"),
        ({"random_state": -1}, "random_state=-1"),
    ],
)
def test_bad_input_is_named(change, words):
    given = {"bags": np.random.default_rng(0).normal(size=(40, 3, 2)), "labels": np.arange(40) % 2} | change
    with pytest.raises(ValueError, match=words):
        diagnose(given.pop("bags"), given.pop("labels"), **given)


def test_labels_come_with_the_bags():
    tokens, labels = draw(dim=5, strength=4.0, bags=60)
    bags = Bags(tokens.reshape(-1, 5), np.arange(61) * 10, labels=labels)
    assert str(quick(bags)) == str(quick(tokens, labels))


def test_fewer_tokens_than_dimensions():
    found = quick(*draw(bags=40, dim=60, length=3))
    assert not found.strength.identifiable
    assert "do not determine the covariance" in found.strength.reason


def test_the_page_shows_what_its_code_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    shown = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    exec(code, {})
    printed = capsys.readouterr().out
    assert (tmp_path / "diagnosis.png").exists()
    assert printed.splitlines()[:3] == shown.splitlines()[:3]
    # Another processor may round the last digit shown otherwise.
    numbers = [np.array(re.findall(r"\d+\.\d+", x), float) for x in (printed, shown)]
    np.testing.assert_allclose(*numbers, rtol=0.05, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bags", "dim", "length", "sparsity", "strength", "rate"),
    [(250, 50, 10, 1, 3.0, 0.5), (500, 50, 10, 1, 4.0, 0.5), (250, 50, 5, 1, 5.0, 0.5), (250, 50, 10, 1, 3.0, 0.3)],
)
def test_intervals_cover(bags, dim, length, sparsity, strength, rate):
    truth = {"strength": strength, "share": sparsity / length, "strength_times_share": strength * sparsity / length}
    covered = {name: [] for name in truth}
    for seed in range(200):
        found = quick(*draw(bags, dim, length, sparsity, strength, rate, seed + 7000), bootstrap=200)
        for name, value in truth.items():
            interval = getattr(found, name)
            if interval.identifiable:
                covered[name].append(interval.low <= value <= interval.high)
    for name, hits in covered.items():
        assert len(hits) >= 190, name
        assert 0.90 <= np.mean(hits) <= 0.99, name
