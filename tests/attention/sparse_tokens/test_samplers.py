"""The exact low-dimensional samplers against real tokens, and training on real tokens against the protocol itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.special import ndtr
from scipy.stats import ks_2samp

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.features import gaussian_rows
from solvable.attention.sparse_tokens.two_steps import in_memory, two_steps
from solvable.numerics.losses import get_loss
from tests.attention.sparse_tokens.nodes import LOSSES

TASK = st.SparseTokens(length=6, sparsity=2, strength=3.0, positive_rate=0.4)
DIM, RATIO, REPLICATES = 60, 2.0, 200
MODELS = {
    # A long first step, so that the second one feels every part of the scores of the first.
    "two steps": functools.partial(st.TwoStepAttention, query_rate=2.0, head_rate=4.0),
    "fixed query": functools.partial(st.FixedQueryAttention, 0.6, 1.5),
    "pooled": st.PooledLinear,
    "flat": st.FlatLinear,
}


def runs(algorithm, seed, task=TASK, **options):
    """Simulated runs of the small task."""
    options = {"ratio": RATIO, "dim": DIM, "replicates": REPLICATES, **options}
    return st.simulate(task, algorithm, key=jax.random.key(seed), **options)


# -------------------------------------------------------------------------------------------- samplers against tokens


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        pytest.param("two steps", "logistic", marks=pytest.mark.slow),
        ("fixed query", "square"),
        ("pooled", "square"),
        pytest.param("flat", "square", marks=pytest.mark.slow),
    ],
)
def test_samplers_have_the_law_of_real_tokens(model, loss):
    """Two-sample Kolmogorov-Smirnov on every observable that varies: cosine and sharpness of the query too.

    About 30 tests in all, so that 1e-4 each is a false alarm in one choice of seeds out of 300. The other losses are
    among the slow tests below.
    """
    algorithm = MODELS[model](loss=loss)
    sampled = runs(algorithm, 1, replicates=400).present()
    real = runs(algorithm, 2, replicates=400, full=True).present()
    varying = [name for name, values in sampled.items() if np.std(values) > 1e-9]
    assert {"test_error", "signal_weight", "bias", "orthogonal_norm"} <= set(varying)
    assert ("cosine" in varying) == ("sharpness" in varying) == (model == "two steps")
    for name in varying:
        assert ks_2samp(sampled[name], real[name], method="asymp").pvalue > 1e-4, name
    for name in set(sampled) - set(varying):
        np.testing.assert_allclose(sampled[name], real[name], atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_the_samplers_are_exact_for_a_handful_of_bags():
    """Five query bags in seven dimensions, where no term of the two steps is small; one-class draws drop out."""
    algorithm = st.TwoStepAttention("square", query_rate=2.0, head_rate=10.0)
    few = {"ratio": 10 / 7, "dim": 7, "replicates": 4000}
    sampled, real = runs(algorithm, 1, **few), runs(algorithm, 2, full=True, **few)
    assert 0.6 < np.mean(sampled.result == 0) < 0.95
    for name in ("cosine", "sharpness", "test_error", "bias"):
        a, b = (x[np.isfinite(x)] for x in (getattr(sampled, name), getattr(real, name)))
        assert ks_2samp(a, b, method="asymp").pvalue > 1e-3, name


def test_the_comparison_of_laws_has_power():
    """A share of positives of .5 in place of .4 is seen by the same test on the cosine."""
    even = st.SparseTokens(length=6, sparsity=2, strength=3.0, positive_rate=0.5)
    few, more = (runs(st.TwoStepAttention("square"), seed, task) for task, seed in ((TASK, 1), (even, 2)))
    assert ks_2samp(few.cosine, more.cosine, method="asymp").pvalue < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_samplers_have_the_law_of_real_tokens_with_more_runs(model, loss):
    algorithm = MODELS[model](loss=loss)
    sampled = runs(algorithm, 3, replicates=1500, ratio=1.0, dim=40).present()
    real = runs(algorithm, 4, replicates=1500, ratio=1.0, dim=40, full=True).present()
    for name, values in sampled.items():
        if np.nanstd(values) > 1e-9:
            a, b = (x[np.isfinite(x)] for x in (values, real[name]))
            assert ks_2samp(a, b, method="asymp").pvalue > 1e-4, name


@pytest.mark.parametrize("columns", [9, 40])
def test_gaussian_rows_have_the_gram_matrix_of_a_gaussian_matrix(columns):
    """Wishart moments E G = m I, Var G_ii = 2 m, Var G_ij = m; the laws of extreme eigenvalues and determinant."""
    rows, draws = 6, 4000
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(3), draws)
        matrices = np.asarray(jax.jit(jax.vmap(lambda key: gaussian_rows(key, rows, columns)))(keys))
    assert matrices.shape == (draws, rows, 6 if columns == 40 else 9)
    gram = matrices @ matrices.transpose(0, 2, 1)
    plain = np.random.default_rng(4).normal(size=(draws, rows, columns))
    reference = plain @ plain.transpose(0, 2, 1)
    mean, variance = gram.mean(axis=0), gram.var(axis=0)
    np.testing.assert_allclose(mean, columns * np.eye(rows), atol=5 * np.sqrt(2 * columns / draws))
    np.testing.assert_allclose(variance, columns * (1 + np.eye(rows)), rtol=0.15)
    ours, theirs = np.linalg.eigvalsh(gram), np.linalg.eigvalsh(reference)
    for a, b in (
        (ours[:, 0], theirs[:, 0]),
        (ours[:, -1], theirs[:, -1]),
        (np.log(ours).sum(1), np.log(theirs).sum(1)),
    ):
        assert ks_2samp(a, b, method="asymp").pvalue > 1e-3


# ------------------------------------------------------------------------------------------------ the exact test error


@pytest.mark.parametrize(
    "model", ["fixed query", *(pytest.param(one, marks=pytest.mark.slow) for one in ("pooled", "flat"))]
)
def test_exact_error_is_the_error_on_a_test_set(model):
    """The same eight runs, their error once as a formula and once on 400000 fresh bags each."""
    algorithm, tests = MODELS[model](loss="square"), 400_000
    exact, counted = runs(algorithm, 5, replicates=8), runs(algorithm, 5, replicates=8, test_samples=tests)
    np.testing.assert_allclose(exact.train_loss, counted.train_loss, rtol=1e-9)
    spread = np.sqrt(exact.test_error * (1 - exact.test_error) / tests)
    gaps = counted.test_error - exact.test_error
    # Under attention the formula is itself a quadrature, of 4096 points.
    quadrature = 2e-4 if model == "fixed query" else 0.0
    assert np.all(np.abs(gaps) <= 4 * np.hypot(spread, quadrature))
    assert abs(gaps.mean()) <= 4 * np.hypot(np.sqrt(np.mean(spread**2) / 8), quadrature / np.sqrt(8))
    assert np.all(gaps != 0)


def conditional_error(classifier, signal, draws=200_000):
    """E Phi(-y m/(r tau)) of an attention classifier, from the law of the feature (spec 5.1), in NumPy."""
    rng = np.random.default_rng(0)
    query, head, bias = (np.asarray(x) for x in (classifier.query, classifier.head, classifier.bias))
    sharpness = np.linalg.norm(query)
    unit = query / sharpness
    cosine = unit @ signal
    kappa = np.sqrt(1 - cosine**2)
    across = (signal - cosine * unit) / kappa
    w1, w2, tau = head @ unit, head @ across, np.linalg.norm(head - (head @ unit) * unit)
    total = 0.0
    for label, share in ((1, TASK.positive_rate), (-1, 1 - TASK.positive_rate)):
        g = rng.normal(size=(draws, TASK.length))
        shift = TASK.strength * (label == 1) * (np.arange(TASK.length) < TASK.sparsity)
        scores = sharpness * (g + cosine * shift)
        a = np.exp(scores - scores.max(axis=1, keepdims=True))
        a /= a.sum(axis=1, keepdims=True)
        c, r = a @ shift, np.linalg.norm(a, axis=1)
        m = w1 * ((a * g).sum(axis=1) + cosine * c) + w2 * kappa * c + bias
        total += share * np.mean(ndtr(-label * m / (r * tau)))
    return float(total)


@pytest.mark.parametrize("algorithm", [MODELS["two steps"]("square"), st.PooledLinear("square")])
def test_trained_classifiers_err_as_the_feature_law_says(algorithm):
    """`classify` on 40000 real bags against the exact conditional error of the same weights."""
    batch = TASK.sample(jax.random.key(6), samples=300, dim=25)
    classifier = algorithm.train(batch)
    fresh = TASK.sample(jax.random.key(7), samples=40_000, dim=25, signal=batch.signal)
    error = np.mean(classifier.classify(fresh.tokens) != fresh.labels)
    if isinstance(algorithm, st.PooledLinear):
        head, bias, L = classifier.head, float(classifier.bias), TASK.length
        shift, spread = TASK.strength * TASK.sparsity / L * (head @ batch.signal), np.linalg.norm(head) / np.sqrt(L)
        p = TASK.positive_rate
        expected = p * ndtr(-(shift + bias) / spread) + (1 - p) * ndtr(bias / spread)
    else:
        expected = conditional_error(classifier, np.asarray(batch.signal))
    assert 0.02 < expected < 0.45
    assert abs(error - expected) <= 4 * np.sqrt(expected * (1 - expected) / 40_000) + 1e-3


# ------------------------------------------------------------------------------------------------------- the protocol


@pytest.mark.parametrize("loss", LOSSES)
def test_the_query_is_two_gradient_steps_on_the_model_itself(loss):
    """Stages 1 to 4 by automatic differentiation of the loss of softmax attention at q = w = b = 0."""
    algorithm = st.TwoStepAttention(loss, 3e-2, 0.4, query_rate=3.0, head_rate=0.8, bias_rate=0.6)
    batch = TASK.sample(jax.random.key(8), samples=100, dim=7)
    classifier = algorithm.train(batch)
    with jax.enable_x64(True):
        tokens, labels = jnp.asarray(batch.tokens), jnp.asarray(batch.labels)

        def mean_loss(query, head, bias, part):
            attention = jax.nn.softmax(tokens[part] @ query, axis=-1)
            scores = jnp.einsum("nl,nld,d->n", attention, tokens[part], head) + bias
            return jnp.mean(get_loss(loss).value(labels[part] * scores))

        first, rest, zero = slice(0, 40), slice(40, None), jnp.zeros(7)
        by_query, by_head, by_bias = jax.grad(mean_loss, (0, 1, 2))(zero, zero, jnp.zeros(()), first)
        np.testing.assert_array_equal(by_query, zero)
        by_query = jax.grad(mean_loss)(zero, -0.8 * by_head, -0.6 * by_bias, first)
        np.testing.assert_allclose(classifier.query, -3.0 * by_query, rtol=1e-10, atol=1e-12)

        def objective(head, bias):
            return mean_loss(jnp.asarray(classifier.query), head, bias, rest) + 1.5e-2 * jnp.sum(head**2)

        at = (jnp.asarray(classifier.head), jnp.asarray(classifier.bias))
        if loss == "hinge":
            least = objective(*at)
            for seed in range(20):
                move = 1e-3 * np.random.default_rng(seed).normal(size=8)
                assert objective(at[0] + move[:7], at[1] + move[7]) >= least - 1e-9
        else:
            np.testing.assert_allclose(np.append(*jax.grad(objective, (0, 1))(*at)), 0, atol=1e-7)


def test_sharpness_rescales_the_query_of_the_same_run():
    batch = TASK.sample(jax.random.key(8), samples=100, dim=7)
    free = st.TwoStepAttention("square", query_rate=3.0).train(batch).query
    scaled = st.TwoStepAttention("square", sharpness=1.7).train(batch).query
    np.testing.assert_allclose(scaled, 1.7 * free / np.linalg.norm(free), rtol=1e-12)


def test_training_in_chunks_changes_nothing(monkeypatch):
    """The last chunk overlaps the one before it, and what was seen is not counted twice."""
    batch = TASK.sample(jax.random.key(9), samples=101, dim=7)
    with jax.enable_x64(True):
        arrays = jnp.asarray(batch.tokens), jnp.asarray(batch.labels)
        algorithm, whole = MODELS["two steps"]("square"), in_memory(*arrays)
        monkeypatch.setattr("solvable.attention.sparse_tokens.two_steps.CHUNK_BYTES", 8 * 6 * 7 * 8)
        chunked = in_memory(*arrays)
        assert (whole.chunks, chunked.chunks) == (1, 13)
        one, other = (two_steps(algorithm, stream, None, 6, 7)[0] for stream in (whole, chunked))
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-14)


def test_a_training_key_shuffles_before_the_split():
    batch = TASK.sample(jax.random.key(10), samples=100, dim=7)
    plain, shuffled, again = (MODELS["two steps"]("square").train(batch, k) for k in (None, *[jax.random.key(1)] * 2))
    np.testing.assert_array_equal(shuffled.head, again.head)
    assert np.max(np.abs(plain.query - shuffled.query)) > 1e-3


# --------------------------------------------------------------------------------------------------------- replicates


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_more_replicates_extend_a_run(full):
    """Replicates 8 to 23 after 0 to 15: the eight that both hold are the same, whatever their place."""
    algorithm = st.TwoStepAttention("square")
    options = {"dim": 30, "full": full}
    whole, tail = runs(algorithm, 11, replicates=16, **options), runs(algorithm, 11, replicates=range(8, 24), **options)
    again, other = runs(algorithm, 11, replicates=16, **options), runs(algorithm, 12, replicates=16, **options)
    for name, values in whole.present().items():
        np.testing.assert_allclose(getattr(tail, name)[:8], values[8:], rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)
    assert np.all(other.test_error != whole.test_error)
    assert len(np.unique(whole.test_error)) == 16


def test_a_batch_is_what_the_task_says():
    """Moments of real tokens: noise of variance 1, strength along the signal in `sparsity` tokens of positives only."""
    batch = TASK.sample(jax.random.key(13), samples=20_000, dim=4)
    along = batch.tokens @ batch.signal
    positive = batch.labels > 0
    assert abs(positive.mean() - 0.4) < 4 * np.sqrt(0.24 / 20_000)
    assert abs(along[~positive].mean()) < 4 / np.sqrt(along[~positive].size)
    assert abs(along[positive].mean() - 3.0 * 2 / 6) < 4 * np.sqrt((1 + 2) / along[positive].size)
    top = np.sort(along[positive], axis=1)
    assert (top[:, -2:] > 1.5).mean() > 0.9
    assert (top[:, :-2] > 1.5).mean() < 0.1
    places = (along[positive] > 1.5).mean(axis=0)
    np.testing.assert_allclose(places, places.mean(), atol=0.03)  # no position is preferred
    across = batch.tokens - along[..., None] * batch.signal
    assert np.var(across) * 4 / 3 == pytest.approx(1.0, abs=0.01)


# --------------------------------------------------------------------------------------------------------- invariances


@functools.cache
def trained(loss="square"):
    """One attention classifier and the batch that trained it."""
    batch = TASK.sample(jax.random.key(14), samples=80, dim=5)
    return MODELS["two steps"](loss).train(batch), batch


@given(some.integers(0, 10_000), some.floats(-50, 50))
@settings(max_examples=10)
def test_attention_ignores_the_order_of_tokens_and_a_shift_of_all_scores(seed, shift):
    classifier, batch = trained()
    order = np.random.default_rng(seed).permutation(TASK.length)
    weights = np.asarray(classifier.attention(batch.tokens))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(
        classifier.score(batch.tokens[:, order]), classifier.score(batch.tokens), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(classifier.attention(batch.tokens[:, order]), weights[:, order], rtol=1e-9, atol=1e-15)
    along = classifier.query / np.sum(classifier.query**2)
    shifted = batch.tokens + shift * along
    np.testing.assert_allclose(classifier.attention(shifted), weights, rtol=1e-8, atol=1e-14)
    moved = classifier.score(shifted) - classifier.score(batch.tokens)
    np.testing.assert_allclose(moved, shift * (classifier.head @ along), rtol=1e-7, atol=1e-9)


def test_huge_scores_do_not_overflow():
    classifier, batch = trained()
    weights = classifier.attention(1e6 * np.asarray(batch.tokens))
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights.max(axis=1), 1)


@pytest.mark.parametrize("loss", LOSSES)
def test_flipped_labels_keep_the_query_and_flip_the_head(loss):
    classifier, batch = trained(loss)
    flipped = MODELS["two steps"](loss).train(st.Batch(batch.tokens, -batch.labels, batch.signal))
    np.testing.assert_allclose(flipped.query, classifier.query, rtol=1e-10)
    # The hinge fit is known up to its duality gap of 1e-9: |w - w*| <= sqrt(2 gap / ridge).
    atol = 2e-3 if loss == "hinge" else 1e-6
    np.testing.assert_allclose(flipped.head, -classifier.head, atol=atol)
    np.testing.assert_allclose(flipped.bias, -classifier.bias, atol=atol)


def test_permuted_tokens_train_the_same_attention_and_a_permuted_flat_head():
    batch = TASK.sample(jax.random.key(15), samples=80, dim=5)
    order = np.array([3, 1, 0, 5, 4, 2])
    permuted = st.Batch(batch.tokens[:, order], batch.labels, batch.signal)
    attention, flat = MODELS["two steps"]("square"), st.FlatLinear("square")
    np.testing.assert_allclose(attention.train(permuted).head, attention.train(batch).head, rtol=1e-8)
    np.testing.assert_allclose(flat.train(permuted).head, flat.train(batch).head[order], rtol=1e-8, atol=1e-12)


def test_fixed_query_training_has_the_asked_cosine_and_sharpness():
    batch = TASK.sample(jax.random.key(16), samples=80, dim=5)
    for cosine in (-1.0, -0.3, 0.0, 0.8, 1.0):
        query = np.asarray(st.FixedQueryAttention(cosine, 1.5, "square").train(batch, jax.random.key(1)).query)
        assert np.linalg.norm(query) == pytest.approx(1.5, rel=1e-12)
        assert query @ batch.signal == pytest.approx(1.5 * cosine, abs=1e-12)
    pooled, blind = st.PooledLinear("square").train(batch), st.FixedQueryAttention(0.5, 0.0, "square").train(batch)
    np.testing.assert_allclose(blind.head, pooled.head, rtol=1e-10)
    np.testing.assert_allclose(pooled.attention(batch.tokens), 1 / 6, rtol=1e-12)
