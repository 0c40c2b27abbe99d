"""Synchronous methods: their polynomials, exact errors, runs, and what they refuse."""

import networkx as nx
import numpy as np
import pytest
from scipy.special import eval_chebyt, eval_jacobi

from solvable.iterations import gossip as gs
from solvable.iterations.gossip import polynomials
from solvable.iterations.gossip.spectrum import Measure, gauss, lanczos
from solvable.lab.comparing.agreement import compare

NET = gs.Network.from_networkx(nx.karate_club_graph(), weights="authors")
GRID = gs.Grid((6, 7))
METHODS = [
    gs.Simple(),
    gs.Jacobi(),
    gs.Jacobi(3, beta=0.5),
    gs.Jacobi(gap="exact"),
    gs.ShiftRegister(),
    gs.ShiftRegister("published"),
    gs.ShiftRegister(1.3),
    gs.Chebyshev(),
    gs.Tuned(),
    gs.LocalAveraging(),
]
AT = [0, 1, 2, 5, 9, 16]


def ids(one):
    return repr(one)


# ---- polynomials


@pytest.mark.parametrize(
    ("alpha", "beta"), [(1, 0), (1.5, 0), (0, 0), (-0.5, -0.5), (0.5, -0.5), (2, 1), (-0.25, 0.25)]
)
def test_jacobi_is_that_of_scipy(alpha, beta):
    points = np.linspace(-1, 1, 41)
    found = polynomials.evaluate(polynomials.jacobi(alpha, beta, 0.0, 20), points, range(21))
    for t in range(21):
        expected = eval_jacobi(t, alpha, beta, points) / eval_jacobi(t, alpha, beta, 1.0)
        np.testing.assert_allclose(found[t], expected, atol=1e-14 * max(1, np.abs(expected).max()))


def test_a_gap_maps_the_rest_of_the_spectrum_to_the_whole_interval():
    gap, points = 0.3, np.linspace(-1, 1, 11)
    found = polynomials.evaluate(polynomials.jacobi(1.0, 0.0, gap, 15), points, [15])[0]
    mapped, one = (points + gap / 2) / (1 - gap / 2), (1 + gap / 2) / (1 - gap / 2)
    np.testing.assert_allclose(
        found, eval_jacobi(15, 1, 0, mapped) / eval_jacobi(15, 1, 0, one), rtol=1e-11, atol=1e-14
    )


def test_chebyshev_is_that_of_scipy():
    points, low, high = np.linspace(-0.9, 1, 12), -0.7, 0.8
    found = polynomials.evaluate(polynomials.chebyshev(low, high, 12), points, [12])[0]
    mapped = (2 * points - high - low) / (high - low)
    one = (2 - high - low) / (high - low)
    np.testing.assert_allclose(found, eval_chebyt(12, mapped) / eval_chebyt(12, one), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("degree", [2, 3, 4, 7])
def test_message_passing_averages_over_walks_that_never_turn_back(degree):
    """On a tree of this degree, which is as wide as the rounds, it is the mean over the ball."""
    rounds, graph = 4, nx.Graph([(0, child) for child in range(1, degree + 1)])
    leaves = list(range(1, degree + 1))
    for _ in range(rounds):
        new = []
        for leaf in leaves:
            for _ in range(degree - 1):
                new.append(graph.number_of_nodes())
                graph.add_edge(leaf, new[-1])
        leaves = new
    adjacency = nx.to_scipy_sparse_array(graph, nodelist=range(graph.number_of_nodes()))
    values = np.random.default_rng(0).standard_normal(graph.number_of_nodes())
    steps = polynomials.message_passing(degree, rounds)
    found = polynomials.path(steps, lambda x: adjacency @ x / degree, values, range(rounds + 1))
    distances = nx.single_source_shortest_path_length(graph, 0)
    for t in range(rounds + 1):
        ball = [node for node, far in distances.items() if far <= t]
        assert found[t][0] == pytest.approx(values[ball].mean(), abs=1e-13)


def test_every_recursion_keeps_ones_and_outlasts_what_overflows():
    for algorithm in METHODS[:-1]:
        steps = algorithm.recursion(NET, 400)
        np.testing.assert_allclose(steps.a + steps.b - np.where(np.arange(400) > 0, steps.c, 0), 1, atol=1e-12)
    steps = polynomials.jacobi(1.0, 0.0, 0.9, 5000)  # unscaled, it passes 1e308 after a few hundred rounds
    assert all(np.isfinite(one).all() for one in steps)


def test_the_best_polynomials_are_those_of_the_christoffel_function():
    """min sum w P(1)=1 of P^2 is 1 / sum_j p_j(1)^2 over the orthonormal p_j of w: another way to the same number."""
    shares = np.random.default_rng(1).random(33)
    measure = Measure(NET.eigenvalues[1:], shares)
    # orthonormal polynomials by QR of the Chebyshev basis on the nodes
    basis = np.polynomial.chebyshev.chebvander(measure.eigenvalues, 12)
    _, upper = np.linalg.qr(np.sqrt(shares)[:, None] * basis)
    at_one = np.linalg.solve(upper.T, np.polynomial.chebyshev.chebvander([1.0], 12)[0])
    np.testing.assert_allclose(polynomials.least(measure, range(13)), 1 / np.cumsum(at_one**2), rtol=1e-9)


def test_lanczos_makes_a_gauss_rule():
    rng = np.random.default_rng(2)
    start = rng.standard_normal(34)
    rule = gauss(lanczos(lambda x: NET.matrix @ x, start, 10))
    values, vectors = np.linalg.eigh(NET.matrix.toarray())
    shares = (vectors.T @ start) ** 2
    for power in (0, 1, 7, 19):
        assert rule.shares @ rule.eigenvalues**power == pytest.approx(shares @ values**power, rel=1e-10)


# ---- exact errors


@pytest.mark.parametrize("algorithm", METHODS, ids=ids)
def test_the_exact_error_is_that_of_all_unit_vectors(algorithm):
    """E |P(W) x - mean|^2 / n over independent values is |P(W) - 1 1^T / n|^2 / n."""
    task = gs.Averaging(NET, np.eye(34))
    found = algorithm.train(task, at=AT).values - 1 / 34
    expected = (found**2).sum(axis=(1, 2)) / 34
    predicted = gs.predict(gs.Averaging(NET), algorithm, at=AT)
    np.testing.assert_allclose(predicted.squared_error, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("algorithm", [*METHODS, gs.ParameterFree()], ids=ids)
def test_the_error_of_given_values_is_exact(algorithm):
    task = gs.Averaging(NET, np.random.default_rng(3).standard_normal((34, 2)) + 5)
    run, predicted = gs.simulate(task, algorithm, at=AT), gs.predict(task, algorithm, at=AT)
    np.testing.assert_allclose(run.squared_error[0], predicted.squared_error, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(run.drift[0], predicted.drift, atol=1e-12)
    assert {one.claim for one in predicted.status.values()} == {"exact"}


def test_runs_agree_with_theory_and_keep_the_mean():
    for algorithm in METHODS:
        run = gs.simulate(GRID, algorithm, at=AT, replicates=60)
        predicted = gs.predict(GRID, algorithm, at=AT)
        for place in range(len(AT)):
            found = compare(run.squared_error[:, place], predicted.squared_error[place], allowance=1e-25)
            assert abs(found.score) <= 4, (algorithm, place, found)
        if not isinstance(algorithm, gs.LocalAveraging):
            assert run.drift.max() < 1e-12


def test_means_are_kept_for_ten_thousand_rounds():
    task = gs.Averaging(GRID.network, np.random.default_rng(4).standard_normal(42) + 3)
    for algorithm in (gs.Simple(), gs.Jacobi(), gs.ShiftRegister(), gs.Chebyshev(), gs.Jacobi(gap="exact")):
        run = algorithm.train(task, at=[10_000])
        assert run.values[0].mean() == pytest.approx(task.values.mean(), abs=1e-12)


def test_random_networks_are_predicted_given_what_was_drawn():
    for law in (gs.Percolation((8, 8), 0.7), gs.RandomGeometric(40, 2, 0.3), gs.RandomRegular(30, 3)):
        run = gs.simulate(law, gs.Jacobi(), at=[0, 3, 8], replicates=40)
        assert len(run.networks) == 40
        predicted = gs.predict(law, gs.Jacobi(), given=run)
        assert predicted.squared_error.shape == (40, 3)
        for place in range(3):
            found = compare(run.squared_error[:, place], predicted.squared_error[:, place], allowance=0.0)
            assert abs(found.score) <= 4
        with pytest.raises(ValueError, match="of whose networks the theories speak"):
            gs.predict(law, gs.Jacobi())


def test_no_method_beats_the_best_polynomial():
    at = np.arange(0, 34)
    best = gs.predict(gs.Averaging(NET), gs.Simple(), theory="best", at=at)
    assert best.status["squared_error"].claim == "bound"
    for algorithm in METHODS[:-1]:
        found = gs.predict(gs.Averaging(NET), algorithm, at=at).squared_error
        assert np.all(found >= best.squared_error * (1 - 1e-9) - 1e-15), algorithm
    assert best.squared_error[-1] == 0
    # for its own values the parameter-free method attains it
    task = gs.Averaging(NET, np.random.default_rng(5).standard_normal(34))
    own = gs.predict(task, gs.Simple(), theory="best", at=at).squared_error
    np.testing.assert_allclose(gs.predict(task, gs.ParameterFree(), at=at).squared_error, own, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize(
    "graph",
    [nx.cycle_graph(12), nx.hypercube_graph(4), nx.barbell_graph(6, 1), nx.balanced_tree(2, 4), nx.complete_graph(5)],
)
def test_tuned_ends_early_where_eigenvalues_repeat(graph):
    net = gs.Network.from_networkx(graph)
    distinct = 1 + int(np.sum(np.diff(np.sort(net.eigenvalues[1:])) > 1e-9))
    run = gs.simulate(gs.Averaging(net), gs.Tuned(), at=[distinct, 400], replicates=3)
    assert run.squared_error.max() < 1e-20
    assert np.all(run.result == 0)


def test_tuned_carries_over_to_other_values():
    task = gs.Averaging(gs.Grid((12, 12)).network)
    at = np.arange(0, 25)
    best = gs.predict(task, gs.Simple(), theory="best", at=at).squared_error
    tuned = gs.predict(task, gs.Tuned(), at=at).squared_error
    assert np.all(tuned <= 1.5 * best + 1e-15)
    with pytest.raises(ValueError, match="at holds round 30, and Tuned has rounds=20"):
        gs.Tuned(rounds=20).train(gs.Averaging(NET), at=[30])


def test_large_networks_are_tuned_as_small_ones():
    """Above 1 000 nodes Lanczos runs on W itself, without keeping all its vectors."""
    net = gs.Grid((33, 33)).network
    found = gs.Tuned(4, 150).recursion(net, 150)
    left = polynomials.evaluate(found, net.eigenvalues[1:], [20, 60, 149]) ** 2
    least = polynomials.least(Measure(net.eigenvalues[1:], np.ones(net.nodes - 1)), [20, 60, 149])
    assert np.all(left.sum(axis=1) <= 1.5 * least + 1e-9)


# ---- messages, units, refusals


def test_messages_are_counted():
    each = 2 * len(NET.edges)
    by_rounds = gs.predict(gs.Averaging(NET), gs.Chebyshev(), at=[2, 5])
    by_messages = gs.predict(gs.Averaging(NET), gs.Chebyshev(), at=[2 * each, 5 * each + each - 1], unit="messages")
    np.testing.assert_array_equal(by_rounds.squared_error, by_messages.squared_error)
    run = gs.simulate(gs.Averaging(NET), gs.Chebyshev(), at=[2 * each], unit="messages", replicates=2)
    assert run.times.tolist() == [[2], [2]]


def test_a_run_of_a_problem():
    task = gs.Averaging(NET, np.arange(34.0))
    run = gs.Simple().train(task)
    assert run.values.shape == (len(run.at), 34)
    assert run.mean == 16.5
    two = gs.Simple().train(gs.Averaging(NET, np.ones((34, 2))), at=[3])
    np.testing.assert_allclose(two.values, np.ones((1, 34, 2)), atol=1e-14)


BIPARTITE = gs.Averaging(gs.Network.from_networkx(nx.cycle_graph(8), weights="authors"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gs.simulate(BIPARTITE, gs.Simple()), "checkerboard never decays under Simple.*'metropolis' or 'lazy'"),
        (lambda: gs.predict(BIPARTITE, gs.Simple()), "checkerboard never decays"),
        (lambda: gs.simulate(BIPARTITE, gs.ShiftRegister()), "checkerboard never decays"),
        (lambda: gs.simulate(BIPARTITE, gs.Jacobi(alpha=0.0)), "checkerboard never decays"),
        (lambda: gs.simulate(BIPARTITE, gs.Jacobi(alpha=0.5, beta=0.5)), "checkerboard never decays"),
        (lambda: gs.simulate(BIPARTITE, gs.MessagePassing(2)), "checkerboard never decays"),
        (lambda: gs.Jacobi(alpha=-1.0), "alpha=-1"),
        (lambda: gs.Jacobi(beta=-1.5), "beta=-1.5"),
        (lambda: gs.Jacobi(dimension=0), "dimension=0"),
        (lambda: gs.Jacobi(gap=0.0), "gap=0"),
        (lambda: gs.Jacobi(gap=-0.1), "gap=-0.1"),
        (lambda: gs.Jacobi(gap="known"), "gap='known' is unknown"),
        (lambda: gs.ShiftRegister("best"), "weight='best' is unknown"),
        (lambda: gs.ShiftRegister(2.0), "weight=2"),
        (lambda: gs.simulate(gs.Averaging(NET), gs.MessagePassing(3)), "degrees 1 to 17"),
        (lambda: gs.MessagePassing(1), "degree=1"),
        (lambda: gs.RandomRegular(5, 3), "degree=3 is not accepted with nodes=5"),
        (lambda: gs.RandomRegular(4, 4), "degree=4"),
        (lambda: gs.Grid((1, 1)), "one node"),
        (lambda: gs.Grid((2, 5), periodic=True), "periodic"),
        (lambda: gs.Percolation((5, 5), 0.0), "probability=0"),
        (lambda: gs.Averaging(NET, np.ones(3)), "values has 3 rows"),
        (lambda: gs.Averaging(NET, "uniform"), "values='uniform'"),
        (lambda: gs.simulate(gs.Averaging(NET), gs.Simple(), unit="time"), "unit='time'"),
        (lambda: gs.simulate(gs.Averaging(NET), gs.Simple(), unit="activations", at=[2]), "unit='activations'"),
        (lambda: gs.simulate(gs.Averaging(NET), gs.Simple(), size=10), "size=10"),
        (lambda: gs.predict(gs.Averaging(NET), gs.Simple(), theory="moments"), "does not speak of Simple"),
        (lambda: gs.predict(gs.Averaging(NET), gs.Simple(), theory="heat"), "speaks of a Lattice"),
        (lambda: gs.predict(gs.Averaging(NET), gs.ParameterFree()), "depends on the values"),
        (lambda: gs.simulate(gs.Averaging(NET), gs.Simple(), at=[1, 1]), "increasing whole numbers"),
        (lambda: gs.simulate(gs.Averaging(NET), gs.Simple(), at=[0.5]), "increasing whole numbers"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "accepted" in str(caught.value)


def test_what_decays_on_a_checkerboard_is_let_through():
    for algorithm in (gs.Jacobi(), gs.Chebyshev(), gs.Tuned()):
        run = gs.simulate(BIPARTITE, algorithm, at=[0, 200], replicates=4)
        assert run.squared_error[:, 1].max() < 0.02 * run.squared_error[:, 0].max()


def test_values_too_large_are_missing_with_a_reason():
    run = gs.simulate(gs.Averaging(NET, 1e308 * (np.arange(34) % 2)), gs.Simple(), at=[0, 1])
    assert run.reasons()[0]
    assert np.isnan(run.squared_error).all()


# ---- late rounds, and what the lower bound bounds


@pytest.mark.parametrize(
    "graph",
    [nx.random_labeled_tree(600, seed=1), nx.grid_2d_graph(30, 30), nx.barabasi_albert_graph(300, 3, seed=0)],
    ids=["tree", "grid", "preferential"],
)
@pytest.mark.parametrize("algorithm", [gs.Tuned(), gs.ParameterFree()], ids=["tuned", "parameter-free"])
def test_tuned_rounds_go_on_falling(graph, algorithm):
    """Coefficients of a reorthogonalised Lanczos make the bare recursion explode where it has converged."""
    net = gs.Network.from_networkx(graph)
    task = gs.Averaging(net, np.random.default_rng(5).standard_normal(net.nodes))
    at = [0, 50, 120, 230, 400]
    run = algorithm.train(task, at=at)
    left = ((run.values - run.mean) ** 2).mean(axis=1)
    assert left[-1] < 1e-9
    assert np.all(np.diff(left) <= 1e-20)
    exact = gs.predict(task, algorithm, at=at).squared_error
    np.testing.assert_allclose(left, exact, rtol=1e-8, atol=3e-7)
    least = gs.predict(task, algorithm, at=at, theory="best").squared_error
    assert np.all(least <= left * (1 + 1e-9) + 1e-30)


def test_what_adapts_is_not_bounded_by_polynomials():
    values = np.random.default_rng(1).standard_normal(34)
    several = np.random.default_rng(1).standard_normal((34, 3))
    for algorithm, given, claim in (
        (gs.Chebyshev(), "normal", "bound"),
        (gs.ParameterFree(), values, "bound"),
        (gs.ParameterFree(), several, "heuristic"),
        (gs.ParameterFree(), "normal", "heuristic"),
        (gs.LocalAveraging(), "normal", "heuristic"),
        (gs.Pairwise(True), "normal", "heuristic"),
    ):
        found = gs.predict(gs.Averaging(NET, given), algorithm, at=[0, 3, 9], theory="best")
        assert found.status["squared_error"].claim == claim
    # the unit is rounds, whatever the algorithm
    same = gs.predict(gs.Averaging(NET, given), gs.Simple(), at=[0, 3, 9], theory="best")
    np.testing.assert_array_equal(found.squared_error, same.squared_error)
    # why: averages over balls, which are no polynomials of W, do better on this star
    star = gs.Averaging(gs.Network.from_networkx(nx.star_graph(30)))
    balls = gs.predict(star, gs.LocalAveraging(), at=[2]).squared_error
    assert balls[0] == pytest.approx(0.0, abs=1e-15)


def test_message_passing_takes_all_equal_weights():
    graph = nx.random_regular_graph(3, 20, seed=1)
    values = np.random.default_rng(0).standard_normal(20)
    runs = [
        gs.MessagePassing(3).train(gs.Averaging(gs.Network.from_networkx(graph, weights=one), values), at=[1, 2, 9])
        for one in ("authors", "metropolis", "lazy")
    ]
    np.testing.assert_allclose(runs[1].values, runs[0].values, rtol=0, atol=1e-13)
    np.testing.assert_allclose(runs[2].values, runs[0].values, rtol=0, atol=1e-13)
    bipartite = gs.Averaging(gs.Network.from_networkx(nx.hypercube_graph(3)))
    with pytest.raises(ValueError, match="bipartite: its checkerboard never decays"):
        gs.predict(bipartite, gs.MessagePassing(3), at=[1])
    uneven = gs.Network.from_networkx(graph, weights=np.linspace(0.1, 0.3, 30))
    with pytest.raises(ValueError, match="weights that differ"):
        gs.predict(gs.Averaging(uneven), gs.MessagePassing(3), at=[1])
