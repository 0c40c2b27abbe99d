"""Lattices: kernels and their moments, the heat and Euler-Poisson-Darboux limits, the orders at which they are met."""

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.lattice import bessel, interpolated, times_of
from solvable.numerics.results import SolveError

LAZY = {(0, 0): 0.2, (1, 0): 0.3, (-1, 0): 0.3, (0, 1): 0.1, (0, -1): 0.1}


def hill(positions):
    return np.exp(3 * np.cos(2 * np.pi * positions).sum(axis=-1))


def grid(dim, count=16):
    axes = np.meshgrid(*[np.arange(count) / count] * dim, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, dim)


# ---- kernels


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_second_moment_of_a_kernel(dim, beta):
    algorithm = gs.Jacobi(dim, beta=beta)
    alpha = dim / 2
    for rounds in (0, 1, 2, 7):
        mass = gs.kernel(gs.Lattice(dim), algorithm, rounds)
        assert mass.shape == (2 * rounds + 1,) * dim
        assert mass.sum() == pytest.approx(1, abs=1e-12)
        places = np.arange(-rounds, rounds + 1)
        second = (mass.sum(axis=tuple(range(1, dim))) * places**2).sum()
        assert second == pytest.approx(rounds * (rounds + alpha + beta + 1) / (2 * (alpha + 1) * dim), rel=1e-9)


def test_the_second_moment_has_the_covariance_of_the_steps():
    lattice = gs.Lattice(2, steps=LAZY)
    np.testing.assert_allclose(lattice.covariance, np.diag([0.6, 0.2]))
    mass, places = gs.kernel(lattice, gs.Jacobi(2), 9), np.arange(-9, 10)
    factor = 9 * (9 + 2) / 4
    assert (mass.sum(axis=1) * places**2).sum() == pytest.approx(0.6 * factor)
    assert (mass.sum(axis=0) * places**2).sum() == pytest.approx(0.2 * factor)


def test_a_kernel_is_the_iteration_on_the_lattice():
    """By sums over neighbours, in real space."""
    rounds = 5
    mass = np.zeros((2 * rounds + 3, 2 * rounds + 3))
    mass[rounds + 1, rounds + 1] = 1

    def walk(x):
        return 0.25 * (np.roll(x, 1, 0) + np.roll(x, -1, 0) + np.roll(x, 1, 1) + np.roll(x, -1, 1))

    now, before = mass, mass
    steps = gs.Jacobi(2).recursion(None, rounds)
    for a, b, c in zip(*steps, strict=True):
        now, before = a * walk(now) + b * now - c * before, now
    np.testing.assert_allclose(gs.kernel(gs.Lattice(2), gs.Jacobi(2), rounds), now[1:-1, 1:-1], atol=1e-15)
    simple = gs.kernel(gs.Lattice(1), gs.Simple(), 4)
    np.testing.assert_allclose(simple, np.array([1, 0, 4, 0, 6, 0, 4, 0, 1]) / 16, atol=1e-16)


# ---- the fundamental solution


@pytest.mark.parametrize(("dim", "alpha"), [(1, 0.5), (1, 1.0), (1, 0.0), (2, 1.0), (2, 1.7), (3, 1.5)])
def test_the_density_has_mass_one_and_the_moment_of_the_limit(dim, alpha):
    time, sphere = 0.7, {1: 2.0, 2: 2 * np.pi, 3: 4 * np.pi}[dim]

    def of(power):
        def value(r):  # r = t sin(u): without the singular end
            return gs.epd_density([r], time, alpha, np.eye(dim))[0] * r ** (dim - 1 + power)

        return sphere * quad(lambda u: value(time * np.sin(u)) * time * np.cos(u), 0, np.pi / 2, epsabs=1e-13)[0]

    assert of(0) == pytest.approx(1, abs=1e-10)
    assert of(2) == pytest.approx(dim * time**2 / (2 * (alpha + 1)), abs=1e-10)


def test_waves_of_the_limit_are_means_over_balls():
    """For alpha = dim/2 the solution is the mean of u_0 over the ball of radius t sqrt(Sigma)."""
    time = 0.2
    waves = gs.predict(gs.Lattice(1, hill, [[0.1]]), gs.Jacobi(1), at=[time]).profile[0, 0]
    mean = quad(lambda x: hill(np.array([0.1 + x])), -time, time, epsabs=1e-14, epsrel=1e-13)[0] / (2 * time)
    assert waves == pytest.approx(mean, rel=1e-12)
    radius = time / np.sqrt(2)
    found = gs.predict(gs.Lattice(2, hill, [[0.1, 0.3]]), gs.Jacobi(2), at=[time]).profile[0, 0]
    ball = dblquad(
        lambda angle, r: r * hill(np.array([0.1 + r * np.cos(angle), 0.3 + r * np.sin(angle)])),
        0,
        radius,
        0,
        2 * np.pi,
        epsabs=1e-13,
        epsrel=1e-13,
    )[0] / (np.pi * radius**2)
    assert found == pytest.approx(ball, rel=1e-12)


def test_the_bessel_multiplier():
    z = np.array([0.0, 1e-8, 9e-4, 1.1e-3, 1.0, 30.0])
    np.testing.assert_allclose(bessel(0.5, z)[1:], np.sin(z[1:]) / z[1:], rtol=1e-12)
    np.testing.assert_allclose(bessel(-0.5, z), np.cos(z), rtol=1e-11, atol=1e-12)
    assert bessel(1.3, z)[0] == 1


def test_the_equation_holds():
    """u_tt + ((2 alpha + 1)/t) u_t = div(Sigma grad u), by differences."""
    alpha, h, t, x = 1.3, 1e-3, 0.15, 0.23
    algorithm = gs.Jacobi(alpha=alpha)
    points = [[x - h], [x], [x + h]]
    found = gs.predict(gs.Lattice(1, hill, points), algorithm, at=[t - h, t, t + h]).profile
    in_time = (found[2, 1] - 2 * found[1, 1] + found[0, 1]) / h**2
    in_time += (2 * alpha + 1) / t * (found[2, 1] - found[0, 1]) / (2 * h)
    in_space = (found[1, 2] - 2 * found[1, 1] + found[1, 0]) / h**2
    assert in_time == pytest.approx(in_space, rel=1e-4)


def test_heat_spreads_as_a_gaussian():
    """The kernel of the torus by its images, and waves one by one."""
    point = gs.predict(
        gs.Lattice(1, points=[[0.5], [0.75], [0.0]], steps={0: 0.5, 1: 0.25, -1: 0.25}), gs.Simple(), at=[0.02]
    )
    images = [
        np.exp(-((x - 0.5 + k) ** 2) / (2 * 0.01)) / np.sqrt(2 * np.pi * 0.01)
        for x in (0.5, 0.75, 0.0)
        for k in range(-3, 4)
    ]
    np.testing.assert_allclose(point.profile[0], np.reshape(images, (3, 7)).sum(axis=1), rtol=1e-12)
    assert point.status["profile"].claim == "heuristic"
    wave = gs.predict(gs.Lattice(2, lambda x: np.cos(2 * np.pi * x[..., 0]), [[0.0, 0.2]]), gs.Simple(), at=[0.1])
    assert wave.profile[0, 0] == pytest.approx(np.exp(-0.5 * 0.1 * 4 * np.pi**2 / 2), rel=1e-12)
    assert wave.status["profile"].claim == "asymptotic"


# ---- the order of convergence


@pytest.mark.parametrize(("dim", "sizes"), [(1, (64, 128)), (2, (32, 64)), (3, (24, 48))])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_lattices_meet_the_wave_equation_with_order_two_at_shifted_times(dim, sizes, beta):
    points = grid(dim) if dim < 3 else grid(dim, 4)
    lattice, algorithm, time = gs.Lattice(dim, hill, points), gs.Jacobi(dim, beta=beta), 0.25
    plain, shifted = [], []
    for size in sizes:
        rounds = round(time * size)
        run = gs.simulate(lattice, algorithm, at=[rounds], unit="rounds", size=size)
        limit = gs.predict(lattice, algorithm, at=[time]).profile[0]
        given = gs.predict(lattice, algorithm, given=run).profile[0, 0]
        scale = np.abs(limit).max()
        plain.append(np.abs(run.profile[0, 0] - limit).max() / scale)
        shifted.append(np.abs(run.profile[0, 0] - given).max() / scale)
        assert run.times[0, 0] == pytest.approx((rounds + (dim / 2 + beta + 1) / 2) / size)
    if beta == 0.0:
        assert plain[-1] < 6 / sizes[-1]
        assert shifted[-1] < 16 / sizes[-1] ** 2
    assert 1.6 < plain[0] / plain[1] < 2.4
    assert 3.0 < shifted[0] / shifted[1] < 5.0


def test_lattices_meet_the_heat_equation():
    lattice = gs.Lattice(1, hill, grid(1))
    errors = []
    for size in (32, 64):
        run = gs.simulate(lattice, gs.Simple(), at=[0.0, 0.05], size=size)
        errors.append(np.abs(run.profile[0] - gs.predict(lattice, gs.Simple(), given=run).profile[0]).max(axis=1))
    assert np.max(errors, axis=0)[0] < 1e-12
    assert 3.0 < errors[0][1] / errors[1][1] < 5.0


def test_times_are_those_of_whole_rounds():
    lattice = gs.Lattice(2, hill, grid(2, 4))
    run = gs.simulate(lattice, gs.Jacobi(2), at=[0.0, 0.1, 0.2], size=32)
    rounds = [0, round(3.2 - 1), round(6.4 - 1)]
    np.testing.assert_allclose(run.times[0], times_of(gs.Jacobi(2), np.array(rounds), 32))
    assert run.unit == "time"
    simple = gs.simulate(lattice, gs.Simple(), at=[0.01], size=32)
    assert simple.times[0, 0] == round(0.01 * 32**2) / 32**2


def test_profiles_between_lattice_points_are_trigonometric():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((6, 6))
    modes = np.fft.fftn(values)
    np.testing.assert_allclose(interpolated(modes, grid(2, 6)), values.ravel(), atol=1e-13)
    odd = rng.standard_normal(5)
    np.testing.assert_allclose(interpolated(np.fft.fftn(odd), grid(1, 5)), odd, atol=1e-13)
    wave = np.cos(2 * np.pi * 2 * np.arange(8) / 8)
    np.testing.assert_allclose(interpolated(np.fft.fft(wave), np.array([[0.13]])), [np.cos(4 * np.pi * 0.13)])


def test_a_point_becomes_its_density():
    """Averaged over a few lattice points, as the kernel is rough."""
    size = 256
    points = (np.arange(size) / size)[:, None]
    lattice = gs.Lattice(1, points=points)
    run = gs.simulate(lattice, gs.Jacobi(1), at=[0.25], size=size)
    limit = gs.predict(lattice, gs.Jacobi(1), given=run)
    cells = run.profile[0, 0].reshape(-1, 16).mean(axis=1)
    np.testing.assert_allclose(cells[5:-5], limit.profile[0, 0].reshape(-1, 16).mean(axis=1)[5:-5], atol=0.03)
    assert run.profile[0, 0].mean() == pytest.approx(1, abs=1e-12)
    assert limit.status["profile"].claim == "heuristic"


# ---- what is refused


def test_rough_initial_conditions_are_coded():
    rough = gs.Lattice(1, lambda x: (x[..., 0] > 0.5).astype(float))
    with pytest.raises(SolveError, match="under-resolved"):
        gs.predict(rough, gs.Jacobi(1), at=[0.1])
    assert np.isnan(gs.predict(rough, gs.Jacobi(1), at=[0.1], throw=False).profile).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gs.Lattice(4), "dim=4"),
        (lambda: gs.Lattice(1, "hill"), "initial='hill'"),
        (lambda: gs.Lattice(2, points=[[0.1]]), "points has shape"),
        (lambda: gs.Lattice(1, steps="lazy"), "steps='lazy'"),
        (lambda: gs.Lattice(1, steps={1: 0.5, -1: 0.4}), "sum 0.9"),
        (lambda: gs.Lattice(1, steps={1: 0.6, -1: 0.4}), "not symmetric"),
        (lambda: gs.Lattice(2, steps={1: 0.5, -1: 0.5}), "2 whole numbers"),
        (lambda: gs.Lattice(2, steps={(1, 0): 0.5, (-1, 0): 0.5}), "every direction"),
        (lambda: gs.simulate(gs.Lattice(1), gs.Simple()), "checkerboard of initial='point'"),
        (lambda: gs.predict(gs.Lattice(1), gs.Simple()), "checkerboard of initial='point'"),
        (lambda: gs.simulate(gs.Lattice(2), gs.Jacobi(alpha=0.0), at=[5], unit="rounds"), "checkerboard"),
        (lambda: gs.simulate(gs.Lattice(2), gs.Jacobi(2), at=[32], unit="rounds", size=64), "size >= 66"),
        (lambda: gs.simulate(gs.Lattice(2, hill), gs.Chebyshev()), "algorithm=Chebyshev"),
        (lambda: gs.simulate(gs.Lattice(2, hill), gs.Jacobi(2, gap=0.1)), "gap=None"),
        (lambda: gs.simulate(gs.Lattice(2, hill), gs.Jacobi(2), unit="messages", at=[4]), "unit='messages'"),
        (lambda: gs.simulate(gs.Lattice(2, hill), gs.Jacobi(2), size=1), "size=1"),
        (lambda: gs.predict(gs.Lattice(2, hill), gs.Jacobi(2), unit="rounds", at=[4]), "without the size"),
        (lambda: gs.predict(gs.Lattice(2, hill), gs.Jacobi(2), theory="heat"), "does not speak of Jacobi"),
        (lambda: gs.predict(gs.Lattice(2, hill), gs.Jacobi(2), theory="spectral"), "speaks of networks"),
        (lambda: gs.simulate(gs.Lattice(1, lambda x: x), gs.Jacobi(1)), "initial returned shape"),
        (lambda: gs.simulate(gs.Lattice(1, lambda x: x[..., 0] / 0), gs.Jacobi(1)), "not finite"),
        (lambda: gs.epd_density([0.1], 0.0, 1.0, np.eye(2)), "time=0"),
        (lambda: gs.epd_density([-0.1], 1.0, 1.0, np.eye(2)), "radius holds -0.1"),
        (lambda: gs.epd_density([0.1], 1.0, 0.0, np.eye(2)), "alpha=0"),
        (lambda: gs.epd_density([0.1], 1.0, 1.0, np.zeros((2, 2))), "covariance"),
        (lambda: gs.kernel(gs.Lattice(1), gs.Simple(), -1), "rounds=-1"),
        (lambda: gs.kernel(gs.Lattice(1), gs.Jacobi(gap=0.5), 3), "gap=None"),
    ],
)
def test_what_is_refused(call, words):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=words) as caught:
        call()
    assert "accepted" in str(caught.value)


def test_smooth_initial_conditions_may_go_around():
    run = gs.simulate(gs.Lattice(1, hill), gs.Simple(), at=[500], unit="rounds", size=16)
    np.testing.assert_allclose(run.profile[0, 0], hill(np.arange(16)[:, None] / 16).mean(), rtol=1e-3)
