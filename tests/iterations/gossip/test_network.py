"""Networks: their weights and spectra, what is read from graphs and files, and what is refused."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from solvable.iterations import gossip as gs

TRIANGLE = [(0, 1), (1, 2), (2, 0), (2, 3)]
KARATE = nx.karate_club_graph()


@pytest.mark.parametrize("weights", ["metropolis", "authors", "max_degree", "lazy", "degree_bound"])
def test_weights_are_those_of_their_formula(weights):
    net = gs.Network(TRIANGLE, weights=weights)
    adjacency = nx.to_numpy_array(nx.Graph(TRIANGLE), nodelist=range(4))
    degrees = adjacency.sum(axis=1)
    larger = np.maximum.outer(degrees, degrees)
    off = {
        "metropolis": 1 / (1 + larger),
        "authors": 1 / larger,
        "max_degree": np.full((4, 4), 1 / 4),
        "lazy": 0.5 / (1 + larger),
        "degree_bound": np.full((4, 4), 1 / 3),
    }[weights]
    expected = adjacency * off
    expected += np.diag(1 - expected.sum(axis=1))
    np.testing.assert_allclose(net.matrix.toarray(), expected, atol=1e-15)
    np.testing.assert_allclose(net.eigenvalues, np.linalg.eigvalsh(expected)[::-1], atol=1e-14)
    assert net.gap == pytest.approx(1 - net.eigenvalues[1], abs=1e-14)
    assert net.smallest_eigenvalue == pytest.approx(net.eigenvalues[-1], abs=1e-14)


def test_weights_may_be_numbers_or_the_matrix():
    by_word = gs.Network(TRIANGLE, weights="metropolis")
    for weights in (by_word.weights, list(by_word.weights), by_word.matrix, by_word.matrix.toarray()):
        np.testing.assert_allclose(gs.Network(TRIANGLE, weights=weights).matrix.toarray(), by_word.matrix.toarray())


@pytest.mark.parametrize(("shape", "periodic"), [((4, 5), False), ((3, 4, 2), False), ((7,), True), ((3, 4), True)])
def test_eigenvalues_of_grids_are_cosines(shape, periodic):
    net = gs.Grid(shape, periodic=periodic).network
    np.testing.assert_allclose(net.eigenvalues, np.linalg.eigvalsh(net.matrix.toarray())[::-1], atol=1e-13)


def test_ends_of_large_spectra_are_those_of_all_of_it():
    """Lanczos, and factors where eigenvalues crowd."""
    net = gs.Grid((35, 35), weights="metropolis").network
    assert net.nodes > 1000
    exact = np.linalg.eigvalsh(net.matrix.toarray())
    assert net.gap == pytest.approx(1 - exact[-2], rel=1e-7)
    assert net.smallest_eigenvalue == pytest.approx(exact[0], abs=1e-9)
    assert net.pairwise_gap == pytest.approx(np.linalg.eigvalsh(net.laplacian.toarray())[1], rel=1e-6)


def test_resistances_sum_as_foster_says():
    for rates in ("uniform", np.random.default_rng(0).random(KARATE.number_of_edges()) + 0.1):
        if not isinstance(rates, str):
            rates = rates / rates.sum()
        net = gs.Network.from_networkx(KARATE, rates=rates)
        assert net.rates @ net.resistances == pytest.approx(33, rel=1e-12)
        exact = np.linalg.pinv(net.laplacian.toarray())
        first, second = net.edges[5]
        expected = exact[first, first] + exact[second, second] - 2 * exact[first, second]
        assert net.resistances[5] == pytest.approx(expected, rel=1e-10)
        assert net.pairwise_gap == pytest.approx(np.linalg.eigvalsh(net.laplacian.toarray())[1], rel=1e-10)


def test_the_spectral_dimension_of_grids():
    for shape, dim in (((400,), 1), ((40, 40), 2), ((12, 12, 12), 3)):
        found = gs.Grid(shape).network.spectral_dimension
        assert float(found) == pytest.approx(dim, abs=0.1)
        assert 0 < found.window[0] < found.window[1]
    assert np.isnan(gs.Network.from_networkx(nx.complete_graph(8)).spectral_dimension)


# ---- readers


def test_graphs_and_matrices_are_read_alike():
    net = gs.Network.from_networkx(KARATE, weights="authors")
    other = gs.Network.from_scipy(nx.to_scipy_sparse_array(KARATE), weights="authors")
    np.testing.assert_allclose(net.matrix.toarray(), other.matrix.toarray())
    assert net.labels == list(KARATE.nodes)
    # the attribute "weight" of this graph counts meetings, and is no weight of gossip unless asked for
    assert np.unique(net.weights).size > 1
    assert np.all(net.weights <= 1)
    with pytest.raises(ValueError, match="weights give W the eigenvalues"):
        gs.Network.from_networkx(KARATE, weights="weight")
    small = nx.Graph()
    small.add_weighted_edges_from([("a", "b", 0.25), ("b", "c", 0.5)])
    assert gs.Network.from_networkx(small, weights="weight").weights.tolist() == [0.25, 0.5]
    assert gs.Network.from_scipy(nx.to_scipy_sparse_array(small), weights="weight").weights.tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("text", "labels", "edges"),
    [
        ("source,target\nx,y\ny,z\n", ["x", "y", "z"], [[0, 1], [1, 2]]),
        ("# a comment\n3 1\n1\t7\n", [1, 3, 7], [[1, 0], [0, 2]]),
        ('"Valjean, Jean";Javert\nJavert;Fantine\n', ["Valjean, Jean", "Javert", "Fantine"], [[0, 1], [1, 2]]),
        ("one,two\n1,2\n2,3\n", [1, 2, 3], [[0, 1], [1, 2]]),
        ("a b\nb c\n", ["a", "b", "c"], [[0, 1], [1, 2]]),
        ("a,b,0.25\nb,c,0.5\n", ["a", "b", "c"], [[0, 1], [1, 2]]),
        ("\ufeff01,1\n1,2", ["01", "1", "2"], [[0, 1], [1, 2]]),
    ],
)
def test_files_of_edges(tmp_path, text, labels, edges):
    path = tmp_path / "edges.csv"
    path.write_text(text, encoding="utf-8")
    net = gs.Network.from_csv(path)
    assert net.labels == labels
    assert net.edges.tolist() == edges
    if "0.25" in text:
        assert gs.Network.from_csv(path, weights="weight").weights.tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no edges"),
        (b"a,b\nc\n", "line 2 is no edge"),
        (b"a,b\n,c\n", "line 2 is no edge"),
        (b"a,b\nb,b\n", "line 2 joins 'b' to itself"),
        (b"# names\na,b\nb,a\n", "lines 2 and 3 hold the same edge, 'b' and 'a'"),
        (b"\xff\xfe\x00\x81", "is no text"),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    path = tmp_path / "edges.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        gs.Network.from_csv(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        gs.Network.from_csv(tmp_path / "none.csv")


# ---- what is refused


PIECES = [(0, 1), (1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"edges": [(0, 0), (0, 1)]}, r"self-edge \(0, 0\) in row 0"),
        ({"edges": [(0, 1), (1, 2), (1, 0)]}, r"\(0, 1\) twice, in rows 0 and 2"),
        ({"edges": [(0, 1.5)]}, "no number of a node"),
        ({"edges": [(-1, 1)]}, "no number of a node"),
        ({"edges": [0, 1]}, "shape"),
        ({"edges": PIECES}, r"2 components of nodes: 3 \(0, ...\), 2 \(3, ...\)"),
        ({"edges": TRIANGLE, "nodes": 5}, "2 components"),
        ({"edges": TRIANGLE, "nodes": 3}, "nodes=3 is fewer"),
        ({"edges": TRIANGLE, "weights": "uniform"}, "weights='uniform' is unknown"),
        ({"edges": TRIANGLE, "weights": [0.1, 0.2]}, "weights has shape"),
        ({"edges": TRIANGLE, "weights": [1.0, 1.0, 1.0, 1.0]}, "weights give W the eigenvalues"),
        ({"edges": TRIANGLE, "weights": [0.1, 0.1, 0.1, 0.0]}, "hold the network together"),
        ({"edges": TRIANGLE, "weights": np.diag([1.0] * 3)}, "weights has shape"),
        ({"edges": TRIANGLE, "weights": np.triu(np.full((4, 4), 0.25))}, "not symmetric"),
        ({"edges": TRIANGLE, "weights": np.full((4, 4), 0.2)}, "row sum 0.8 in row 0"),
        ({"edges": TRIANGLE, "weights": np.full((4, 4), 0.25)}, "entries where edges has none"),
        ({"edges": TRIANGLE, "rates": [0.5, 0.7, -0.2, 0.0]}, "rates holds -0.2"),
        ({"edges": TRIANGLE, "rates": [0.5, 0.5]}, "rates has shape"),
        ({"edges": TRIANGLE, "rates": [0.5, 0.25, 0.25, 0.0]}, "rates are 0 where they hold"),
    ],
)
def test_what_is_no_network(arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        gs.Network(**arguments)
    assert "accepted" in str(caught.value)


def test_the_largest_component_keeps_its_numbers():
    names = ["a", "b", "c", "d", "e"]
    net = gs.Network(PIECES, weights=[0.1, 0.2, 0.3], rates=[0.25, 0.25, 0.5], labels=names, largest=True)
    assert net.labels == ["a", "b", "c"]
    assert net.weights.tolist() == [0.1, 0.2]
    assert net.rates.tolist() == [0.5, 0.5]
    assert gs.Network([(0, 1), (4, 2), (2, 3)], largest=True).edges.tolist() == [[2, 0], [0, 1]]


def test_rates_are_made_to_sum_to_one_with_a_warning():
    with pytest.warns(UserWarning, match="rates sum to 2"):
        net = gs.Network(TRIANGLE, rates=[0.5, 0.5, 0.5, 0.5])
    assert net.rates.tolist() == [0.25] * 4


def test_graphs_that_are_none():
    with pytest.raises(TypeError, match="graph=list"):
        gs.Network.from_networkx([(0, 1)])
    for graph in (nx.DiGraph([(0, 1)]), nx.MultiGraph([(0, 1)])):
        with pytest.raises(ValueError, match="directed or has parallel edges"):
            gs.Network.from_networkx(graph)
    with pytest.raises(ValueError, match="not symmetric"):
        gs.Network.from_scipy(sp.csr_array(np.array([[0, 1.0], [0, 0]])))
    with pytest.raises(ValueError, match="shape"):
        gs.Network.from_scipy(np.ones((2, 3)))


def test_large_networks_say_what_there_is_instead():
    net = gs.Grid((80, 80), weights="metropolis").network
    with pytest.raises(ValueError, match=r"eigenvalues of nodes=6400 is not computed.*Lanczos"):
        _ = net.eigenvalues
    with pytest.raises(ValueError, match=r"second moments of nodes=6400 is not computed.*simulation"):
        gs.predict(gs.Averaging(net), gs.Pairwise())


def test_bipartite_networks_are_found():
    assert gs.Network.from_networkx(nx.cycle_graph(6), weights="authors").checkerboard
    assert not gs.Network.from_networkx(nx.cycle_graph(7), weights="authors").checkerboard
    assert not gs.Network.from_networkx(nx.cycle_graph(6)).checkerboard
    assert not gs.Grid((4, 4)).network.checkerboard
    assert gs.Network([(0, 1)], weights=[1.0]).checkerboard
