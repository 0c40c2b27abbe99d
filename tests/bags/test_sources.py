"""However the bags come, the fit is the same: memory, slices of a file, batches, Dask partitions with real workers."""

import dask
import dask.array
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from solvable.bags import AttentionClassifier, Bags, PooledClassifier, SingleLocationRegressor, sources
from solvable.bags.container import as_bags

RNG = np.random.default_rng(4)
LENGTHS = RNG.integers(1, 9, size=90)
HELD = Bags(RNG.normal(size=(LENGTHS.sum(), 7)), np.cumsum([0, *LENGTHS]))
LABELS = np.array(["no", "yes"])[np.arange(90) % 2]
HELD.values[HELD.offsets[:-1][LABELS == "yes"], 0] += 3.0
WEIGHTS = RNG.uniform(0.5, 2.0, size=90)
SETTINGS = [
    AttentionClassifier(),
    AttentionClassifier(queries=3, class_weight="balanced"),
    AttentionClassifier(head="linear", loss="logistic", pooling=("attention", "mean")),
    PooledClassifier(pooling=("logsumexp", "max"), standardize=False),
]
BOUNDED = [
    AttentionClassifier(head="linear", bounded_memory=True),
    AttentionClassifier(head="linear", loss="logistic", bounded_memory=True),
    PooledClassifier(head="linear", bounded_memory=True),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks out of few bags."""
    monkeypatch.setattr(sources, "BLOCK_VALUES", 300)


class Batches:
    """(bags, labels, weights) in batches of given sizes, counting how often they are read."""

    def __init__(self, sizes, weights=WEIGHTS):
        self.sizes, self.weights, self.reads = sizes, weights, 0

    def __iter__(self):
        self.reads += 1
        start = 0
        for size in self.sizes:
            part = slice(start, start + size)
            yield HELD[part], LABELS[part], self.weights[part]
            start += size


def test_attention_is_that_of_the_batches():
    model = AttentionClassifier().fit(HELD, LABELS)
    for given in (Batches([13, 37, 40]), [(HELD[:50], LABELS[:50]), (HELD[50:], LABELS[50:])], [HELD[:50], HELD[50:]]):
        for weights, expected in zip(model.attention(given), model.attention(HELD), strict=True):
            np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("sizes", [[90], [1] * 90, [13, 1, 40, 36]])
@pytest.mark.parametrize("estimator", SETTINGS, ids=repr)
def test_batches_give_the_same_bits(estimator, sizes):
    batches = Batches(sizes)
    expected = estimator.fit(HELD, LABELS, sample_weight=WEIGHTS).predict_proba(HELD)
    np.testing.assert_array_equal(estimator.fit(batches).predict_proba(HELD), expected)
    assert batches.reads <= 4


@pytest.mark.parametrize("estimator", BOUNDED, ids=repr)
def test_bounded_memory_is_the_same_fit(estimator):
    estimator.set_params(bounded_memory=False)
    expected = estimator.fit(HELD, LABELS, sample_weight=WEIGHTS).predict_proba(HELD)
    estimator.set_params(bounded_memory=True)
    np.testing.assert_allclose(estimator.fit(Batches([50, 40])).predict_proba(HELD), expected, atol=1e-10)
    np.testing.assert_allclose(
        estimator.fit(HELD, LABELS, sample_weight=WEIGHTS).predict_proba(HELD), expected, atol=1e-10
    )


def test_threads_change_nothing(monkeypatch):
    """The tests run on one thread; here blocks are worked on by three."""
    expected = AttentionClassifier().fit(HELD, LABELS).predict_proba(HELD)
    monkeypatch.setattr(sources, "_threads", lambda: 3)
    model = AttentionClassifier().fit(HELD, LABELS)
    np.testing.assert_array_equal(model.predict_proba(HELD), expected)
    np.testing.assert_array_equal(
        AttentionClassifier().fit(Batches([45, 45], 0.0 * WEIGHTS + 1.0)).predict_proba(HELD), expected
    )


def test_labels_beside_the_batches():
    expected = AttentionClassifier().fit(HELD, LABELS).predict_proba(HELD)

    class Unlabelled:
        def __iter__(self):
            yield from (HELD[:30], HELD[30:31], HELD[31:])

    model = AttentionClassifier().fit(Unlabelled(), LABELS)
    np.testing.assert_array_equal(model.predict_proba(HELD), expected)
    numbers = np.arange(90.0)
    regressor = SingleLocationRegressor().fit(Unlabelled(), numbers)
    np.testing.assert_array_equal(regressor.predict(HELD), SingleLocationRegressor().fit(HELD, numbers).predict(HELD))


def test_an_array_on_disk(tmp_path):
    tokens = RNG.normal(size=(80, 5, 6)).astype(np.float32)
    labels = np.arange(80) % 2
    tokens[labels == 1, 2, 1] += 3.0
    np.save(tmp_path / "tokens.npy", tokens)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    expected = AttentionClassifier().fit(tokens, labels).predict_proba(tokens)
    np.testing.assert_array_equal(AttentionClassifier().fit(mapped, labels).predict_proba(mapped), expected)
    chunks = dask.array.from_array(tokens, chunks=(33, 2, 6))
    np.testing.assert_allclose(AttentionClassifier().fit(chunks, labels).predict_proba(tokens), expected, atol=1e-10)
    tokens[41, 0, 0] = np.nan
    np.save(tmp_path / "holes.npy", tokens)
    with pytest.raises(ValueError, match="NaN, in bag 41"):
        AttentionClassifier().fit(np.load(tmp_path / "holes.npy", mmap_mode="r"), labels)
    with pytest.raises(ValueError, match=r"y has shape \(79,\) and X holds 80 bags"):
        AttentionClassifier().fit(mapped, labels[:-1])


@pytest.fixture(scope="module")
def client():
    """Two worker processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client


@pytest.mark.parametrize("estimator", [*SETTINGS[:2], BOUNDED[1]], ids=repr)
def test_partitions_on_workers(client, estimator):
    expected = estimator.fit(HELD, LABELS, sample_weight=WEIGHTS).predict_proba(HELD)
    parts = [dask.delayed((HELD[i : i + 30], LABELS[i : i + 30], WEIGHTS[i : i + 30])) for i in (0, 30, 60)]
    np.testing.assert_allclose(estimator.fit(parts).predict_proba(HELD), expected, atol=1e-10)
    parts = [dask.delayed(HELD[i : i + 30]) for i in (0, 30, 60)]
    again = estimator.fit(parts, LABELS, sample_weight=WEIGHTS).predict_proba(HELD)
    np.testing.assert_allclose(again, expected, atol=1e-10)


def test_one_sentence_for_bad_batches():
    fit = AttentionClassifier().fit
    with pytest.raises(ValueError, match="X is a generator, which can be read once"):
        fit((HELD[i : i + 1] for i in range(90)), LABELS)

    class Some:
        def __init__(self, *batches):
            self.batches = batches

        def __iter__(self):
            return iter(self.batches)

    with pytest.raises(ValueError, match="batch 0 of X has no labels"):
        fit(Some(HELD))
    with pytest.raises(ValueError, match="y has 50 values and X yields 90 bags or more"):
        fit(Some(HELD[:50], HELD[50:]), LABELS[:50])
    with pytest.raises(ValueError, match="y has 90 values and X yields 50 bags; accepted"):
        fit(Some(HELD[:50]), LABELS)
    with pytest.raises(ValueError, match="batch 1 of X has 4 features and the first 7"):
        fit(Some((HELD, LABELS), (np.ones((2, 2, 4)), LABELS[:2])))
    with pytest.raises(ValueError, match="X yields no bags"):
        fit(Some())
    with pytest.raises(ValueError, match="batch 0 of X has 90 bags and labels of shape"):
        fit(Some((HELD, LABELS[:3])))
    with pytest.raises(ValueError, match=r"weights of batch 0 of X .* negative"):
        fit(Some((HELD, LABELS, -WEIGHTS)))
    with pytest.raises(ValueError, match="NaN, in bag 1"):
        fit(Some((np.array([[[1.0]], [[np.nan]]]), [0, 1])))


def test_labels_are_checked_wherever_they_are(tmp_path):
    tokens = RNG.normal(size=(20, 3, 2))
    np.save(tmp_path / "tokens.npy", tokens)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="continuous"):
        AttentionClassifier().fit(mapped, np.linspace(0.0, 1.0, 20))
    with pytest.raises(ValueError, match="NaN, in bag 3"):
        SingleLocationRegressor().fit([(tokens, np.where(np.arange(20) == 3, np.nan, 1.0))])
    with pytest.raises(ValueError, match="y has dtype <U1; accepted: real numbers"):
        SingleLocationRegressor().fit([(tokens, ["a", "b"] * 10)])
    with pytest.raises(ValueError, match="numbers and others that are not"):
        AttentionClassifier().fit([(tokens, [0, 1] * 10), (tokens, ["a", "b"] * 10)])
    with pytest.raises(ValueError, match="squares overflow"):
        AttentionClassifier().fit(1e160 * tokens, np.arange(20) % 2)


def test_a_shuffled_stream_is_refused():
    tokens, labels = RNG.normal(size=(40, 3, 2)), np.arange(40) % 2

    class Shuffled:
        def __iter__(self):
            order = RNG.permutation(40)
            yield tokens[order], labels[order]

    with pytest.raises(ValueError, match="batch 0 of X has other labels than when it was first read"):
        AttentionClassifier().fit(Shuffled())


def test_a_list_of_batches_is_a_stream_for_prediction_too():
    model = AttentionClassifier().fit([(HELD[:50], LABELS[:50]), [HELD[50:], LABELS[50:]]])
    expected = AttentionClassifier().fit(HELD, LABELS).predict_proba(HELD)
    np.testing.assert_array_equal(model.predict_proba(HELD), expected)
    np.testing.assert_allclose(model.predict_proba([HELD[:7], HELD[7:]]), expected, atol=1e-12)


def test_a_map_that_was_changed_in_memory_keeps_its_changes(tmp_path):
    np.save(tmp_path / "tokens.npy", RNG.normal(size=(60, 3, 2)))
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="c")
    mapped -= 5.0
    before = np.array(mapped)
    model = AttentionClassifier().fit(mapped, np.arange(60) % 2)
    np.testing.assert_array_equal(mapped, before)
    assert [len(w) for w in model.attention(mapped)] == [3] * 60


def test_a_block_is_cut_by_its_tokens_alone():
    """The rule by which streamed and held bags give the same bits."""
    seen: dict[str, list[int]] = {"memory": [], "stream": []}
    bags = as_bags(HELD)
    ones = np.ones(90)
    list(sources.Memory(bags, LABELS, ones).each(lambda block: seen["memory"].append(len(block.bags))))
    list(sources.Stream(Batches([7, 80, 3])).each(lambda block: seen["stream"].append(len(block.bags))))
    assert sorted(seen["memory"]) == sorted(seen["stream"])
    assert len(seen["memory"]) > 5
