"""Asynchronous gossip: its exact moments by other ways, its runs, its bounds."""

import networkx as nx
import numpy as np
import pytest
import scipy.linalg

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.pairwise import constants
from solvable.lab.comparing.agreement import compare

SIX = gs.Network.from_networkx(nx.erdos_renyi_graph(6, 0.6, seed=1), rates="uniform")
UNEVEN = gs.Network(SIX.edges, rates=np.arange(1.0, len(SIX.edges) + 1) / np.arange(1.0, len(SIX.edges) + 1).sum())
KARATE = gs.Network.from_networkx(nx.karate_club_graph())
WAYS = [gs.Pairwise(), gs.Pairwise(True), gs.Pairwise(True, False), gs.Pairwise(True, False, "tight")]


def generator(net, algorithm):
    """The (2n)^2 x (2n)^2 matrix of all second moments of (x, z), written out."""
    nodes = net.nodes
    eta, gamma = constants(algorithm, net)
    drift = np.kron([[-eta, eta], [eta, -eta]], np.eye(nodes))
    found = np.kron(drift, np.eye(2 * nodes)) + np.kron(np.eye(2 * nodes), drift)
    for (v, w), rate in zip(net.edges, net.rates, strict=True):
        jump = np.eye(2 * nodes)
        change = np.zeros((nodes, nodes))
        change[v, v] = change[w, w] = 1
        change[v, w] = change[w, v] = -1
        jump[:nodes, :nodes] -= change / 2
        jump[nodes:, :nodes] -= gamma * change
        found += rate * (np.kron(jump, jump) - np.eye(4 * nodes**2))
    return found


@pytest.mark.parametrize("net", [SIX, UNEVEN], ids=["uniform", "uneven"])
@pytest.mark.parametrize("algorithm", WAYS[:2], ids=repr)
def test_moments_are_those_of_the_dense_exponential(net, algorithm):
    nodes, values = net.nodes, np.random.default_rng(0).standard_normal((net.nodes, 2))
    at = [0.0, 0.5, 4.0, 30.0]
    for given in (None, values):
        start = np.eye(nodes) - 1 / nodes
        if given is not None:
            centred = given - given.mean(axis=0)
            start = centred @ centred.T
        start = np.kron(np.ones((2, 2)), start).ravel()
        expected = []
        for time in at:
            moment = (scipy.linalg.expm(time * generator(net, algorithm)) @ start).reshape(2 * nodes, 2 * nodes)
            expected.append(np.trace(moment[:nodes, :nodes]) / nodes)
        task = gs.Averaging(net, "normal" if given is None else given)
        found = gs.predict(task, algorithm, at=at, unit="time")
        np.testing.assert_allclose(found.squared_error, expected, rtol=1e-10, atol=1e-14)
        assert found.status["squared_error"].claim == "exact"


@pytest.mark.parametrize("algorithm", WAYS[:2], ids=repr)
def test_moments_after_activations_are_those_of_time_over_poisson_numbers(algorithm):
    """E at a time t is the mixture of E after k activations over the Poisson law of k, for plain gossip; and with
    acceleration one activation is the resolvent 1 / (1 - drift) before the jump."""
    nodes, net = SIX.nodes, SIX
    start = np.kron(np.ones((2, 2)), np.eye(nodes) - 1 / nodes).ravel()
    eta, _ = constants(algorithm, net)
    drift = np.kron([[-eta, eta], [eta, -eta]], np.eye(nodes))
    both = np.kron(drift, np.eye(2 * nodes)) + np.kron(np.eye(2 * nodes), drift)
    jump = generator(net, algorithm) - both + np.eye(4 * nodes**2)
    one = jump @ np.linalg.inv(np.eye(4 * nodes**2) - both)  # E over an exponential waiting time
    state, expected = start, []
    for _ in range(13):
        expected.append(np.trace(state.reshape(2 * nodes, -1)[:nodes, :nodes]) / nodes)
        state = one @ state
    found = gs.predict(gs.Averaging(net), algorithm, at=range(13))
    np.testing.assert_allclose(found.squared_error, expected, rtol=1e-11)
    assert found.unit == "activations"


def test_many_activations_are_reached_in_few_stretches():
    """A long way at once, and step by step."""
    task = gs.Averaging(KARATE)
    for algorithm in WAYS[:2]:
        far = gs.predict(task, algorithm, at=[700]).squared_error[0]
        near = gs.predict(task, algorithm, at=range(0, 701, 7)).squared_error[-1]
        assert far == pytest.approx(near, rel=1e-9)


@pytest.mark.parametrize("algorithm", WAYS, ids=repr)
def test_runs_agree_with_the_moments(algorithm):
    at, unit = ([0, 30, 90, 180], "time") if not algorithm.gap else ([0, 30, 90, 180], "activations")
    run = gs.simulate(gs.Averaging(KARATE), algorithm, at=at, unit=unit, replicates=600)
    predicted = gs.predict(gs.Averaging(KARATE), algorithm, at=at, unit=unit)
    for place in range(len(at)):
        found = compare(run.squared_error[:, place], predicted.squared_error[place], allowance=0.0)
        assert abs(found.score) <= 4, found
    assert run.drift.max() < 1e-13
    if unit == "time":
        bound = gs.predict(gs.Averaging(KARATE), algorithm, at=at, unit=unit, theory="bound")
        assert np.all(predicted.squared_error <= bound.squared_error)


@pytest.mark.parametrize("graph", [nx.path_graph(9), nx.cycle_graph(9), nx.star_graph(8), nx.complete_graph(9)])
def test_every_curve_is_under_its_bound(graph):
    net = gs.Network.from_networkx(graph)
    at = np.linspace(0.0, 150.0, 16)
    for algorithm in WAYS:
        for values in ("normal", np.random.default_rng(1).standard_normal(9)):
            task = gs.Averaging(net, values)
            exact = gs.predict(task, algorithm, at=at, unit="time").squared_error
            bound = gs.predict(task, algorithm, at=at, unit="time", theory="bound").squared_error
            assert np.all(exact <= bound * (1 + 1e-9)), algorithm
    plain = gs.predict(gs.Averaging(net), gs.Pairwise(), at=range(0, 90, 9))
    counted = gs.predict(gs.Averaging(net), gs.Pairwise(), at=range(0, 90, 9), theory="bound")
    assert np.all(plain.squared_error <= counted.squared_error * (1 + 1e-9))


def test_the_rate_is_at_least_that_of_the_bound():
    """Late, the exact curve falls by e^(-rate t) with a rate that is not below eta."""
    for graph in (nx.path_graph(8), nx.cycle_graph(12)):
        net = gs.Network.from_networkx(graph)
        eta, _ = constants(gs.Pairwise(True), net)
        late = gs.predict(gs.Averaging(net), gs.Pairwise(True), at=[300.0, 400.0], unit="time").squared_error
        assert -np.log(late[1] / late[0]) / 100 >= eta * (1 - 1e-9)


def test_acceleration_wins_nothing_on_complete_graphs():
    net = gs.Network.from_networkx(nx.complete_graph(8))
    for unit in ("time", "activations"):
        simple, accelerated = (
            gs.predict(gs.Averaging(net), gs.Pairwise(one), at=[0, 5, 25, 60], unit=unit).squared_error
            for one in (False, True)
        )
        np.testing.assert_allclose(accelerated, simple, rtol=1e-10)


def test_acceleration_wins_much_on_a_line():
    net = gs.Network.from_networkx(nx.path_graph(16))
    simple, accelerated = (
        gs.predict(gs.Averaging(net), gs.Pairwise(one), at=[1500]).squared_error[0] for one in (False, True)
    )
    assert accelerated < 0.05 * simple


def test_rates_count():
    """An edge that wakes seldom holds the network up."""
    edges = [(0, 1), (1, 2), (2, 3)]
    slow = gs.Network(edges, rates=[0.49, 0.02, 0.49])
    run = gs.simulate(gs.Averaging(slow), gs.Pairwise(), at=[10, 40], replicates=800)
    predicted = gs.predict(gs.Averaging(slow), gs.Pairwise(), at=[10, 40])
    even = gs.predict(gs.Averaging(gs.Network(edges)), gs.Pairwise(), at=[10, 40])
    for place in range(2):
        assert abs(compare(run.squared_error[:, place], predicted.squared_error[place]).score) <= 4
    assert predicted.squared_error[1] > 5 * even.squared_error[1]


def test_units_of_activations():
    task = gs.Averaging(KARATE)
    messages = gs.predict(task, gs.Pairwise(), at=[100, 201], unit="messages").squared_error
    np.testing.assert_array_equal(messages, gs.predict(task, gs.Pairwise(), at=[50, 100]).squared_error)
    run = gs.simulate(task, gs.Pairwise(), at=[0, 10, 3000], replicates=2)
    assert run.unit == "activations"
    assert run.times[0, 0] == 0
    assert 2000 < run.times[0, 2] < 4000  # about as much time as activations; more than are drawn at once
    assert gs.simulate(task, gs.Pairwise(), replicates=1).squared_error.shape == (1, 31)


def test_columns_of_values_and_networks_of_several_sizes():
    values = np.random.default_rng(2).standard_normal((34, 3))
    run = gs.Pairwise(True).train(gs.Averaging(KARATE, values), at=[0, 4000])
    np.testing.assert_allclose(run.values[0], values)
    np.testing.assert_allclose(run.values[1], np.broadcast_to(values.mean(axis=0), (34, 3)), atol=1e-3)
    law = gs.Percolation((6, 6), 0.7)
    drawn = gs.simulate(law, gs.Pairwise(), at=[0, 60], replicates=60)
    predicted = gs.predict(law, gs.Pairwise(), given=drawn)
    assert len({net.nodes for net in drawn.networks}) > 1
    assert abs(compare(drawn.squared_error[:, 1], predicted.squared_error[:, 1]).score) <= 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gs.predict(gs.Averaging(SIX), WAYS[2]), "no moments are closed without the gap"),
        (lambda: gs.predict(gs.Averaging(SIX), WAYS[1], theory="bound"), "accelerated=True has no bound"),
        (lambda: gs.predict(gs.Averaging(SIX), WAYS[0], unit="rounds", at=[3]), "unit='rounds'"),
        (lambda: gs.simulate(gs.Averaging(SIX), WAYS[0], unit="rounds", at=[3]), "unit='rounds'"),
        (lambda: gs.predict(gs.Averaging(SIX), WAYS[0], theory="spectral"), "does not speak of Pairwise"),
        (lambda: gs.Pairwise(steps="loose"), "steps='loose'"),
        (lambda: gs.Pairwise(accelerated=1), "accelerated=1"),
        (lambda: gs.simulate(gs.Averaging(SIX), WAYS[0], at=[2.5]), "increasing whole numbers"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "accepted" in str(caught.value)


def test_late_errors_are_right_relative_to_what_is_left():
    """Rounding does not decay where it touches the mean or makes moments asymmetric; nothing may gather there."""
    complete = gs.Averaging(gs.Network.from_networkx(nx.complete_graph(10)))
    at = np.array([50, 300, 1000])
    counted = gs.predict(complete, gs.Pairwise(), at=at).squared_error
    np.testing.assert_allclose(counted, 0.9 * (1 - 1 / 9) ** at, rtol=1e-9)
    in_time = gs.predict(complete, gs.Pairwise(), at=at, unit="time").squared_error
    np.testing.assert_allclose(in_time, 0.9 * np.exp(-at / 9), rtol=1e-9)
    cycle = gs.Averaging(gs.Network.from_networkx(nx.cycle_graph(7)))
    for unit in ("activations", "time"):
        early, middle, late = gs.predict(cycle, gs.Pairwise(), at=[400, 700, 1000], unit=unit).squared_error
        assert 0 < late < 1e-40
        assert late / middle == pytest.approx(middle / early, rel=1e-7)
        accelerated = gs.predict(cycle, gs.Pairwise(True), at=[400, 1000, 30_000], unit=unit).squared_error
        assert 0 <= accelerated[2] <= 1e-100 < accelerated[1] < 1e-40 < accelerated[0]


def test_what_would_take_for_ever_is_refused():
    cycle = gs.Averaging(gs.Network.from_networkx(nx.cycle_graph(7)))
    with pytest.raises(ValueError, match=r"at holds 1e\+06.*accepted: times <= 140000 here"):
        gs.predict(cycle, gs.Pairwise(True, False), at=[1e6], unit="time")
    with pytest.raises(ValueError, match=r"at holds 1e\+300; accepted: at most 1e\+09"):
        gs.simulate(cycle, gs.Pairwise(True), at=[1e300], unit="time")
