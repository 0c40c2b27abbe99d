"""Networks: edges, the weights with which neighbours average, the rates at which they wake, and their spectra."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse import csgraph

from solvable.iterations.gossip.spectrum import SpectralDimension, extreme_eigenvalue, heat_dimension
from solvable.numerics.validation import choice, floating, integer, real_array, truth

WEIGHTS = ("metropolis", "authors", "max_degree", "lazy", "degree_bound")
MOST_DENSE = 5_000  # nodes of which all eigenvalues are found
MOST_MOMENTS = 3_000  # nodes of which second moments are kept
FEW = 1_000  # nodes of which all eigenvalues are found to know one
ROUNDING = 1e-10


class Network:
    """A connected undirected network with m edges, its gossip matrix W and its Poisson clocks.

    edges: (m, 2) whole numbers from 0, each edge once. nodes: their number n; None, one more than the largest in edges.
    weights: the entries W_vw on the edges; W is symmetric and its rows sum to 1.

    * "metropolis": 1 / (1 + max(d_v, d_w)), which leaves something on every node and never gets stuck on a bipartite
      graph; "authors": min(1/d_v, 1/d_w); "max_degree": 1 / (1 + max d); "lazy": half of "metropolis";
      "degree_bound": 1 / max d.
    * (m,) numbers in the order of the edges, or W itself (n, n), dense or sparse.

    rates: the share of activations that each edge has in asynchronous gossip, "uniform" or (m,) numbers; they sum to 1,
    so that one edge wakes in a unit of time. largest: whether the largest component of a network in pieces is taken.

    Attributes: `edges` (m, 2), `nodes`, `weights` (m,), `rates` (m,), `labels` (n,), the names of the nodes.

    Raises: ValueError for self-edges and duplicates, for a network in pieces, whose components it names, for weights of
    which W would not be symmetric with row sums 1 and eigenvalues in [-1, 1], and for negative rates.
    """

    def __init__(
        self,
        edges: Any,
        nodes: int | None = None,
        weights: Any = "metropolis",
        rates: Any = "uniform",
        *,
        labels: Sequence[Any] | None = None,
        largest: bool = False,
    ) -> None:
        pairs = _edges(edges)
        count = int(pairs.max()) + 1
        nodes = count if nodes is None else integer("nodes", nodes, at_least=2)
        if count > nodes:
            raise ValueError(f"nodes={nodes} is fewer than edges name; accepted: at least {count}")
        if labels is not None and len(labels) != nodes:
            raise ValueError(f"labels has {len(labels)} entries; accepted: {nodes}, one a node")
        names = list(range(nodes) if labels is None else labels)
        weights, rates = _given_weights(weights, pairs, nodes), _given_rates(rates, len(pairs))
        inside = _component(pairs, nodes, names, truth("largest", largest))
        if inside is not None:
            kept, place = inside[pairs[:, 0]], np.cumsum(inside) - 1
            pairs, rates = place[pairs[kept]], rates[kept]
            weights = weights if isinstance(weights, str) else weights[kept]
            names, nodes = [name for name, there in zip(names, inside, strict=True) if there], int(inside.sum())
        if rates.sum() <= 0.0:
            raise ValueError("rates are all zero; accepted: numbers >= 0, one above 0")
        self.edges, self.nodes, self.labels = pairs, nodes, names
        self.degrees = np.bincount(pairs.ravel(), minlength=nodes)
        self.weights = _built(weights, pairs, self.degrees) if isinstance(weights, str) else weights
        self.rates = rates / rates.sum()
        self.kind = weights if isinstance(weights, str) else "own"
        self._require_spectrum()

    # ---- readers

    @classmethod
    def from_networkx(cls, graph: Any, weights: Any = "metropolis", rates: Any = "uniform", **options: Any) -> Network:
        """The network of an undirected graph of networkx; its nodes are `labels`, in their order.

        Edge attributes are ignored, but with weights="weight", which takes the attribute of this name for W_vw.

        Raises: TypeError for what is no graph; ValueError for directed graphs and multigraphs.
        """
        if not all(hasattr(graph, name) for name in ("nodes", "edges", "is_directed", "is_multigraph")):
            raise TypeError(f"graph={type(graph).__name__} is not accepted; accepted: a graph of networkx")
        if graph.is_directed() or graph.is_multigraph():
            raise ValueError("graph is directed or has parallel edges; accepted: networkx.Graph(graph) of it")
        labels = list(graph.nodes)
        place = {label: number for number, label in enumerate(labels)}
        pairs = [(place[one], place[two]) for one, two in graph.edges]
        if isinstance(weights, str) and weights == "weight":
            weights = [graph.edges[edge].get("weight") for edge in graph.edges]
            if None in weights:
                raise ValueError("weights='weight' is not on every edge of graph; accepted: graphs where it is")
        return cls(pairs, len(labels), weights, rates, labels=labels, **options)

    @classmethod
    def from_scipy(cls, adjacency: Any, weights: Any = "metropolis", rates: Any = "uniform", **options: Any) -> Network:
        """The network of a symmetric adjacency matrix (n, n), sparse or dense, with an edge where it is not zero.

        Its numbers are ignored, but with weights="weight", which takes them for W_vw.

        Raises: ValueError for a matrix that is not square and symmetric.
        """
        matrix: Any = sp.csr_array(adjacency)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"adjacency has shape {matrix.shape}; accepted: (n, n)")
        matrix.eliminate_zeros()
        if (abs(matrix - matrix.T) > ROUNDING * abs(matrix).max()).nnz:
            raise ValueError("adjacency is not symmetric; accepted: the matrix of an undirected network")
        upper = sp.triu(matrix).tocoo()
        pairs = np.stack([upper.row, upper.col], axis=1)
        weights = upper.data if isinstance(weights, str) and weights == "weight" else weights
        return cls(pairs, matrix.shape[0], weights, rates, **options)

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        weights: Any = "metropolis",
        rates: Any = "uniform",
        **options: Any,
    ) -> Network:
        """The network of a list of edges, one a line: two names or numbers, apart by a comma, a tab or a space.

        A line of titles (source, target, ...) and comments after # are passed over. weights="weight" takes the third
        column for W_vw.

        Raises: FileNotFoundError; ValueError for lines with another number of columns.
        """
        from solvable.iterations.gossip.reading import read_edges

        pairs, labels, third = read_edges(path, needs_third=isinstance(weights, str) and weights == "weight")
        weights = third if third is not None else weights
        return cls(pairs, len(labels), weights, rates, labels=labels, **options)

    # ---- matrices

    @functools.cached_property
    def self_weights(self) -> np.ndarray:
        """The diagonal of W (n,): what a node keeps of its own value."""
        return 1.0 - np.bincount(self.edges.ravel(), np.repeat(self.weights, 2), self.nodes)

    @functools.cached_property
    def matrix(self) -> sp.csr_array:
        """The gossip matrix W (n, n), sparse, symmetric, with row sums 1."""
        return _symmetric(self.edges, self.weights, self.self_weights)

    @functools.cached_property
    def laplacian(self) -> sp.csr_array:
        """sum_e P_e (e_v - e_w)(e_v - e_w)^T with the rates P (n, n), sparse."""
        diagonal = np.bincount(self.edges.ravel(), np.repeat(self.rates, 2), self.nodes)
        return _symmetric(self.edges, -self.rates, diagonal)

    # ---- spectra

    @functools.cached_property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues of W (n,), from lam_1 = 1 down.

        Raises: ValueError above 5 000 nodes.
        """
        self.require_dense("eigenvalues", MOST_DENSE, "`gap` and `smallest_eigenvalue`, which Lanczos finds")
        return np.linalg.eigvalsh(self.matrix.toarray())[::-1]

    @functools.cached_property
    def modes(self) -> tuple[np.ndarray, np.ndarray]:
        """The eigenvalues of W (n,) from 1 down, and their eigenvectors as columns (n, n); refused as `eigenvalues`."""
        self.require_dense("modes", MOST_DENSE, "a simulation")
        values, vectors = np.linalg.eigh(self.matrix.toarray())
        return values[::-1], vectors[:, ::-1]

    @functools.cached_property
    def gap(self) -> float:
        """1 - lam_2: what the slowest mode loses in a round."""
        return 1.0 - self._extreme("LA")

    @functools.cached_property
    def smallest_eigenvalue(self) -> float:
        """lam_n; -1 where W moves everything from one half of a bipartite graph to the other."""
        return self._extreme("SA")

    @functools.cached_property
    def pairwise_gap(self) -> float:
        """mu_g, the smallest eigenvalue but 0 of `laplacian`: the rate at which single activations spread."""
        if self.nodes <= FEW:
            return float(np.linalg.eigvalsh(self.laplacian.toarray())[1])
        largest = 2.0 * float(self.laplacian.diagonal().max())
        turned = largest * sp.eye_array(self.nodes, format="csr") - self.laplacian
        return largest - extreme_eigenvalue(turned, "LA", {})

    @functools.cached_property
    def inverse_laplacian(self) -> np.ndarray:
        """The pseudo-inverse of `laplacian` (n, n), dense.

        Raises: ValueError above 3 000 nodes.
        """
        self.require_dense("resistances", MOST_MOMENTS, "a smaller network")
        mean = np.full((self.nodes, self.nodes), 1.0 / self.nodes)
        return np.linalg.inv(self.laplacian.toarray() + mean) - mean

    @functools.cached_property
    def resistances(self) -> np.ndarray:
        """The effective resistances r_e = (e_v - e_w)^T L^+ (e_v - e_w) of the edges (m,), L the `laplacian`.

        sum_e P_e r_e = n - 1 (Foster). Raises: ValueError above 3 000 nodes.
        """
        inverse, (first, second) = self.inverse_laplacian, self.edges.T
        return inverse[first, first] + inverse[second, second] - 2.0 * inverse[first, second]

    @functools.cached_property
    def spectral_dimension(self) -> SpectralDimension:
        """-2 d log p / d log t of the heat kernel p(t) = sum_(i >= 2) e^(-t (1 - lam_i)) / n over its `.window` of
        times; NaN where the network is too small or too well connected to have one.
        """
        return heat_dimension(self)

    @functools.cached_property
    def checkerboard(self) -> bool:
        """Whether -1 is an eigenvalue of W."""
        if self.weights.min() < 0.0 or self.self_weights.min() < -ROUNDING:
            return self.smallest_eigenvalue <= -1.0 + ROUNDING
        if self.self_weights.max() > ROUNDING:
            return False
        return self.bipartite

    @functools.cached_property
    def bipartite(self) -> bool:
        """Whether every edge joins two halves of the nodes."""
        return _bipartite(self.edges, self.nodes)

    def __repr__(self) -> str:
        """Its sizes and its weights."""
        return f"Network(nodes={self.nodes}, edges={len(self.edges)}, weights={self.kind!r})"

    # ---- helpers

    def _extreme(self, which: str) -> float:
        if "eigenvalues" in self.__dict__ or self.nodes <= FEW:
            return float(self.eigenvalues[1 if which == "LA" else -1])
        return extreme_eigenvalue(self.matrix, which, self.__dict__.setdefault("_lanczos", {}))

    def require_dense(self, what: str, most: int, instead: str) -> None:
        if self.nodes > most:
            raise ValueError(
                f"{what} of nodes={self.nodes} is not computed; accepted: at most {most} nodes, or {instead}"
            )

    def _require_spectrum(self) -> None:
        for name, numbers in (("weights", self.weights), ("rates", self.rates)):
            if not numbers.all():
                graph = _graph(self.edges[numbers != 0.0], self.nodes)
                if csgraph.connected_components(graph, directed=False, return_labels=False) > 1:
                    raise ValueError(f"{name} are 0 where they hold the network together; accepted: numbers above 0")
        if self.weights.min() >= 0.0 and self.self_weights.min() >= -ROUNDING:
            return  # all circles of Gershgorin lie in [-1, 1]
        if self.smallest_eigenvalue < -1.0 - ROUNDING or self.gap <= 0.0:
            raise ValueError(
                f"weights give W the eigenvalues {self.smallest_eigenvalue:.6g} to {1.0 - self.gap:.6g}; accepted: "
                "weights of which those but the first lie in [-1, 1), as when rows of weights sum to 1 at most"
            )


def _symmetric(edges: np.ndarray, entries: np.ndarray, diagonal: np.ndarray) -> sp.csr_array:
    (first, second), own = edges.T, np.arange(len(diagonal))
    rows, columns = np.concatenate([first, second, own]), np.concatenate([second, first, own])
    data = np.concatenate([entries, entries, diagonal])
    return sp.csr_array(sp.coo_array((data, (rows, columns)), shape=(len(diagonal), len(diagonal))))


def _edges(edges: Any) -> np.ndarray:
    pairs = np.asarray(real_array("edges", list(edges) if isinstance(edges, range | set) else edges))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0:
        raise ValueError(f"edges has shape {pairs.shape}; accepted: (m, 2) with m >= 1")
    if not np.all(np.isfinite(pairs)) or np.any(pairs != np.round(pairs)) or pairs.min() < 0:
        raise ValueError("edges holds what is no number of a node; accepted: whole numbers >= 0")
    pairs = pairs.astype(np.int64)
    loops = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
    if loops.size:
        one = tuple(pairs[loops[0]].tolist())
        raise ValueError(f"edges holds the self-edge {one} in row {loops[0]}; accepted: edges between two nodes")
    sides = np.sort(pairs, axis=1)
    _, first, count = np.unique(sides, axis=0, return_index=True, return_counts=True)
    if np.any(count > 1):
        one = sides[first[count > 1].min()]
        rows = np.flatnonzero(np.all(sides == one, axis=1))[:2]
        raise ValueError(
            f"edges holds {tuple(one.tolist())} twice, in rows {rows[0]} and {rows[1]}; accepted: each edge once, in "
            "one direction"
        )
    return pairs


def _graph(pairs: np.ndarray, nodes: int) -> sp.csr_array:
    return sp.csr_array(sp.coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(nodes, nodes)))


def _component(pairs: np.ndarray, nodes: int, names: Sequence[Any], largest: bool) -> np.ndarray | None:
    """Which nodes are kept; None, all of them."""
    count, component = csgraph.connected_components(_graph(pairs, nodes), directed=False)
    if count == 1:
        return None
    sizes = np.bincount(component)
    order = np.argsort(-sizes, kind="stable")
    if not largest:
        shown = [f"{sizes[one]} ({names[int(np.argmax(component == one))]!r}, ...)" for one in order[:4]]
        more = ", ..." if count > 4 else ""
        raise ValueError(
            f"edges leave {count} components of nodes: {', '.join(shown)}{more}; accepted: a connected network, or "
            "largest=True, which takes the first of them"
        )
    return component == order[0]


def _given_weights(weights: Any, pairs: np.ndarray, nodes: int) -> Any:
    """A word, or one number an edge."""
    if isinstance(weights, str):
        if weights == "weight":
            raise ValueError("weights='weight' has no numbers here; accepted: a graph or a file that has them")
        return choice("weights", weights, WEIGHTS)
    if sp.issparse(weights) or np.ndim(weights) == 2:
        matrix = sp.csr_array(weights if sp.issparse(weights) else floating("weights", weights, np.float64))
        if matrix.shape != (nodes, nodes):
            raise ValueError(f"weights has shape {matrix.shape}; accepted: ({len(pairs)},) or ({nodes}, {nodes})")
        if not np.all(np.isfinite(matrix.data)) or abs(matrix - matrix.T).max() > ROUNDING:
            raise ValueError("weights is not symmetric; accepted: a symmetric matrix with row sums 1")
        rows = np.asarray(matrix.sum(axis=1)).ravel()
        if np.abs(rows - 1.0).max() > ROUNDING:
            place = int(np.argmax(np.abs(rows - 1.0)))
            raise ValueError(f"weights has row sum {rows[place]:g} in row {place}; accepted: row sums 1")
        found = np.asarray(matrix[pairs[:, 0], pairs[:, 1]]).ravel()
        off = abs(matrix).sum() - abs(matrix.diagonal()).sum()
        if abs(off - 2.0 * np.abs(found).sum()) > ROUNDING * max(1.0, float(off)):
            raise ValueError("weights has entries where edges has none; accepted: entries on the edges alone")
        return found
    found = floating("weights", weights, np.float64)
    if found.shape != (len(pairs),):
        raise ValueError(f"weights has shape {found.shape}; accepted: ({len(pairs)},) or ({nodes}, {nodes})")
    return found


def _built(word: str, pairs: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    larger = degrees[pairs].max(axis=1)
    if word == "authors":
        return 1.0 / larger
    if word == "max_degree":
        return np.full(len(pairs), 1.0 / (1.0 + degrees.max()))
    if word == "degree_bound":
        return np.full(len(pairs), 1.0 / degrees.max())
    return (0.5 if word == "lazy" else 1.0) / (1.0 + larger)


def _given_rates(rates: Any, count: int) -> np.ndarray:
    if isinstance(rates, str):
        choice("rates", rates, ("uniform",))
        return np.full(count, 1.0 / count)
    found = floating("rates", rates, np.float64)
    if found.shape != (count,):
        raise ValueError(f"rates has shape {found.shape}; accepted: ({count},)")
    if found.min() < 0.0:
        raise ValueError(f"rates holds {found.min():g}; accepted: numbers >= 0")
    if abs(found.sum() - 1.0) > 1e-9:
        warnings.warn(f"rates sum to {found.sum():g} and are divided by it, so that they sum to 1", stacklevel=4)
    return found


def _bipartite(pairs: np.ndarray, nodes: int) -> bool:
    order, parent = csgraph.breadth_first_order(_graph(pairs, nodes), 0, directed=False)
    depth = np.zeros(nodes, np.int64)
    for node in order[1:]:
        depth[node] = depth[parent[node]] + 1
    return bool(np.all(depth[pairs[:, 0]] % 2 != depth[pairs[:, 1]] % 2))
