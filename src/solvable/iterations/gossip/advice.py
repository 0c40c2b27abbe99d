"""How many rounds and messages averaging takes on a network by each method, and averaging itself."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.iterations.gossip import polynomials
from solvable.iterations.gossip.algorithms import (
    Chebyshev,
    Jacobi,
    LocalAveraging,
    Pairwise,
    ParameterFree,
    ShiftRegister,
    Simple,
    Synchronous,
    Tuned,
)
from solvable.iterations.gossip.moments import activations_to
from solvable.iterations.gossip.network import FEW, Network
from solvable.iterations.gossip.spectrum import SEED, Measure, probes, rule_of
from solvable.iterations.gossip.task import Averaging
from solvable.numerics import notebook
from solvable.numerics.validation import choice, floating, instance, integer, number

if TYPE_CHECKING:
    import pandas

METHODS: dict[str, Any] = {
    "simple": Simple(),
    "jacobi": Jacobi(),
    "jacobi with gap": Jacobi(gap="exact"),
    "shift register": ShiftRegister(),
    "chebyshev": Chebyshev(),
    "tuned": None,
    "pairwise": Pairwise(),
    "accelerated pairwise": Pairwise(True),
}
MOST_ROUNDS, MORE_ROUNDS = 2**16, 1_500
MOST_PAIRS = 300  # nodes of which asynchronous methods are worked out
MOST_ACTIVATIONS = 100  # an edge
PROBED_VALUES, TUNED_VALUES = 200_000, 40_000
TRIED = 3e7  # entries of W that the float32 runs go through


@dataclasses.dataclass(frozen=True)
class MethodAdvice:
    """One method: what it takes to reach the accuracy, None where it does not or cannot, and `note` says why.

    rounds: of all nodes; None for asynchronous methods. messages: 2 |E| a round, 2 an activation. knows: what every
    node has to be told before. floating_error: by how much float32 is off float64 after these rounds, rms, on values
    of unit size (after the first rounds alone on a large network).
    """

    method: str
    rounds: int | None
    messages: int | None
    knows: str
    floating_error: float | None
    note: str
    algorithm: Any


@dataclasses.dataclass(frozen=True)
class Advice:
    """What `advise` found: a row a method, in the order of the messages that they take."""

    network: Network
    accuracy: float
    rows: tuple[MethodAdvice, ...]

    @property
    def best(self) -> MethodAdvice:
        """The method of fewest messages. Raises: ValueError where none reaches the accuracy."""
        if self.rows[0].messages is None:
            raise ValueError(f"accuracy={self.accuracy:g} was reached by no method; accepted: a larger one")
        return self.rows[0]

    def to_frame(self) -> pandas.DataFrame:
        """The table, a row a method."""
        import pandas

        names = [field.name for field in dataclasses.fields(MethodAdvice) if field.name != "algorithm"]
        return pandas.DataFrame([{name: getattr(row, name) for name in names} for row in self.rows])

    def summary(self) -> str:
        """The table as text, and what is best."""
        head = f"{self.network}: to {self.accuracy:g} of the spread of the values (root mean square)"
        lines = [f"{'method':<22} {'rounds':>7} {'messages':>10}  {'must know':<15} {'float32':>8}  note"]
        lines += [
            " ".join(f"{cell:{how}}" for cell, how in zip(self._cells(row), HOW, strict=True)) for row in self.rows
        ]
        return "\n".join([head, *(line.rstrip() for line in lines)])

    __str__ = summary

    def _repr_html_(self) -> str:
        head = f"{self.network}: to {self.accuracy:g} of the spread of the values"
        names = ("method", "rounds", "messages", "must know", "float32", "note")
        return notebook.table(head, names, [self._cells(row) for row in self.rows])

    def _cells(self, row: MethodAdvice) -> tuple[str, ...]:
        rounds = "-" if row.rounds is None else str(row.rounds)
        messages = "-" if row.messages is None else str(row.messages)
        error = "" if row.floating_error is None else f"{row.floating_error:.0e}"
        return row.method, rounds, messages, row.knows, error, row.note


HOW = ("<22", ">7", ">10", "<16", ">8", "<1")


def advise(net: Network, accuracy: float = 1e-3, values: Any = "normal") -> Advice:
    """Rounds and messages by each method until |x - mean| is `accuracy` times what it was at the start, on average.

    values: "normal", independent N(0, 1), or the numbers (n,) or (n, k) to average. Up to 1 000 nodes the spectrum is
    exact; above, a Gauss rule of Lanczos stands for it, and a row says where it does not reach the end of the spectrum.
    Asynchronous methods up to 300 nodes.

    Raises: TypeError for what is no `Network`; ValueError for an accuracy outside (0, 1) and values of another length.
    """
    instance("net", net, (Network,))
    accuracy = float(number("accuracy", accuracy, above=0.0, below=1.0))
    task = Averaging(net, values)
    columns = None if task.values is None else task.columns
    measure = measure_of(net, columns)
    if not measure.shares.sum() > 0.0:
        raise ValueError("values are all equal; accepted: values with something to average")
    rows = []
    for name, algorithm in methods_for(net).items():
        if isinstance(algorithm, Pairwise):
            rows.append(_activations(name, algorithm, net, columns, accuracy))
        else:
            rows.append(_rounds(name, algorithm, net, measure, accuracy, columns))
    order = sorted(rows, key=lambda row: np.inf if row.messages is None else row.messages)
    return Advice(net, accuracy, tuple(order))


def methods_for(net: Network) -> dict[str, Any]:
    """The methods that are compared on a network, by name; a large one needs fewer random vectors to be tuned."""
    return {**METHODS, "tuned": Tuned(max(1, min(8, TUNED_VALUES // net.nodes)), 400)}


def measure_of(net: Network, columns: np.ndarray | None = None) -> Measure:
    """The spectrum of independent normal values, or of columns (n, k): exact up to 1 000 nodes, else a Gauss rule."""
    centred = None if columns is None else columns - columns.mean(axis=0)
    if centred is None and (net.nodes <= FEW or "eigenvalues" in net.__dict__):  # grids come with theirs
        return polynomials.distinct(Measure(net.eigenvalues[1:], np.full(net.nodes - 1, 1.0 / net.nodes)))
    if centred is not None and net.nodes <= FEW:
        eigenvalues, vectors = net.modes
        return Measure(eigenvalues[1:], ((vectors.T @ centred) ** 2).sum(axis=1)[1:] / net.nodes)
    if centred is None:
        return rule_of(net, probes(net.nodes, max(2, min(16, PROBED_VALUES // net.nodes)), SEED + 1), normal=True)
    return rule_of(net, centred, normal=False)


def rounds_to(
    algorithm: Synchronous, net: Network, measure: Measure, accuracy: float, columns: np.ndarray | None = None
) -> int | None:
    """The first round with sum_i shares_i P_t(eigenvalues_i)^2 <= accuracy^2 times its start; None beyond the most
    that is tried, or that the measure is good for.

    Tuned polynomials are small at eigenvalues, and not at the nodes of a Gauss rule: on a large network they are tried
    on `columns`, or on fresh values.
    """
    if isinstance(algorithm, Tuned) and net.nodes > FEW:
        fresh = probes(net.nodes, max(4, min(16, PROBED_VALUES // net.nodes)), SEED + 1)
        start = fresh if columns is None else columns - columns.mean(axis=0)
        most, apply, weights = algorithm.rounds, lambda x: net.matrix @ x, np.ones(net.nodes)
    else:
        start, weights = np.ones(len(measure.eigenvalues)), measure.shares
        most, apply = _most(algorithm, measure), lambda x: measure.eigenvalues * x
    aim, last = accuracy**2 * float((weights @ start**2).sum()), 128
    while True:
        last = min(last, most)
        steps, every = algorithm.recursion(net, last), np.arange(last + 1)
        left = polynomials.path(steps, apply, start, every, lambda x: (weights @ x**2).sum())
        if np.any(left <= aim):
            return int(np.argmax(left <= aim))
        if last == most:
            return None
        last *= 4


def _most(algorithm: Synchronous, measure: Measure) -> int:
    return int(min(algorithm.rounds if isinstance(algorithm, Tuned) else MOST_ROUNDS, measure.rounds))


def _rounds(
    name: str, algorithm: Synchronous, net: Network, measure: Measure, accuracy: float, columns: np.ndarray | None
) -> MethodAdvice:
    try:
        algorithm.require(net)
    except ValueError:
        return MethodAdvice(name, None, None, algorithm.knows, None, "never: bipartite", algorithm)
    rounds = rounds_to(algorithm, net, measure, accuracy, columns)
    if rounds is None and isinstance(algorithm, Tuned) and net.nodes <= TUNED_VALUES // 2:  # few need more than 400
        algorithm = Tuned(algorithm.probes, MORE_ROUNDS)
        rounds = rounds_to(algorithm, net, measure, accuracy, columns)
    if rounds is None:
        most = algorithm.rounds if isinstance(algorithm, Tuned) else _most(algorithm, measure)
        note = f"more than {most} rounds" + (", all that Lanczos resolves" if most == measure.rounds else "")
        return MethodAdvice(name, None, None, algorithm.knows, None, note, algorithm)
    error, tried = _floating_error(algorithm, net, rounds)
    note = "" if tried == rounds else f"float32 after {tried} rounds"
    return MethodAdvice(name, rounds, 2 * len(net.edges) * rounds, algorithm.knows, error, note, algorithm)


def _floating_error(algorithm: Synchronous, net: Network, rounds: int) -> tuple[float, int]:
    tried = max(1, min(rounds, int(TRIED / net.matrix.nnz)))
    steps, start = algorithm.recursion(net, tried), probes(net.nodes, 1)
    found = []
    for dtype in (np.float64, np.float32):
        matrix = net.matrix.astype(dtype)
        numbers = polynomials.Recursion(*(one.astype(dtype) for one in steps))
        found.append(polynomials.path(numbers, lambda x, matrix=matrix: matrix @ x, start.astype(dtype), [tried])[0])
    return float(np.sqrt(((found[0] - found[1]) ** 2).mean())), tried


def _activations(
    name: str, algorithm: Pairwise, net: Network, columns: np.ndarray | None, accuracy: float
) -> MethodAdvice:
    knows = "gap, resistance" if algorithm.accelerated else "nothing"
    if net.nodes > MOST_PAIRS:
        return MethodAdvice(name, None, None, knows, None, f"not worked out above {MOST_PAIRS} nodes", algorithm)
    activations = activations_to(algorithm, net, columns, accuracy, MOST_ACTIVATIONS * len(net.edges))
    if activations is None:
        return MethodAdvice(
            name, None, None, knows, None, f"more than {MOST_ACTIVATIONS} activations an edge", algorithm
        )
    note = f"{activations} activations, {activations / len(net.edges):.1f} an edge"
    return MethodAdvice(name, None, 2 * activations, knows, None, note, algorithm)


@dataclasses.dataclass(frozen=True)
class Averaged:
    """What `average` returns: an array by `numpy.asarray`, too.

    values: (n,) or (n, k), those of every node. rounds, messages: what it took. method: by which method.
    certificate: a bound on the root mean square of |x - mean| over the nodes that nodes can compute without the mean,
    |(I - W) x| / (sqrt(n) gap).
    """

    values: np.ndarray
    rounds: int
    messages: int
    certificate: float
    method: str

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """The values."""
        return np.array(self.values, dtype=dtype, copy=copy)


def average(
    net: Network, values: Any, method: Any = "auto", accuracy: float = 1e-3, rounds: int | None = None
) -> Averaged:
    """Average values (n,) or (n, k) over a network by synchronous gossip, all arrays in memory.

    method: "auto", the one of fewest rounds by `advise`; a name in `advise`; or a synchronous algorithm. rounds: how
    many; None, as many as these values take to `accuracy` times their spread.

    Raises: TypeError for other objects; ValueError for an asynchronous method, for values of another length, and where
    the accuracy is not reached.
    """
    instance("net", net, (Network,))
    accuracy = float(number("accuracy", accuracy, above=0.0, below=1.0))
    shaped = floating("values", values, np.float64)
    task = Averaging(net, shaped)
    rounds = None if rounds is None else integer("rounds", rounds, at_least=0)
    methods = methods_for(net)
    names = [name for name, one in methods.items() if isinstance(one, Synchronous)]
    if isinstance(method, str) and isinstance(methods.get(method), Pairwise):
        raise ValueError(f"method={method!r} is asynchronous; accepted: 'auto', {', '.join(map(repr, names))}")
    auto = isinstance(method, str) and method == "auto"
    measure = measure_of(net, task.columns) if auto or rounds is None else None
    if auto:
        assert measure is not None
        found = [_rounds_or_never(methods[name], net, measure, accuracy, task.columns) for name in names]
        method = names[int(np.argmin(found))]
    name = method if isinstance(method, str) else type(method).__name__
    algorithm = methods[choice("method", method, ("auto", *names))] if isinstance(method, str) else method
    instance("method", algorithm, (Synchronous,))
    algorithm.require(net)
    if rounds is None:
        assert measure is not None
        if isinstance(algorithm, ParameterFree | LocalAveraging):
            raise ValueError(f"method={name!r} is a curve of reference; accepted: with rounds=, or another method")
        found = rounds_to(algorithm, net, measure, accuracy, task.columns)
        if found is None:
            raise ValueError(
                f"accuracy={accuracy:g} is not reached by method={name!r}; accepted: a larger one, or rounds="
            )
        rounds = found
    (reached,) = algorithm.path(net, task.columns, np.array([rounds]), None, lambda x: x)
    residual = reached - net.matrix @ reached
    certificate = float(np.linalg.norm(residual) / (np.sqrt(net.nodes) * net.gap))
    return Averaged(reached.reshape(shaped.shape), rounds, 2 * len(net.edges) * rounds, certificate, name)


def _rounds_or_never(
    algorithm: Synchronous, net: Network, measure: Measure, accuracy: float, columns: np.ndarray
) -> float:
    if algorithm.keeps_checkerboard and net.checkerboard:
        return np.inf
    found = rounds_to(algorithm, net, measure, accuracy, columns)
    return np.inf if found is None else found
