"""What users bring: a law of the tokens, a classifier; both run on real tokens, and say what theory does not know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.attention import sparse_tokens as st
from solvable.numerics.precision import float64
from solvable.numerics.results import Result

TASK = st.SparseTokens(length=4, strength=3.0)
SMALL = {"ratio": 2.0, "dim": 12, "replicates": 4, "key": jax.random.key(2)}
ALGORITHMS = [
    st.TwoStepAttention("square"),
    st.FixedQueryAttention(0.6, 1.5, "square"),
    st.PooledLinear("square"),
    st.FlatLinear("square"),
]
names = {"ids": lambda one: type(one).__name__}


class Blind(st.SparseTokens):
    """No signal in any token. Written in NumPy, as a user's law may be."""

    def sample(self, key, samples, dim, signal=None):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        labels = np.where(rng.random(samples) < self.positive_rate, 1.0, -1.0)
        return st.Batch(rng.normal(size=(samples, self.length, dim)), labels, signal)


class Doubled(st.SparseTokens):
    """Our law with a signal of twice the strength."""

    @float64
    def sample(self, key, samples, dim, signal=None):
        return st.SparseTokens(self.length, self.sparsity, 2.0 * self.strength).sample(key, samples, dim, signal)


class Short(st.SparseTokens):
    """Bags that are not as long as they should be."""

    def sample(self, key, samples, dim, signal=None):
        return st.Batch(np.zeros((samples, self.length - 1, dim)), np.ones(samples), signal)


class MaxToken(st.Classifier):
    """A linear classifier of the largest entry of the tokens in each dimension."""

    def features(self, tokens, query):
        return jnp.max(tokens, axis=1)


class Shadow(st.Classifier):
    """A linear classifier of three fixed combinations of the mean token's entries."""

    def features(self, tokens, query):
        angles = jnp.outer(jnp.arange(tokens.shape[-1], dtype=tokens.dtype), jnp.arange(1, 4, dtype=tokens.dtype))
        return jnp.mean(tokens, axis=1) @ jnp.cos(angles)


# ------------------------------------------------------------------------------------------------------- own laws


@pytest.mark.parametrize("algorithm", ALGORITHMS, **names)
def test_a_law_without_a_signal_is_guessed(algorithm):
    runs = st.simulate(Blind(length=4), algorithm, full=True, **SMALL | {"replicates": 8}, test_samples=2000)
    assert runs.result.tolist() == [Result.SUCCESSFUL] * 8
    # of the eight errors: one test set each, 2000 bags
    assert abs(runs.test_error.mean() - 0.5) <= 4 * 0.5 / np.sqrt(8 * 2000)
    assert np.all(np.abs(runs.test_error - 0.5) < 0.05)


def test_a_law_of_ones_own_is_drawn_trained_on_and_tested():
    """Twice the signal, however it is asked for: errors fall alike, and both sides see the same numbers elsewhere."""
    strong = st.SparseTokens(length=4, strength=6.0)
    options = {**SMALL, "replicates": 24, "full": True}
    own = st.simulate(Doubled(length=4, strength=3.0), st.PooledLinear("square"), **options, test_samples=2000)
    ours = st.simulate(strong, st.PooledLinear("square"), **options)
    plain = st.simulate(TASK, st.PooledLinear("square"), **options)
    spread = np.sqrt((own.test_error.var(ddof=1) + ours.test_error.var(ddof=1)) / 24)
    assert abs(own.test_error.mean() - ours.test_error.mean()) <= 4 * spread
    assert plain.test_error.mean() - own.test_error.mean() > 8 * spread
    assert abs(own.signal_weight.mean() - ours.signal_weight.mean()) <= 4 * np.sqrt(2 / 24) * ours.signal_weight.std()


def test_samplers_of_our_law_refuse_another_and_theory_calls_itself_heuristic():
    algorithm = st.PooledLinear("square")
    for call in (st.simulate, st.separable):
        with pytest.raises(ValueError, match=r"task=Blind draws by a sample of its own.* accepted: "):
            call(Blind(), algorithm, ratio=2.0, dim=12)
    said = st.predict(Blind(), algorithm, ratio=2.0)
    assert {one.claim for one in said.status.values()} == {"heuristic"}
    assert float(said.test_error) == float(st.predict(st.SparseTokens(), algorithm, ratio=2.0).test_error)
    with pytest.raises(ValueError, match=r"task.sample\(...\) has tokens of shape .*; accepted: \(256, 4, 12\)"):
        st.simulate(Short(length=4), algorithm, full=True, **SMALL)


def test_replicates_of_a_law_of_ones_own_extend():
    options = {**SMALL, "full": True, "test_samples": 200}
    whole, tail = (st.simulate(Blind(), ALGORITHMS[0], **options | {"replicates": n}) for n in (4, range(2, 4)))
    for name, values in whole.present().items():
        np.testing.assert_allclose(tail.present()[name], values[2:], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("law", [st.RademacherTokens, st.HeavyTailedTokens, st.ColouredTokens])
def test_the_noise_of_other_laws(law):
    """Mean 0, variance 1 in every coordinate; the signal where it should be."""
    dim, task = 5, law(length=6, sparsity=2, strength=3.0)
    batch = task.sample(jax.random.key(3), samples=8000, dim=dim)
    noise = np.asarray(batch.tokens)[np.asarray(batch.labels) < 0].reshape(-1, dim)
    covariance = noise.T @ noise / len(noise)
    lags = np.abs(np.arange(dim)[:, None] - np.arange(dim))
    expected = 0.5**lags if law is st.ColouredTokens else np.eye(dim)
    np.testing.assert_allclose(covariance, expected, atol=0.04)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.03)
    kurtosis = np.mean(noise**4)
    if law is st.RademacherTokens:
        assert set(np.unique(noise)) == {-1.0, 1.0}
    else:
        assert (kurtosis > 4.5) == (law is st.HeavyTailedTokens)
    along = (batch.tokens @ batch.signal)[batch.labels > 0].mean()
    assert along == pytest.approx(3.0 * 2 / 6, abs=0.05)


# ------------------------------------------------------------------------------------------------- own classifiers


def test_a_classifier_of_ones_own_is_one_class():
    algorithm = MaxToken("square")
    runs = st.simulate(TASK, algorithm, full=True, **SMALL | {"replicates": 12})
    assert set(runs.present()) == {one.name for one in st.SYSTEM.observables} - {"susceptibility"}
    assert runs.result.tolist() == [Result.SUCCESSFUL] * 12
    assert 0.0 < runs.test_error.mean() < 0.5
    # the error that was counted is that of a classifier which `train` trains on as many bags
    batch = TASK.sample(jax.random.key(4), samples=24, dim=12)
    errors = []
    for seed in range(12):
        batch = TASK.sample(jax.random.key(seed), samples=24, dim=12)
        fresh = TASK.sample(jax.random.key(100 + seed), samples=4000, dim=12, signal=batch.signal)
        trained = algorithm.train(batch)
        assert int(trained.result) == Result.SUCCESSFUL
        errors.append(np.mean(trained.classify(fresh.tokens) != fresh.labels))
    spread = np.sqrt((np.var(errors, ddof=1) + runs.test_error.var(ddof=1)) / 12)
    assert abs(np.mean(errors) - runs.test_error.mean()) <= 4 * spread
    with pytest.raises(TypeError, match="attention is not defined for TrainedClassifier"):
        trained.attention(fresh.tokens)


def test_features_off_the_tokens_have_no_weight_along_the_signal():
    runs = st.simulate(TASK, Shadow("square"), full=True, **SMALL, test_samples=500)
    assert "signal_weight" not in runs.present()
    assert np.isfinite(runs.orthogonal_norm).all()
    blind = st.simulate(Blind(length=4), Shadow("square"), full=True, **SMALL, test_samples=500)
    assert abs(blind.test_error.mean() - 0.5) < 0.1


def test_what_a_classifier_of_ones_own_does_not_have_is_said():
    with pytest.raises(ValueError, match="algorithm=MaxToken draws no features without tokens; accepted: full=True"):
        st.simulate(TASK, MaxToken(), ratio=2.0, dim=12)
    for call in (st.predict, st.capacity, st.limit_error):
        options = {"ratio": 2.0} if call is st.predict else {}
        with pytest.raises(ValueError, match="algorithm=MaxToken has no theory; accepted: "):
            call(TASK, MaxToken("square"), **options)
