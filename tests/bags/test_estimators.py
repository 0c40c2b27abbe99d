"""The estimators: scikit-learn's own checks, invariances, what they learn, what they refuse, how they are saved."""

import numpy as np
import pytest
from dask.delayed import delayed
from scipy.special import expit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator

from solvable.bags import AttentionClassifier, Bags, PooledClassifier, SingleLocationRegressor, load
from solvable.bags.container import as_bags
from solvable.bags.resampling import area_under_curve
from tests.bags.data import mil


def sparse_tokens(count=120, length=6, dim=8, strength=4.0, seed=0):
    """Bags of noise, the positive ones with one token shifted along the first axis; labels; the shifted tokens."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    tokens = rng.normal(size=(count, length, dim))
    place = rng.integers(length, size=count)
    tokens[np.arange(count), place, 0] += strength * labels
    return tokens, labels, place


def ragged(seed=1, count=60, dim=5):
    """A list of bags of 1 to 7 tokens, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    bags = [rng.normal(size=(rng.integers(1, 8), dim)) for _ in range(count)]
    for bag, label in zip(bags, labels, strict=True):
        bag[0, 0] += 3.0 * label
    return bags, labels


ESTIMATORS = [
    AttentionClassifier(),
    AttentionClassifier(head="linear", loss="logistic", queries=2),
    PooledClassifier(pooling=("mean", "logsumexp")),
    SingleLocationRegressor(),
]


# No expected failures. Array-API input is checked only where the environment asks SciPy for it.
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{number}-{check.func.__name__}")
        for number, given in enumerate(ESTIMATORS)
        for estimator, check in estimator_checks_generator(given)
        if check.func.__name__ != "check_array_api_input"
    ],
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_attention_finds_the_token():
    tokens, labels, place = sparse_tokens(count=300)
    model = AttentionClassifier().fit(tokens[:200], labels[:200])
    weights = model.attention(tokens[200:])
    assert [w.shape for w in weights] == [(6,)] * 100
    np.testing.assert_allclose([w.sum() for w in weights], 1.0)
    positive = labels[200:] == 1
    found = np.array([w.argmax() for w in weights])[positive] == place[200:][positive]
    assert found.mean() > 0.8
    assert model.score(tokens[200:], labels[200:]) > 0.85
    assert model.transform(tokens[200:]).shape == (100, 24)


def test_bags_of_one_token_are_the_head_alone():
    tokens, labels, _ = sparse_tokens(length=1)
    flat = tokens[:, 0]
    model = AttentionClassifier(pooling="attention").fit(flat, labels)
    assert all(w.tolist() == [1.0] for w in model.attention(flat))
    pooled = PooledClassifier().fit(tokens, labels)
    np.testing.assert_allclose(model.decision_function(flat), pooled.decision_function(tokens), atol=1e-10)


@pytest.mark.parametrize("how", ["memory", "batches", "partitions", "file"])
@pytest.mark.parametrize("estimator", [AttentionClassifier(), PooledClassifier()], ids=repr)
def test_one_slide_is_not_a_bag_a_row(estimator, how, tmp_path):
    """An (N, d) array is N bags of one token, which is said where bags of more were learned."""
    tokens, labels, _ = sparse_tokens(count=30)
    halves = [(tokens[:15], labels[:15]), (tokens[15:], labels[15:])]
    if how == "memory":
        model = clone(estimator).fit(tokens, labels)
    else:
        model = clone(estimator).fit([delayed(half) for half in halves] if how == "partitions" else halves)
    if how == "file":
        model.save(tmp_path / "model.npz")
        model = load(tmp_path / "model.npz")
    sentence = (
        r"X of shape \(6, 8\) is taken as 6 bags of one token, and .* learned bags of up to 6; \[X\] is one bag of 6"
    )
    calls = [model.predict, model.transform, *([model.attention] if hasattr(model, "attention") else [])]
    for call in calls:
        with pytest.warns(UserWarning, match=sentence) as said:
            rows = call(tokens[0])
        assert len(said) == 1
        np.testing.assert_array_equal(rows, call(tokens[0][:, None]))  # without a word: warnings are errors
        assert len(call([tokens[0]])) == 1
    flat = clone(estimator).fit(tokens[:, 0], labels)
    assert flat.predict(tokens[0]).shape == (6,)  # as it learned


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_every_form_of_input_gives_the_same_fit(estimator):
    tokens, labels, _ = sparse_tokens(count=30)
    held = as_bags(tokens)
    expected = estimator.fit(tokens, labels).transform(tokens)
    objects = np.empty(30, dtype=object)
    objects[:] = list(tokens)
    for form in (list(tokens), objects, held, Bags(held.values, held.offsets, labels=labels), held[::-1][::-1]):
        np.testing.assert_allclose(clone(estimator).fit(form, labels).transform(form), expected, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_invariances(estimator):
    """Order of bags and tokens, shift and scale of features, a constant feature: nothing changes."""
    bags, labels = ragged()
    rng = np.random.default_rng(2)

    def answer(bags, labels, test):
        model = clone(estimator).fit(bags, labels)
        return model.predict(test) if isinstance(model, SingleLocationRegressor) else model.decision_function(test)

    expected = answer(bags, labels, bags)
    order = rng.permutation(len(bags))
    np.testing.assert_allclose(answer([bags[i] for i in order], labels[order], bags), expected, atol=1e-7)
    shuffled = [rng.permutation(bag) for bag in bags]
    np.testing.assert_allclose(answer(shuffled, labels, bags), expected, atol=1e-7)
    scale, shift = rng.uniform(0.1, 10.0, size=5), 100.0 * rng.normal(size=5)
    moved = [bag * scale + shift for bag in bags]
    np.testing.assert_allclose(answer(moved, labels, moved), expected, atol=1e-7)
    wider = [np.append(bag, np.full((len(bag), 1), 0.1), axis=1) for bag in bags]
    np.testing.assert_allclose(answer(wider, labels, wider), expected, atol=1e-7)


@pytest.mark.parametrize("estimator", ESTIMATORS[:3], ids=repr)
def test_swapping_the_classes_swaps_the_sign(estimator):
    bags, labels = ragged()
    scores = clone(estimator).fit(bags, labels).decision_function(bags)
    swapped = clone(estimator).fit(bags, 1 - labels).decision_function(bags)
    np.testing.assert_allclose(swapped, -scores, atol=1e-8)


def test_a_weight_is_a_repetition():
    bags, labels = ragged()
    counts = np.arange(len(bags)) % 3
    rows = np.repeat(np.arange(len(bags)), counts)
    for estimator in ESTIMATORS:
        weighted = clone(estimator).fit(bags, labels, sample_weight=counts)
        repeated = clone(estimator).fit([bags[i] for i in rows], labels[rows])
        np.testing.assert_allclose(weighted.transform(bags), repeated.transform(bags), atol=1e-9)
        if not isinstance(estimator, SingleLocationRegressor):
            np.testing.assert_allclose(weighted.predict_proba(bags), repeated.predict_proba(bags), atol=1e-8)
    balanced = AttentionClassifier(class_weight="balanced").fit(bags[:40], labels[:40] * (np.arange(40) % 4 == 1))
    weights = np.where(np.arange(40) % 4 == 1, 40 / 20, 40 / 60)
    by_hand = AttentionClassifier().fit(bags[:40], labels[:40] * (np.arange(40) % 4 == 1), sample_weight=weights)
    # A sample weight of two is two bags, of which one is left out; a class weight is not: the probabilities differ.
    scores = [model._fit.head.scores(model.transform(bags)) for model in (balanced, by_hand)]
    np.testing.assert_allclose(*scores, atol=1e-9)


def test_the_query_is_the_formula():
    """Pass by pass against three lines of NumPy on explicit standardised tokens."""
    bags, labels = ragged()
    held = as_bags(bags)
    model = AttentionClassifier(pooling="attention").fit(held, labels)
    z = (held.values - held.values.mean(axis=0)) / held.values.std(axis=0)
    each = np.split(z, held.offsets[1:-1])
    signs = 2.0 * labels - 1.0
    means = np.array([bag.mean(axis=0) for bag in each])
    w = 0.5 * (means[labels == 1].mean(axis=0) - means[labels == 0].mean(axis=0))
    scores = means @ w - 0.5 * (means[labels == 1].mean(axis=0) + means[labels == 0].mean(axis=0)) @ w
    residuals = signs / (1.0 + np.exp(min(5.0, 1.0 / (w @ w)) * signs * scores)) / 60.0
    query = sum(r / len(b) * b.T @ ((b - b.mean(axis=0)) @ w) for r, b in zip(residuals, each, strict=True))
    centred = np.concatenate([(b - b.mean(axis=0)) @ query for b in each])
    query = 2.0 * query / np.sqrt(np.mean(centred**2))
    for weights, bag in zip(model.attention(held), each, strict=True):
        expected = np.exp(bag @ query - np.max(bag @ query))
        np.testing.assert_allclose(weights, expected / expected.sum(), atol=1e-10)


@pytest.mark.parametrize("name", ["mean", "max", "min", "logsumexp"])
def test_pooled_features_are_numpys(name):
    bags, labels = ragged()
    z = np.concatenate(bags)
    mean, deviation = z.mean(axis=0), z.std(axis=0)

    def pool(bag):
        if name == "logsumexp":
            return np.log(np.mean(np.exp(3.0 * (bag - mean) / deviation), axis=0)) / 3.0
        return getattr(np, name)(bag, axis=0)

    pooled = np.array([pool(bag) for bag in bags])
    expected = np.clip(StandardScaler().fit_transform(pooled), -5.0, 5.0)
    model = PooledClassifier(pooling=name, inverse_temperature=3.0).fit(bags, labels)
    np.testing.assert_allclose(model.transform(bags), expected, atol=1e-10)


def test_it_works_where_scikit_learn_works():
    tokens, labels, _ = sparse_tokens(count=60)
    bags = as_bags(tokens)
    assert cross_val_score(AttentionClassifier(), bags, labels, cv=3).mean() > 0.7
    search = GridSearchCV(AttentionClassifier(), {"sharpness": [0.5, 2.0], "head": ["rbf", "linear"]}, cv=3)
    assert search.fit(list(tokens), labels).best_params_["head"] in ("rbf", "linear")
    pipeline = make_pipeline(FunctionTransformer(lambda x: 2.0 * x), PooledClassifier(pooling=("min", "max")))
    assert pipeline.fit(tokens, labels).predict(tokens).shape == (60,)
    pooled = make_pipeline(AttentionClassifier(), SVC())  # as a transformer, in front of any head
    assert pooled.fit(bags, labels).score(bags, labels) > 0.8
    calibrated = CalibratedClassifierCV(AttentionClassifier(), cv=3).fit(bags, labels)
    np.testing.assert_allclose(calibrated.predict_proba(bags).sum(axis=1), 1.0)


def test_probabilities_are_calibrated_on_noise():
    """Without a signal no bag is called likely."""
    tokens, labels, _ = sparse_tokens(count=300, strength=0.0)
    for loss in ("square", "logistic"):
        model = AttentionClassifier(loss=loss, C=10.0 if loss == "square" else 0.01).fit(tokens, labels)
        fresh = sparse_tokens(count=300, strength=0.0, seed=9)[0]
        assert np.abs(model.predict_proba(fresh)[:, 1] - 0.5).max() < 0.3


def test_rare_positives_get_probabilities():
    """Platt's fit starts far from its end there."""
    tokens, labels, _ = sparse_tokens(count=600, strength=6.0)
    labels = labels * (np.arange(600) % 10 == 1)  # the other bags with a shifted token are taken out
    kept = (labels == 1) | (np.arange(600) % 2 == 0)
    model = AttentionClassifier().fit(tokens[kept], labels[kept])
    fresh, truth, _ = sparse_tokens(count=600, strength=6.0, seed=8)
    likely = model.predict_proba(fresh)[:, 1]
    assert likely[truth == 1].mean() > 0.5
    assert likely[truth == 0].mean() < 0.1


def test_balanced_classes_find_rare_positives_and_answer_what_is_more_probable():
    rng = np.random.default_rng(0)
    labels = (np.arange(700) % 14 == 0).astype(int)
    tokens = rng.normal(size=(700, 6, 10))
    tokens[:, :, 0] += 0.8 * labels[:, None]
    train, test = np.arange(350), np.arange(350, 700)
    found = {}
    for name, head, loss, weight in (
        ("plain", "rbf", "square", None),
        ("square", "rbf", "square", "balanced"),
        ("logistic", "rbf", "logistic", "balanced"),
        ("linear", "linear", "logistic", "balanced"),
    ):
        model = AttentionClassifier(head=head, loss=loss, class_weight=weight).fit(tokens[train], labels[train])
        answers, likely = model.predict(tokens[test]), model.predict_proba(tokens[test])[:, 1]
        np.testing.assert_array_equal(answers, likely > 0.5)
        np.testing.assert_allclose(expit(model.decision_function(tokens[test])), likely)
        area = area_under_curve(likely, labels[test] == 1)
        found[name] = (answers[labels[test] == 1].mean(), area)
    for name in ("square", "logistic"):
        assert found[name][0] > found["linear"][0] - 0.1
        assert found[name][0] > found["plain"][0] + 0.3
        assert found[name][1] > found["plain"][1] - 0.02


def test_features_have_names(tmp_path):
    rng = np.random.default_rng(0)
    bags = Bags(rng.normal(size=(40, 2)), np.arange(21) * 2, feature_names=["mass", "charge"])
    labels = np.arange(20) % 2
    model = AttentionClassifier(queries=2).fit(bags, labels)
    assert model.get_feature_names_out()[[0, 2, 4]].tolist() == ["attention0_mass", "attention1_mass", "min_mass"]
    other = Bags(bags.values, bags.offsets, feature_names=["charge", "mass"])
    model.save(tmp_path / "model.npz")
    for held in (model, load(tmp_path / "model.npz")):
        with pytest.raises(ValueError, match=r"X has the features charge, mass, .* learned mass, charge"):
            held.predict(other)
    frame = AttentionClassifier().set_output(transform="pandas").fit(bags.values, np.arange(40) % 2)
    assert frame.transform(bags.values).columns.tolist()[:2] == ["attention_x0", "attention_x1"]


@pytest.mark.parametrize("offset", [1e4, 1e8])
def test_a_far_offset_costs_no_precision(offset):
    tokens, labels, _ = sparse_tokens(count=60)
    tokens = np.round(tokens * 2.0**10) / 2.0**10  # so that the sum with the offset is exact
    near = AttentionClassifier().fit(tokens, labels).decision_function(tokens)
    far = AttentionClassifier().fit(tokens + offset, labels).decision_function(tokens + offset)
    np.testing.assert_allclose(far, near, atol=1e-13 * offset + 1e-9)


def test_further_queries_are_new_directions():
    bags, labels = ragged()
    fitted = AttentionClassifier(queries=5).fit(bags, labels)._fitted()
    directions = fitted.pooling.queries * np.concatenate(bags).std(axis=0)[:, None]
    directions = directions / np.linalg.norm(directions, axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(5), atol=1e-6)
    with pytest.raises(ValueError, match="queries=6 exceeds the features of a token; accepted: 1 to 5"):
        AttentionClassifier(queries=6).fit(bags, labels)


def test_the_regressor_reads_the_token():
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(400, 8, 10))
    place = rng.integers(8, size=400)
    target = tokens[np.arange(400), place, 1].copy()
    tokens[np.arange(400), place, 0] += 5.0  # where to look
    model = SingleLocationRegressor().fit(tokens[:300], target[:300])
    assert model.score(tokens[300:], target[300:]) > 0.9
    assert np.mean([w.argmax() for w in model.attention(tokens[300:])] == place[300:]) > 0.9
    scaled = SingleLocationRegressor().fit(tokens[:300], 100.0 * target[:300] - 7.0)
    np.testing.assert_allclose(
        scaled.predict(tokens[300:]), 100.0 * model.predict(tokens[300:]) - 7.0, rtol=1e-9, atol=1e-7
    )


@pytest.mark.parametrize(
    "labels",
    [np.array([0, 1]), np.array(["no", "yes"]), np.array([False, True]), [-1.0, 1.0], np.array(["a", "b"], object)],
)
def test_saved_and_loaded(tmp_path, labels):
    bags, numbers = ragged()
    for estimator in (
        AttentionClassifier(queries=2, class_weight="balanced"),
        PooledClassifier(pooling=["mean", "max"], head="linear"),
    ):
        model = estimator.fit(bags, np.asarray(labels)[numbers])
        model.save(tmp_path / "model.npz")
        again = load(tmp_path / "model.npz")
        np.testing.assert_array_equal(again.predict_proba(bags), model.predict_proba(bags))
        np.testing.assert_array_equal(again.predict(bags), model.predict(bags))
        assert again.get_params() == model.get_params()
    regressor = SingleLocationRegressor().fit(bags, numbers.astype(float))
    regressor.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(load(tmp_path / "model.npz").predict(bags), regressor.predict(bags))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"pooling": "median"}, "pooling='median' is unknown; accepted: 'attention', 'mean', 'max', 'min'"),
        ({"pooling": ("max", "max")}, "names none or one twice"),
        ({"queries": 0}, "queries=0 is out of range"),
        ({"sharpness": -1.0}, "sharpness=-1 is out of range"),
        ({"head": "tree"}, "head='tree' is unknown"),
        ({"loss": "hinge"}, "loss='hinge' is unknown; accepted: 'square', 'logistic'"),
        ({"C": 0.0}, "C=0 is out of range"),
        ({"class_weight": "equal"}, "class_weight='equal' is unknown"),
        ({"class_weight": {0: 0.0}}, "class_weight.0.=0 is out of range"),
        ({"class_weight": {"yes": 2.0}}, "class_weight names 'yes', which is no label"),
        ({"bounded_memory": True}, "bounded_memory=True with head='rbf'"),
    ],
)
def test_one_sentence_for_bad_parameters(parameters, sentence):
    bags, labels = ragged()
    with pytest.raises(ValueError, match=sentence):
        AttentionClassifier(**parameters).fit(bags, labels)


def test_one_sentence_for_bad_data():
    bags, labels = ragged()
    model = AttentionClassifier().fit(bags, labels)
    with pytest.raises(ValueError, match="X has 4 features, but AttentionClassifier is expecting 5 features"):
        model.predict([bag[:, :4] for bag in bags])
    with pytest.raises(ValueError, match="y has 59 labels and X 60 bags"):
        AttentionClassifier().fit(bags, labels[:-1])
    with pytest.raises(ValueError, match="requires y to be passed"):
        AttentionClassifier().fit(bags)
    with pytest.raises(ValueError, match="y holds 3 classes; accepted: two"):
        AttentionClassifier().fit(bags, np.arange(60) % 3)
    with pytest.raises(ValueError, match="only one class"):
        AttentionClassifier().fit(bags, np.zeros(60))
    with pytest.raises(ValueError, match="every bag of class 1 has weight zero"):
        AttentionClassifier().fit(bags, labels, sample_weight=1.0 - labels)
    with pytest.raises(ValueError, match="Input y contains NaN, in bag 2"):
        SingleLocationRegressor().fit(bags, np.where(np.arange(60) == 2, np.nan, 1.0))


@pytest.mark.parametrize("name", ["musk1", "elephant", "tiger", "newsgroups1"])
def test_the_default_is_no_worse_than_the_pooling_baseline(name):
    """One split in ten: the table of the documentation has five, and every baseline."""
    bags, labels = mil(name)
    attention = cross_val_score(AttentionClassifier(), bags, labels, cv=10)
    pooled = make_pipeline(
        FunctionTransformer(lambda x: np.array([np.append(bag.min(axis=0), bag.max(axis=0)) for bag in x])),
        StandardScaler(),
        SVC(C=10.0),
    )
    peer = cross_val_score(pooled, bags, labels, cv=10)
    assert attention.mean() >= peer.mean() - (attention - peer).std(ddof=1) / np.sqrt(10)
