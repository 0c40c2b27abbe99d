"""Mirror descent as an optax transformation: the maps, equality with sgd, the dual state, what it is combined with."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvable.optim import inverse_mirror_map, mirror_descent, mirror_map, raise_if_nonfinite, resync
from solvable.optim.mirror_map import cube_root, mirror_exponent

EXPONENTS = (1.1, 1.3, 1.5, 1.75, 2.0, 3.0)
TARGET = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(3, 4)


def gradient(w):
    """Of 0.5 ||w - TARGET||^2."""
    return w - jnp.asarray(TARGET, w.dtype)


def trained(optimiser, params, gradients=gradient, steps=50, jit=True):
    """(params, state) after `steps` steps."""

    def step(params, state):
        updates, state = optimiser.update(jax.tree.map(gradients, params), state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step) if jit else step
    state = optimiser.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.dtype, leaf.shape), tree)


def start(shape=(3, 4), dtype=jnp.float32, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32).astype(dtype)


# ---- the maps


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8), st.floats(1.1, 10.0), st.booleans())
def test_the_maps_undo_each_other_and_are_odd(sizes, p, negative):
    w = np.asarray(sizes) * (-1 if negative else 1)
    with jax.enable_x64(True):
        u = mirror_map(w, p)
        np.testing.assert_allclose(inverse_mirror_map(u, p), w, rtol=1e-13)
        np.testing.assert_array_equal(mirror_map(-w, p), -u)
        np.testing.assert_allclose(u, np.sign(w) * np.abs(w) ** (p - 1), rtol=1e-13)


@pytest.mark.parametrize("p", [1.1, 1.2, 1.25, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0])
def test_the_maps_are_the_powers_in_single_precision(p):
    w = np.concatenate([np.linspace(-3, 3, 301), np.geomspace(1e-3, 1e2, 50)]).astype(np.float32)
    exact = np.sign(w) * np.abs(w.astype(np.float64)) ** (p - 1)
    np.testing.assert_allclose(mirror_map(w, p), exact, rtol=4e-7)
    exact = np.sign(w) * np.abs(w.astype(np.float64)) ** (1 / (p - 1))
    np.testing.assert_allclose(inverse_mirror_map(w, p), exact, rtol=2e-6, atol=1e-38)
    np.testing.assert_allclose(inverse_mirror_map(mirror_map(w, p), p), w, rtol=1.2e-6)
    assert mirror_map(w, p).dtype == jnp.float32
    traced = jax.jit(lambda w, p: inverse_mirror_map(mirror_map(w, p), p))
    np.testing.assert_allclose(traced(w, np.float32(p)), w, rtol=4e-6)


def test_p_of_which_one_over_p_minus_1_is_a_multiple_of_a_quarter_or_a_third_needs_no_power_function():
    for parts, most in ((4, 64), (3, 48)):
        for whole in range(1, most + 1):
            if whole == 49:  # 1 / (1 / 49) is not 49
                continue
            text = str(jax.make_jaxpr(lambda u, p=1 + parts / whole: inverse_mirror_map(u, p))(jnp.ones(2)))
            assert " pow " not in text, (parts, whole)
    assert mirror_exponent(1.4) == 0.4
    assert mirror_exponent(1.3) == 0.3
    assert 1 / mirror_exponent(1.1) == 10


@pytest.mark.parametrize(("dtype", "decades"), [(np.float32, 37), (np.float64, 307)])
def test_the_cube_root(dtype, decades):
    with jax.enable_x64(dtype is np.float64):
        x = np.append(np.geomspace(10.0**-decades, 10.0**decades, 4001), [1.0, 8.0, 27.0]).astype(dtype)
        root = np.asarray(cube_root(jnp.asarray(x)))
        ends = np.asarray(cube_root(jnp.asarray([0.0, np.inf, np.nan], dtype)))
        slope = jax.vmap(jax.grad(cube_root))(jnp.asarray(x[1000:3000]))
    assert root.dtype == dtype
    np.testing.assert_allclose(root, np.cbrt(x), rtol=3 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(ends, [0.0, np.inf, np.nan])
    np.testing.assert_allclose(slope, np.cbrt(x[1000:3000]) / x[1000:3000] / 3, rtol=20 * np.finfo(dtype).eps)


def test_whole_numbers_become_floating_point_and_complex_ones_are_refused():
    for call, name in ((mirror_map, "weights"), (inverse_mirror_map, "dual")):
        for p in (1.5, 2):
            for numbers in ([1, 2, 3], jnp.arange(1, 4), np.arange(1, 4, dtype=np.int8)):
                np.testing.assert_array_equal(call(numbers, p), call(jnp.asarray([1.0, 2.0, 3.0]), p))
        with pytest.raises(ValueError, match=rf"^{name} has dtype complex64; accepted: real numbers"):
            call(jnp.ones(2, jnp.complex64), 1.5)


def test_p_of_2_is_the_identity_and_zero_stays_zero():
    w = start()
    assert mirror_map(w, 2) is w
    assert inverse_mirror_map(w, 2.0) is w
    for p in EXPONENTS:
        np.testing.assert_array_equal(mirror_map(np.zeros(2, np.float32), p), 0)
        np.testing.assert_array_equal(inverse_mirror_map(np.zeros(2, np.float32), p), 0)


@pytest.mark.parametrize("p", [1.0, 0.5, -2.0, np.inf, np.nan, True, "2", None])
def test_a_wrong_p_is_answered(p):
    for call in (lambda: mirror_map(1.0, p), lambda: inverse_mirror_map(1.0, p), lambda: mirror_descent(0.1, p)):
        with pytest.raises(ValueError, match=r"^p="):
            call()


# ---- the steps


@pytest.mark.parametrize(
    "rate", [0.3, lambda count: 0.3 / (1.0 + count.astype(jnp.float32))], ids=["number", "schedule"]
)
@pytest.mark.parametrize("jit", [False, True])
def test_p_of_2_is_sgd_to_the_last_bit(rate, jit):
    def wild(w):
        return jnp.sin(30 * w) + gradient(w)

    ours, _ = trained(mirror_descent(rate, 2), start(), wild, jit=jit)
    theirs, _ = trained(optax.sgd(rate), start(), wild, jit=jit)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("p", EXPONENTS)
def test_one_step_is_the_definition(p, normalize):
    with jax.enable_x64(True):
        w, g, q = np.asarray(start(), np.float64), np.asarray(start(seed=1), np.float64), p / (p - 1)
        optimiser = mirror_descent(0.05, p, normalize)
        updates, _ = optimiser.update({"w": jnp.asarray(g)}, optimiser.init({"w": w}), {"w": w})
        direction = g / np.sum(np.abs(g) ** q) ** (1 / q) if normalize else g
        u = np.sign(w) * np.abs(w) ** (p - 1) - 0.05 * direction
        np.testing.assert_allclose(w + updates["w"], np.sign(u) * np.abs(u) ** (1 / (p - 1)), rtol=1e-12)


@pytest.mark.parametrize(("p", "rate"), [(1.1, 0.02), (1.5, 0.1), (2.0, 0.1), (3.0, 0.05)])
def test_a_quadratic_is_solved_and_never_climbs(p, rate):
    optimiser = mirror_descent(rate, p)

    def step(carry, _):
        w, state = carry
        updates, state = optimiser.update(gradient(w), state, w)
        return (optax.apply_updates(w, updates), state), 0.5 * jnp.sum(gradient(w) ** 2)

    with jax.enable_x64(True):
        w = start().astype(jnp.float64)
        _, losses = jax.lax.scan(step, (w, optimiser.init(w)), length=8000)
    losses = np.asarray(losses)
    assert losses[-1] < 1e-5
    assert np.all(np.diff(losses) <= 1e-15)


@pytest.mark.parametrize("p", [1.1, 1.5, 2.0, 3.0])
def test_normalised_updates_ignore_the_scale_of_the_gradient(p):
    optimiser = mirror_descent(0.1, p, normalize=True)
    w, g = start(), start(seed=1)
    moves = [optimiser.update(g * scale, optimiser.init(w), w)[0] for scale in (1.0, 1e-30, 1e30, 1e38)]
    for move in moves[1:]:
        np.testing.assert_allclose(move, moves[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("p", EXPONENTS)
def test_nothing_moves_without_a_gradient_or_without_a_rate(p, normalize):
    w = {"w": start(), "empty": jnp.zeros((0, 3)), "scalar": jnp.float32(0.3)}
    # 0 known to the compiler, 0 at run time, and a rate of 0
    for rate, gradients in ((0.1, jnp.zeros_like), (0.1, lambda w: 0 * w), (0.0, jnp.ones_like)):
        after, _ = trained(mirror_descent(rate, p, normalize), w, gradients, steps=3)
        jax.tree.map(np.testing.assert_array_equal, after, w)


def test_the_dual_state_keeps_small_weights_that_additive_updates_lose():
    """500 steps at p = 1.1 in float32: the dual variable against its exact sum."""
    p, rate, steps = 1.1, 0.02, 500
    gradients = np.random.default_rng(0).normal(size=(steps, 200)).astype(np.float32)
    w = start((200,))
    exact = np.asarray(mirror_map(w, p), np.float64) - rate * gradients.sum(axis=0, dtype=np.float64)
    optimiser = mirror_descent(rate, p)

    def dual_step(carry, g):
        updates, state = optimiser.update(g, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    def additive_step(w, g):
        return w + (inverse_mirror_map(mirror_map(w, p) - rate * g, p) - w), None

    (_, state), _ = jax.lax.scan(dual_step, (w, optimiser.init(w)), gradients)
    additive = mirror_map(jax.lax.scan(additive_step, w, gradients)[0], p)
    errors = [np.max(np.abs(np.asarray(u, np.float64) - exact)) for u in (state.dual, additive)]
    assert errors[0] < 3e-6
    assert errors[1] > 1e-3, errors


# ---- what it is combined with


@pytest.mark.parametrize("p", [1.1, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("normalize", [False, True])
def test_dtypes_follow_the_parameters(p, normalize):
    params = {"full": start(), "half": start(dtype=jnp.bfloat16), "none": None, "nothing": {}}
    optimiser = mirror_descent(0.01, p, normalize)
    after, state = trained(optimiser, params, steps=2)
    assert kinds(after) == kinds(params)
    assert kinds(optimiser.update(params, state, params)[0]) == kinds(params)
    assert state.dual is None if p == 2 else kinds(state.dual) == kinds(params)
    assert state.count.dtype == jnp.int32
    assert state.count == 2
    assert np.all(np.isfinite(np.asarray(after["half"], np.float32)))


@pytest.mark.parametrize("p", [1.5, 2.0])
def test_plain_numbers_and_numpy_arrays_are_parameters_too(p):
    params = {"number": 0.5, "numpy": np.full(2, 0.5, np.float32)}
    after, _ = trained(mirror_descent(0.1, p), params, lambda w: w, steps=1, jit=False)
    np.testing.assert_allclose(after["numpy"], after["number"], rtol=1e-6)


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_p_of_2_is_sgd_in_half_precision_too(kind):
    ours, _ = trained(mirror_descent(0.1, 2), start(dtype=kind))
    theirs, _ = trained(optax.sgd(0.1), start(dtype=kind))
    np.testing.assert_array_equal(np.asarray(ours, np.float32), np.asarray(theirs, np.float32))


@pytest.mark.parametrize("p", [1.1, 1.3, 3.0])
def test_compiled_or_not_it_is_the_same(p):
    ours, _ = trained(mirror_descent(0.02, p, True), start(), steps=10)
    theirs, _ = trained(mirror_descent(0.02, p, True), start(), steps=10, jit=False)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_seeds_can_be_mapped():
    optimiser = mirror_descent(0.05, 1.5, normalize=True)
    both = jnp.stack([start(seed=0), start(seed=1)])

    def run(w):
        return trained(optimiser, w, steps=5, jit=False)[0]

    np.testing.assert_allclose(jax.vmap(run)(both), jnp.stack([run(w) for w in both]), rtol=1e-5)


def test_a_schedule_counts_the_steps():
    seen = mirror_descent(lambda count: jnp.where(count < 2, 0.0, 0.1), 1.5)
    w, state = trained(seen, start(), steps=2)
    np.testing.assert_array_equal(w, start())
    updates, _ = seen.update(gradient(w), state, w)
    assert np.all(updates != 0)


def test_as_the_last_link_of_a_chain():
    w, g = start(), start(seed=1)
    chained = optax.chain(optax.clip_by_global_norm(0.5), mirror_descent(0.1, 3))
    alone = mirror_descent(0.1, 3)
    clipped = g * (0.5 / jnp.linalg.norm(g))
    ours, _ = chained.update(g, chained.init(w), w)
    np.testing.assert_allclose(ours, alone.update(clipped, alone.init(w), w)[0], rtol=1e-5)


def test_each_leaf_may_have_its_own_p():
    params = {"matrix": start(), "gain": start((4,))}
    labels = {"matrix": "sparse", "gain": "plain"}
    optimiser = optax.partition({"sparse": mirror_descent(0.1, 1.1), "plain": mirror_descent(0.1, 2)}, labels)
    after, state = trained(optimiser, params, steps=3, gradients=lambda w: 0.1 * w)
    for name, p in (("matrix", 1.1), ("gain", 2)):
        alone, _ = trained(mirror_descent(0.1, p), params[name], steps=3, gradients=lambda w: 0.1 * w)
        np.testing.assert_array_equal(after[name], alone)
    moved = {"matrix": 2 * after["matrix"], "gain": after["gain"]}
    rebuilt = resync(state, moved)
    (dual,) = [leaf for leaf in jax.tree.leaves(rebuilt) if leaf.shape == (3, 4)]
    np.testing.assert_array_equal(dual, mirror_map(moved["matrix"], 1.1))


def test_a_leaf_can_be_frozen():
    params = {"a": start(), "b": start((2,))}
    labels = {"a": "trained", "b": "frozen"}
    optimiser = optax.partition({"trained": mirror_descent(0.1, 1.5), "frozen": optax.set_to_zero()}, labels)
    after, _ = trained(optimiser, params, jnp.sign, steps=3)
    np.testing.assert_array_equal(after["b"], params["b"])
    assert not np.array_equal(after["a"], params["a"])


@pytest.mark.parametrize("p", [1.5, 2.0])
def test_a_leaf_without_a_gradient_gets_no_update(p):
    params = {"a": start(), "b": start((2,)), "none": None, "c": {"d": start((3,))}}
    gradients = {"a": start(seed=1), "b": None, "none": None, "c": {"d": None}}
    optimiser = mirror_descent(0.1, p)
    updates, state = optimiser.update(gradients, optimiser.init(params), params)
    assert updates["b"] is updates["none"] is updates["c"]["d"] is None
    alone, _ = optimiser.update(gradients["a"], optimiser.init(params["a"]), params["a"])
    np.testing.assert_array_equal(updates["a"], alone)
    if p != 2:
        np.testing.assert_array_equal(state.dual["b"], mirror_map(params["b"], p))
        assert kinds(state.dual) == kinds(params)


def test_masked_leaves_pass_through():
    params = {"a": start(), "b": start((2,))}
    optimiser = optax.masked(mirror_descent(0.1, 1.5), {"a": True, "b": False})
    updates, _ = optimiser.update(params, optimiser.init(params), params)
    np.testing.assert_array_equal(updates["b"], params["b"])


def test_the_rate_may_be_injected_and_the_state_mapped():
    optimiser = optax.inject_hyperparams(mirror_descent, static_args=("p", "normalize"))(learning_rate=0.1, p=1.5)
    w = start()
    state = optimiser.init(w)
    plain = mirror_descent(0.1, 1.5)
    np.testing.assert_allclose(optimiser.update(w, state, w)[0], plain.update(w, plain.init(w), w)[0], rtol=1e-6)
    state.hyperparams["learning_rate"] = jnp.float32(0.0)
    np.testing.assert_array_equal(optimiser.update(w, state, w)[0], 0)
    assert optax.tree_utils.tree_get(state, "dual").shape == (3, 4)
    shapes = optax.tree_map_params(plain, lambda leaf: leaf.shape, plain.init(w))
    assert shapes.dual == (3, 4)
    traced = optax.inject_hyperparams(mirror_descent)(learning_rate=0.1, p=1.5)
    with pytest.raises(ValueError, match=r"p=.* is traced; accepted: .*static_args"):
        jax.jit(traced.update)(w, traced.init(w), w)


def test_resync_after_parameters_were_changed():
    optimiser = optax.chain(optax.identity(), mirror_descent(0.1, 1.5))
    w, state = trained(optimiser, {"w": start()}, steps=3)
    clipped = jax.tree.map(lambda leaf: jnp.clip(leaf, -0.1, 0.1), w)
    rebuilt = resync(state, clipped)
    np.testing.assert_array_equal(rebuilt[1].dual["w"], mirror_map(clipped["w"], 1.5))
    assert rebuilt[1].count == 3
    assert jax.tree.structure(rebuilt) == jax.tree.structure(state)
    with pytest.raises(ValueError, match=r"params has no leaf .* accepted"):
        resync(state, {"w": jnp.zeros(2)})
    for wrong, name in ((clipped, "dict"), (optax.sgd(0.1).init(clipped), "tuple")):
        with pytest.raises(ValueError, match=rf"^state={name} holds no MirrorDescentState; accepted: "):
            resync(wrong, state)
    plain = mirror_descent(0.1, 2).init(w)
    assert resync(plain, clipped) == plain


# ---- errors


def test_wrong_arguments_are_answered():
    w = start()
    with pytest.raises(ValueError, match=r"^params=None .*accepted"):
        mirror_descent(0.1, 1.5).update(w, mirror_descent(0.1, 1.5).init(w))
    for rate in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^learning_rate="):
            mirror_descent(rate, 1.5)
    with pytest.raises(ValueError, match=r"params\['n'\] has dtype int32; accepted: real floating point"):
        mirror_descent(0.1, 1.5).init({"n": jnp.arange(3)})


def test_what_is_not_finite_raises_on_the_host():
    good = {"w": start(), "n": jnp.arange(3), "none": None}
    raise_if_nonfinite(good)
    raise_if_nonfinite([equinox.nn.MLP(2, 1, 3, 1, key=jax.random.key(0)), jax.random.key(0), "name", np.array(["x"])])
    after, _ = trained(mirror_descent(1e4, 1.1), start(), lambda w: jnp.ones_like(w), steps=1)
    with pytest.raises(
        FloatingPointError, match=r"leaf \['w'\] has 12 of 12 values .* at step 7; .*smaller learning rate"
    ):
        raise_if_nonfinite({"w": after}, step=7)
    with pytest.raises(ValueError, match="outside of jit"):
        jax.jit(lambda w: raise_if_nonfinite(w))(start())
