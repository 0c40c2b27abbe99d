"""Mirror descent for torch: the optax one step by step, SGD at p = 2, and the manners of a torch optimiser."""

import copy
import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solvable.optim import mirror_descent, mirror_map

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

from solvable.optim.torch import MirrorDescent  # noqa: E402  (needs torch)

TARGET = np.linspace(-1.0, 1.0, 12).reshape(3, 4)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def start(dtype=torch.float32, seed=0):
    values = np.random.default_rng(seed).normal(size=(3, 4))
    return torch.nn.Parameter(torch.tensor(values, dtype=dtype))


def descend(optimiser, params, steps=1):
    """Steps on 0.5 ||w - TARGET||^2 + sin(3 w), every parameter alike."""
    for _ in range(steps):
        optimiser.zero_grad()
        loss = sum((0.5 * (w - torch.tensor(TARGET, dtype=w.dtype)) ** 2 + torch.sin(3 * w)).sum() for w in params)
        loss.backward()
        optimiser.step()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("p", [1.1, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("double", [False, True])
def test_it_is_the_optax_one(p, normalize, double):
    w = start(torch.float64 if double else torch.float32)
    ours = MirrorDescent([w], lr=0.02, p=p, normalize=normalize)
    theirs = mirror_descent(0.02, p, normalize)
    with jax.enable_x64(double):
        v = jnp.asarray(w.detach().numpy().copy())
        state = theirs.init(v)

        @jax.jit
        def step(v, state):
            gradient = v - jnp.asarray(TARGET, v.dtype) + 3 * jnp.cos(3 * v)
            updates, state = theirs.update(gradient, state, v)
            return optax.apply_updates(v, updates), state

        for _ in range(30):
            descend(ours, [w])
            v, state = step(v, state)
            assert w.dtype == (torch.float64 if double else torch.float32)
            tolerance = 1e-10 if double else 2e-4
            np.testing.assert_allclose(w.detach().numpy(), v, rtol=tolerance, atol=tolerance / 100)
        if p != 2:
            np.testing.assert_allclose(ours.state[w]["dual"].numpy(), state.dual, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_p_of_2_is_sgd_to_the_last_bit(dtype):
    w, v = start(dtype), start(dtype)
    descend(MirrorDescent([w], lr=0.1), [w], steps=50)
    descend(torch.optim.SGD([v], lr=0.1), [v], steps=50)
    assert torch.equal(w, v)


@pytest.mark.parametrize("p", [1.1, 1.3, 1.5, 3.0])
def test_half_precision_moves_as_single_precision_does(p):
    w, v = start(torch.bfloat16), start(torch.float32)
    descend(MirrorDescent([w], lr=0.02, p=p), [w], steps=3)
    descend(MirrorDescent([v], lr=0.02, p=p), [v], steps=3)
    np.testing.assert_allclose(w.detach().float().numpy(), v.detach().numpy(), rtol=0.1, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("p", [1.1, 1.3, 2.0, 3.0, 10.0])
def test_an_entry_without_a_gradient_stays_to_the_last_bit(p, normalize, dtype):
    # at p = 10 the dual variable of 1e-5 underflows in single precision
    w = torch.nn.Parameter(torch.tensor([0.3, 0.3, -0.7, 1e-5, 0.0, 1e3], dtype=dtype))
    before = w.detach().clone()
    optimiser = MirrorDescent([w], lr=1e-2, p=p, normalize=normalize)
    for _ in range(3):
        w.grad = torch.tensor([1.0, 0.0, -0.0, 0.0, 0.0, 0.0], dtype=dtype)
        optimiser.step()
    assert w[0] < before[0]
    assert torch.equal(w[1:], before[1:])


@pytest.mark.parametrize("p", [1.1, 1.5, 2.0, 3.0])
@pytest.mark.parametrize(
    ("dtype", "scales"),
    [(torch.float16, (1e-6, 1e4)), (torch.bfloat16, (1e-37, 1e37)), (torch.float32, (1e-37, 1e38)), (None, (1e-300,))],
)
def test_normalised_steps_ignore_the_scale_of_the_gradient(p, dtype, scales):
    dtype = dtype or torch.float64
    moved = []
    for scale in (1.0, *scales):
        w = start(dtype)
        # powers of 2, of which float16 keeps the smallest too
        w.grad = torch.tensor([[2.0, -1.0, 0.0, 1.0]] * 3, dtype=dtype) * scale
        MirrorDescent([w], lr=0.1, p=p, normalize=True).step()
        moved.append(w.detach().double().numpy())
    for each in moved[1:]:
        np.testing.assert_allclose(each, moved[0], rtol=0.2 if dtype == torch.float16 else 0.05)
        if dtype in (torch.float32, torch.float64):
            np.testing.assert_allclose(each, moved[0], rtol=1e-5)


@pytest.mark.parametrize("p", [1.1, 2.0, 3.0])
def test_a_gradient_below_the_smallest_normal_number_moves_nothing(p):
    w = start()
    w.grad = torch.full_like(w, 1e-42)
    MirrorDescent([w], lr=0.1, p=p, normalize=True).step()
    assert torch.equal(w, start())
    theirs, v = mirror_descent(0.1, p, normalize=True), jnp.asarray(start().detach().numpy())
    np.testing.assert_array_equal(theirs.update(jnp.full_like(v, 1e-42), theirs.init(v), v)[0], 0)


def test_groups_keep_their_own_options_and_schedulers_move_the_rate():
    w, v, still = start(), start(seed=1), start(seed=2)
    optimiser = MirrorDescent([{"params": [w], "p": 1.5, "lr": 0.1}, {"params": [v]}], lr=0.2, p=3, normalize=True)
    optimiser.add_param_group({"params": [still], "lr": 0.0})
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=1, gamma=0.5)
    alone = [start(), start(seed=1)]
    single = [
        MirrorDescent([alone[0]], lr=0.1, p=1.5, normalize=True),
        MirrorDescent([alone[1]], lr=0.2, p=3, normalize=True),
    ]
    for _ in range(3):
        descend(optimiser, [w, v, still])
        schedule.step()
        for each, parameter in zip(single, alone, strict=True):
            descend(each, [parameter])
            each.param_groups[0]["lr"] /= 2
    assert torch.equal(w, alone[0])
    assert torch.equal(v, alone[1])
    assert torch.equal(still, start(seed=2))


def test_many_parameters_of_several_kinds_move_as_each_alone():
    kinds = [torch.float32, torch.float64, torch.float32, torch.bfloat16]
    together = [start(kind, seed) for seed, kind in enumerate(kinds)]
    descend(MirrorDescent(together, lr=0.05, p=1.1), together, steps=3)
    for seed, kind in enumerate(kinds):
        w = start(kind, seed)
        descend(MirrorDescent([w], lr=0.05, p=1.1), [w], steps=3)
        assert torch.equal(w, together[seed])


def test_the_closure_is_called_with_gradients_on():
    w = start()
    optimiser = MirrorDescent([w], lr=0.1, p=1.5)

    def closure():
        optimiser.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        before = optimiser.step(closure)
    assert before.requires_grad
    assert optimiser.step(closure) < before
    assert MirrorDescent([start()], lr=0.1).step() is None


@pytest.mark.parametrize("p", [1.1, 2.0, 3.0])
def test_the_state_survives_a_file(p):
    w = start()
    optimiser = MirrorDescent([w], lr=0.05, p=p)
    descend(optimiser, [w], steps=5)
    file = io.BytesIO()
    torch.save({"w": w.detach(), "optimiser": optimiser.state_dict()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    v = torch.nn.Parameter(stored["w"])
    other = MirrorDescent([v], lr=1.0, p=1.5)
    other.load_state_dict(stored["optimiser"])
    descend(optimiser, [w], steps=5)
    descend(other, [v], steps=5)
    assert torch.equal(w, v)


@pytest.mark.parametrize("number", [float, np.float64])
def test_any_number_as_an_option_survives_a_file(number):
    w = start()
    optimiser = MirrorDescent([{"params": [w], "p": number(1.5)}], lr=number(0.1), p=number(1.1))
    descend(optimiser, [w])
    file = io.BytesIO()
    torch.save(optimiser.state_dict(), file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    assert stored["param_groups"][0]["p"] == 1.5
    assert stored["param_groups"][0]["lr"] == 0.1


def test_the_state_of_another_optimiser_is_taken_with_the_options_it_lacks():
    w, v = start(), start()
    other = torch.optim.SGD([w], lr=0.05, momentum=0.9)
    descend(other, [w])
    ours = MirrorDescent([w], lr=1.0, p=1.5)
    ours.load_state_dict(other.state_dict())
    with torch.no_grad():
        v.copy_(w)
    descend(ours, [w])
    descend(MirrorDescent([v], lr=0.05, p=1.5), [v])
    assert torch.equal(w, v)
    # a state whose dual variables do not say for which p they are
    stored = ours.state_dict()
    del stored["state"][0]["p"]
    ours.load_state_dict(stored)
    descend(ours, [w])
    assert ours.state[w]["p"] == 1.5
    again = copy.deepcopy(ours)
    assert again.param_groups[0]["p"] == 1.5


def test_what_has_no_gradient_stays_and_gradients_are_left_alone():
    w, v, frozen = start(), start(), start()
    optimiser = MirrorDescent([w, v, frozen], lr=0.1, p=1.1, normalize=True)
    w.grad, v.grad = torch.ones_like(w), torch.zeros_like(v)
    optimiser.step()
    assert torch.equal(frozen, start())
    assert torch.equal(v, start())
    assert torch.equal(w.grad, torch.ones_like(w))
    assert not torch.equal(w, start())


def test_resync_and_a_new_p_make_the_dual_anew():
    w = start()
    optimiser = MirrorDescent([w], lr=0.0, p=1.5)
    optimiser.param_groups[0]["lr"] = 1e-12
    descend(optimiser, [w])
    with torch.no_grad():
        w.clamp_(-0.1, 0.1)
    clipped = w.detach().clone()
    optimiser.resync()
    descend(optimiser, [w])
    np.testing.assert_allclose(w.detach(), clipped, rtol=1e-5)
    np.testing.assert_allclose(optimiser.state[w]["dual"], mirror_map(clipped.numpy(), 1.5), rtol=1e-5)
    optimiser.param_groups[0]["p"] = 3.0
    descend(optimiser, [w])
    np.testing.assert_allclose(w.detach(), clipped, rtol=1e-5)
    np.testing.assert_allclose(optimiser.state[w]["dual"], mirror_map(clipped.numpy(), 3.0), rtol=1e-5)


def test_wrong_arguments_are_answered():
    for p in (1.0, 0.3, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"^p=.*accepted: a finite number > 1"):
            MirrorDescent([start()], lr=0.1, p=p)
    with pytest.raises(ValueError, match=r"^lr=-0.1 .*accepted"):
        MirrorDescent([start()], lr=-0.1)
    with pytest.raises(ValueError, match=r"^p=1 "):
        MirrorDescent([{"params": [start()], "p": 1.0}], lr=0.1)
    # a default that no group uses yet
    with pytest.raises(ValueError, match=r"^p=0.5 "):
        MirrorDescent([{"params": [start()], "p": 1.5}], lr=0.1, p=0.5)
    with pytest.raises(ValueError, match=r"^lr=-1 "):
        MirrorDescent([{"params": [start()], "lr": 0.1}], lr=-1.0)


def test_sparse_and_complex_gradients_are_refused():
    table = torch.nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse; accepted: dense and real"):
        MirrorDescent(table.parameters(), lr=0.1).step()
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    w.grad = torch.ones_like(w)
    with pytest.raises(RuntimeError, match="complex; accepted: dense and real"):
        MirrorDescent([w], lr=0.1).step()


@pytest.mark.parametrize("p", [1.1, 2.0])
def test_what_is_not_finite_raises(p):
    w = start()
    optimiser = MirrorDescent([w], lr=1e30, p=p)
    w.grad = torch.full_like(w, 1e30)
    with pytest.raises(
        FloatingPointError, match=r"shape \(3, 4\) in group 0 has 12 values .*smaller lr \(it is 1e\+30\)"
    ):
        optimiser.step()
