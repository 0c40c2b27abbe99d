"""Advice and averaging: rounds that are right on fresh values, messages, certificates."""

import networkx as nx
import numpy as np
import pytest

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.advice import measure_of, rounds_to
from solvable.iterations.gossip.spectrum import Measure

KARATE = gs.Network.from_networkx(nx.karate_club_graph(), weights="authors")


def by_name(advice):
    return {row.method: row for row in advice.rows}


def test_rounds_on_known_networks():
    rows = by_name(gs.advise(KARATE))
    found = {name: rows[name].rounds for name in ("simple", "jacobi", "shift register", "chebyshev")}
    assert found == {"simple": 152, "jacobi": 146, "shift register": 29, "chebyshev": 23}
    assert rows["tuned"].rounds in (19, 20, 21)
    assert rows["chebyshev"].messages == 2 * 78 * 23
    each = rows["accelerated pairwise"].messages / 2 / 78
    assert 12 < each < 16
    assert rows["accelerated pairwise"].rounds is None
    characters = by_name(gs.advise(gs.Network.from_networkx(nx.les_miserables_graph(), weights="authors")))
    found = {name: characters[name].rounds for name in ("simple", "jacobi", "shift register", "chebyshev")}
    assert found == {"simple": 626, "jacobi": 255, "shift register": 58, "chebyshev": 45}
    assert characters["tuned"].rounds <= 33


def test_the_table_is_in_the_order_of_messages():
    advice = gs.advise(KARATE, 1e-2)
    messages = [row.messages for row in advice.rows if row.messages is not None]
    assert messages == sorted(messages)
    assert advice.best is advice.rows[0]
    frame = advice.to_frame()
    assert list(frame.columns) == ["method", "rounds", "messages", "knows", "floating_error", "note"]
    assert len(frame) == len(advice.rows)
    for row in advice.rows:
        assert row.method in advice.summary()
        assert row.method in advice._repr_html_()
    assert str(advice) == advice.summary()


def test_rounds_are_right_to_one_on_fresh_values():
    """Above 1 000 nodes a few random vectors stand for the spectrum."""
    net = gs.Network.from_networkx(nx.barabasi_albert_graph(4000, 3, seed=0))
    values = np.random.default_rng(7).standard_normal((4000, 4))
    spread = np.sqrt(((values - values.mean(axis=0)) ** 2).mean())
    for row in gs.advise(net).rows:
        if row.rounds is None:
            continue
        at = np.array([row.rounds - 1, row.rounds + 1])
        run = row.algorithm.train(gs.Averaging(net, values), at=at).values
        before, after = np.sqrt(((run - values.mean(axis=0)) ** 2).mean(axis=(1, 2))) / spread
        assert after <= 1e-3 * 1.02
        assert row.rounds < 30 or before >= 1e-3 * 0.95 or row.method in ("simple", "jacobi")
        if row.method not in ("simple", "jacobi"):
            assert before > 1e-3 * 0.9


def test_activations_are_the_first_that_suffice():
    net = gs.Network.from_networkx(nx.cycle_graph(10))
    for name, algorithm in (("pairwise", gs.Pairwise()), ("accelerated pairwise", gs.Pairwise(True))):
        activations = by_name(gs.advise(net, 0.05))[name].messages // 2
        errors = gs.predict(gs.Averaging(net), algorithm, at=[0, activations - 1, activations]).squared_error
        assert errors[2] <= 0.05**2 * errors[0] < errors[1]


def test_given_values_are_told_apart():
    """A wave along a line is the slowest to go."""
    net = gs.Grid((60,), weights="metropolis").network
    slow = by_name(gs.advise(net, 0.1, np.cos(np.pi * (np.arange(60) + 0.5) / 60)))["simple"].rounds
    assert slow == int(np.ceil(np.log(0.1) / np.log(1 - net.gap)))
    quick = by_name(gs.advise(net, 0.1, (-1.0) ** np.arange(60)))["simple"].rounds
    assert quick < slow / 20


@pytest.mark.parametrize("method", ["auto", "simple", "chebyshev", gs.Jacobi(gap="exact")])
def test_averages_come_with_a_certificate(method):
    values = 10 + np.random.default_rng(0).standard_normal((34, 3))
    found = gs.average(KARATE, values, method, accuracy=1e-4)
    error = np.linalg.norm(found.values - values.mean(axis=0)) / np.sqrt(34)
    assert error <= 1e-3
    assert found.certificate >= error
    assert found.messages == 2 * 78 * found.rounds
    assert np.asarray(found).shape == (34, 3)
    one = gs.average(KARATE, values[:, 0], method, rounds=3)
    assert one.values.shape == (34,)
    assert one.rounds == 3


def test_bipartite_networks_are_advised_too():
    net = gs.Network.from_networkx(nx.cycle_graph(8), weights="authors")
    rows = by_name(gs.advise(net))
    assert rows["simple"].note == "never: bipartite"
    assert rows["chebyshev"].rounds
    assert gs.average(net, np.arange(8.0)).method in ("tuned", "chebyshev", "jacobi")


def test_two_nodes():
    rows = by_name(gs.advise(gs.Network([(0, 1)])))
    assert rows["chebyshev"].rounds == rows["tuned"].rounds == rows["simple"].rounds == 1
    np.testing.assert_allclose(gs.average(gs.Network([(0, 1)]), [1.0, 3.0]).values, [2, 2])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gs.advise(KARATE, 0.0), "accuracy=0"),
        (lambda: gs.advise(KARATE, 1.0), "accuracy=1"),
        (lambda: gs.advise(KARATE, values=np.ones(3)), "values has 3 rows"),
        (lambda: gs.advise(KARATE, values=np.ones(34)), "values are all equal"),
        (lambda: gs.average(KARATE, np.arange(34.0), "fastest"), "method='fastest'"),
        (lambda: gs.average(KARATE, np.arange(34.0), "pairwise"), "method='pairwise'"),
        (lambda: gs.average(KARATE, np.arange(34.0), rounds=-1), "rounds=-1"),
        (lambda: gs.average(KARATE, np.full(34, np.nan)), "values holds nan"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "accepted" in str(caught.value)


def test_objects_that_are_none():
    with pytest.raises(TypeError, match="net=Graph"):
        gs.advise(nx.karate_club_graph())
    with pytest.raises(TypeError, match="method=Pairwise"):
        gs.average(KARATE, np.arange(34.0), gs.Pairwise())


@pytest.mark.parametrize("method", ["auto", "tuned", "chebyshev", "jacobi", "simple"])
@pytest.mark.parametrize("nodes", [60, 1200])
def test_the_accuracy_is_that_of_the_values_given(method, nodes):
    """Values that vary slowly over the network take more rounds than independent ones."""
    net = gs.Network.from_networkx(
        nx.random_geometric_graph(nodes, {60: 0.25, 1200: 0.08}[nodes], seed=1), largest=True
    )
    values = np.linspace(0, 1, net.nodes) ** 2
    found = gs.average(net, values, method=method, accuracy=1e-2)
    spread = np.sqrt(((found.values - values.mean()) ** 2).mean()) / values.std()
    assert spread <= 1e-2 * (1 + 1e-6)
    fewer = gs.average(net, values, method=found.method, rounds=found.rounds - 1)
    assert np.sqrt(((fewer.values - values.mean()) ** 2).mean()) / values.std() > 1e-2


def test_large_slow_networks_are_right_or_say_so():
    """On a path of n nodes metropolis weights have the eigenvalues 1 - (2 - 2 cos(pi k / n)) / 3."""
    for nodes in (1_500, 5_000):
        net = gs.Network(np.stack([np.arange(nodes - 1), np.arange(1, nodes)], axis=1))
        eigenvalues = 1 - (2 - 2 * np.cos(np.pi * np.arange(nodes) / nodes)) / 3
        assert net.gap == pytest.approx(1 - eigenvalues[1], rel=1e-6)
        assert net.smallest_eigenvalue == pytest.approx(eigenvalues[-1], abs=1e-9)
        assert net.spectral_dimension == pytest.approx(1.0, abs=0.08)
        if nodes == 1_500:
            exact = Measure(eigenvalues[1:], np.full(nodes - 1, 1 / nodes))
            found = rounds_to(gs.Chebyshev(), net, measure_of(net), 1e-3)
            assert found == pytest.approx(rounds_to(gs.Chebyshev(), net, exact, 1e-3), abs=4)
    row = by_name(gs.advise(net))["chebyshev"]
    assert row.rounds is None
    assert row.note == "more than 1599 rounds, all that Lanczos resolves"


def test_curves_of_reference_have_no_rounds_to_an_accuracy():
    with pytest.raises(ValueError, match="method='ParameterFree' is a curve of reference; accepted: with rounds="):
        gs.average(KARATE, np.arange(34.0), method=gs.ParameterFree())
    assert gs.average(KARATE, np.arange(34.0), method=gs.ParameterFree(), rounds=5).rounds == 5
