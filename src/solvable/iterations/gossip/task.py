"""What is averaged: values on the nodes of a network, and laws of networks."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy.spatial import KDTree

from solvable.iterations.gossip.network import WEIGHTS, Network
from solvable.lab.declare import Checked, converted, flag, instance, on_the_host, real, whole, word
from solvable.numerics.random import a_key
from solvable.numerics.validation import choice, floating, integer

MOST_DRAWS = 1_000


def _a_network(network: Any) -> Network:
    return instance("network", network, (Network,))


def _some_values(values: Any) -> Any:
    """None for values that are drawn."""
    if values is None:
        return None
    if isinstance(values, str):
        choice("values", values, ("normal",))
        return None
    found = floating("values", values, np.float64)
    if found.ndim not in (1, 2) or 0 in found.shape:
        raise ValueError(f"values has shape {found.shape}; accepted: (n,) or (n, k)")
    return found


class Averaging(Checked):
    """Values on the nodes of one network, whose mean every node wants to know.

    values: "normal", independent N(0, 1) that every draw draws anew, or numbers (n,) or (n, k), one value or k a node.
    Kept as None, or (n,) or (n, k) float64.

    Raises: TypeError for what is no `Network`; ValueError for values of another length.
    """

    network: Network = converted(_a_network, static=True)
    values: Any = converted(_some_values, "normal")

    def __check_init__(self) -> None:
        if self.values is not None and len(self.values) != self.network.nodes:
            raise ValueError(f"values has {len(self.values)} rows; accepted: {self.network.nodes}, one a node")

    def sample(self, key: Any = None) -> Averaging:
        """Itself, or with values drawn."""
        return self if self.values is not None else Averaging(self.network, _normal(generator(key), self.network))

    @property
    def columns(self) -> np.ndarray:
        """The values as columns (n, k)."""
        assert self.values is not None
        return np.reshape(self.values, (self.network.nodes, -1))


class NetworkLaw(Checked):
    """A law of networks, with independent standard normal values on the nodes."""

    @abc.abstractmethod
    def draw(self, random: np.random.Generator) -> Network:
        """One network."""

    def sample(self, key: Any = None) -> Averaging:
        """Draw a network, and values."""
        on_the_host("sample", self, key)
        random = generator(key)
        network = self.draw(random)
        return Averaging(network, _normal(random, network))


def _shape(shape: Any) -> tuple[int, ...]:
    sides = shape if isinstance(shape, Sequence | np.ndarray) and not isinstance(shape, str | bytes) else [shape]
    found = tuple(integer("shape", side, at_least=1) for side in sides)
    if math.prod(found) < 2:
        raise ValueError(f"shape={shape!r} has one node; accepted: sides of which one is above 1")
    return found


class _Shaped(NetworkLaw):
    shape: Any = converted(_shape, static=True)


class Grid(_Shaped):
    """The grid of a shape, (40, 40) or (12, 12, 12), neighbours at distance one; `periodic` closes every side.

    weights: a word of `Network`; "degree_bound" is 1 / (2 dim), as in the code of arXiv:1805.08531.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    weights: str = word("degree_bound", *(one for one in WEIGHTS if one != "degree_bound"))
    periodic: bool = flag()

    def __check_init__(self) -> None:
        if self.periodic and min(self.shape) < 3:
            raise ValueError(f"shape={self.shape} is not accepted with periodic=True; accepted: sides of 3 or more")

    @property
    def network(self) -> Network:
        """The one network of this law."""
        made = Network(_grid_edges(self.shape, self.periodic), math.prod(self.shape), self._weights())
        if self.weights == "degree_bound":  # products of paths or cycles: sums of cosines
            made.__dict__["eigenvalues"] = _cosines(self.shape, self.periodic)
        return made

    def draw(self, random: np.random.Generator) -> Network:
        """The grid."""
        return self.network

    def _weights(self) -> Any:
        if self.weights != "degree_bound":
            return self.weights
        # sides of length 1 and 2 have fewer neighbours; the weight of the code is that of a long grid
        return np.full(len(_grid_edges(self.shape, self.periodic)), 0.5 / len(self.shape))


class _Kept(_Shaped):
    probability: Any = real(above=0.0, at_most=1.0)


class Percolation(_Kept):
    """The largest component of a grid of which each edge is kept with a probability (arXiv:1805.08531, Fig. 2 C, D).

    W = I - (D - A) / (2 dim), as in the code of the source.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    def draw(self, random: np.random.Generator) -> Network:
        """Keep edges until two nodes are joined."""
        edges = _grid_edges(self.shape, False)
        for _ in range(MOST_DRAWS):
            kept = edges[random.random(len(edges)) < float(self.probability)]
            if len(kept):
                weights = np.full(len(kept), 0.5 / len(self.shape))
                return Network(kept, math.prod(self.shape), weights, largest=True)
        raise RuntimeError(
            f"probability={float(self.probability):g} left no edge in {MOST_DRAWS} draws of {self.shape}"
        )


class RandomGeometric(NetworkLaw):
    """The largest component of points in the unit cube, joined up to a distance (arXiv:1805.08531, Fig. 2 E, F).

    nodes: the number of points; dim: that of the cube; radius: the distance. W_vw = min(1/d_v, 1/d_w).

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    nodes: int = whole(at_least=2)
    dim: int = whole(2, at_least=1)
    radius: Any = real(0.1, above=0.0)

    def draw(self, random: np.random.Generator) -> Network:
        """Draw points until two are joined."""
        for _ in range(MOST_DRAWS):
            points = random.random((self.nodes, self.dim))
            pairs = KDTree(points).query_pairs(float(self.radius), output_type="ndarray")
            if len(pairs):
                return Network(pairs, self.nodes, "authors", labels=list(map(tuple, points)), largest=True)
        raise RuntimeError(f"radius={float(self.radius):g} joined no two of {self.nodes} points in {MOST_DRAWS} draws")


class RandomRegular(NetworkLaw):
    """A uniform connected network in which every node has the same degree, by pairing and rejection of parallel edges.

    nodes times degree is even. W = A / degree.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    nodes: int = whole(at_least=3)
    degree: int = whole(3, at_least=2)

    def __check_init__(self) -> None:
        if self.degree >= self.nodes or self.nodes * self.degree % 2:
            raise ValueError(
                f"degree={self.degree} is not accepted with nodes={self.nodes}; accepted: degree < nodes, and an even "
                "product of the two"
            )

    def draw(self, random: np.random.Generator) -> Network:
        """A connected network of networkx's generator, which is asymptotically uniform."""
        networkx = graphs()
        for _ in range(MOST_DRAWS):
            graph = networkx.random_regular_graph(self.degree, self.nodes, seed=int(random.integers(2**31)))
            if networkx.is_connected(graph):
                pairs = np.sort(np.array(graph.edges), axis=1)
                return Network(pairs[np.lexsort(pairs.T)], self.nodes, "authors")
        raise RuntimeError(
            f"degree={self.degree} gave no connected network in {MOST_DRAWS} draws of {self.nodes} nodes"
        )


def graphs() -> Any:
    """networkx, which is an extra.

    Raises: ImportError that says how to install it.
    """
    try:
        import networkx
    except ImportError:
        raise ImportError("networkx is not installed; accepted: pip install 'solvable[graphs]'") from None
    return networkx


def generator(key: Any) -> np.random.Generator:
    """The random numbers of a key: networks differ in size, and nothing is to be compiled for each."""
    key = a_key(key)
    words = np.asarray(key if key.dtype == np.uint32 else jax.random.key_data(key))
    return np.random.default_rng(words.ravel().tolist())


def _normal(random: np.random.Generator, network: Network) -> np.ndarray:
    return random.standard_normal(network.nodes)


def _grid_edges(shape: tuple[int, ...], periodic: bool) -> np.ndarray:
    places = np.arange(math.prod(shape)).reshape(shape)
    found = []
    for axis, side in enumerate(shape):
        neighbours = np.roll(places, -1, axis)
        last = side if periodic else side - 1
        found.append(np.stack([one.take(range(last), axis).ravel() for one in (places, neighbours)], axis=1))
    return np.concatenate(found)


def _cosines(shape: tuple[int, ...], periodic: bool) -> np.ndarray:
    total = np.zeros(1)
    for side in shape:
        angles = np.arange(side) * (2.0 if periodic else 1.0) * np.pi / side
        total = np.add.outer(total, 2.0 - 2.0 * np.cos(angles)).ravel()
    return np.sort(1.0 - 0.5 * total / len(shape))[::-1]
