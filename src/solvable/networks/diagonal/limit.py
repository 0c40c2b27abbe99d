"""The path of a diagonal network as its initialisation vanishes: plateaux, and the times at which it jumps."""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from solvable.networks.diagonal.inverse import SUMS, ActiveSet, spread
from solvable.networks.diagonal.lasso import CERTIFIED, TIE, above_zero, mean_slope, parts
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.threads import one_blas_thread
from solvable.numerics.validation import truth

OFF_DIAGONAL = 1e-12  # entries of M below this share of its largest count as no correlation
DEFINITE = 1e-12  # the least eigenvalue of a positive definite M, as a share of the largest


class LimitPath(eqx.Module):
    """The limit x(s) of a diagonal network's iterate at the rescaled time s, as its initialisation vanishes.

    jumps (J,): increasing times; plateaux (J, d): x on [jumps[k], jumps[k+1]), the last of which never ends; duals
    (J, d): omega = s r - M int_0^s x at the jumps, which lies between -(1 + weight_decay s) and 1 + weight_decay s.

    Called with s, a number or an array (...,), it returns x(s) (..., d), zero before the first jump; `average(s)` is
    (1/s) int_0^s x. Raises: ValueError for an s < 0, and for `average` an s that is not above 0.
    """

    jumps: Float[np.ndarray, "J"]
    plateaux: Float[np.ndarray, "J d"]
    duals: Float[np.ndarray, "J d"]

    @property
    def first_jumps(self) -> Float[np.ndarray, "d"]:
        """The time at which each coordinate first becomes nonzero (d,); inf for never."""
        if len(self.jumps) == 0:
            return np.full(self.plateaux.shape[1], np.inf)
        nonzero = self.plateaux != 0.0
        return np.where(nonzero.any(axis=0), self.jumps[nonzero.argmax(axis=0)], np.inf)

    def __call__(self, s: Any) -> Float[np.ndarray, "... d"]:
        """x(s) (..., d)."""
        s = above_zero("s", s, or_zero=True)
        start = np.zeros((1, self.plateaux.shape[1]))
        return np.concatenate([start, self.plateaux])[np.searchsorted(self.jumps, s, side="right")]

    def average(self, s: Any) -> Float[np.ndarray, "... d"]:
        """(1/s) int_0^s x (..., d), what the averaged iterate tends to."""
        return mean_slope(self.jumps, _integrals(self.jumps, self.plateaux), self.plateaux, above_zero("s", s))


def limit_path(
    problem: Quadratic, positive: bool = False, *, weight_decay: Any = 0.0, check_assumptions: bool = True
) -> LimitPath:
    """The limit of infinitely small initialisation of a diagonal network trained by gradient flow on a problem.

    With `positive` the network is x = u^2, otherwise x = u v; s is the rescaled time, in which the training time is
    s log(1/epsilon) / 4 or / 2. The limit jumps between minimisers of the loss on subsets of the coordinates:
    omega(s) = s r - M int_0^s x starts at 0, and whenever the omega of an inactive coordinate reaches
    +-(1 + weight_decay s), x jumps to the minimiser of l + weight_decay |x|_1 over those x that are zero, or have the
    sign of omega, where omega is at its bound, and are zero elsewhere.

    In general this is derived here; it matches the successive-saddle algorithm announced in arXiv:2304.00488. For
    `positive` and a positive definite M without positive off-diagonal entries, the case of arXiv:2208.14673, a
    coordinate that was activated stays (a reconstruction of that paper's algorithm from its abstract): that simpler
    algorithm is used if `check_assumptions` finds that it may be. If not, a UserWarning says which assumption fails.
    check_assumptions=False uses the general algorithm, which is right in both cases, and never warns of that.

    Coordinates that reach the bound together are added together, but for columns that depend on others, whose weight
    the layers at the start would share out (UserWarning). Runs on the host in NumPy, outside JAX's
    transformations; O(n d) a jump for a factor F (n, d), and O(d^3) once for the assumptions.

    Raises: TypeError for what is no `Quadratic`; ValueError for a weight_decay < 0; SolveError when a plateau misses
    its optimality conditions.
    """
    factor, linear, decay = parts(problem, weight_decay, positive)
    checked = truth("check_assumptions", check_assumptions) and positive
    failing = _failing(problem, factor) if checked else ""
    if failing:
        warnings.warn(f"{failing}, so coordinates may leave again; the general algorithm is used", stacklevel=2)
    flow = _Flow(factor, linear, decay, positive, keeps=checked and not failing)
    with one_blas_thread():
        rows = flow.run()
        jumps, plateaux = np.array(list(rows)), spread(rows, 1, len(linear))
        duals = jumps[:, None] * linear - (_integrals(jumps, plateaux) @ flow.set.rows) @ flow.set.rows.T
        path = LimitPath(jumps, plateaux, duals)
        _certify(path, flow)
    return path


def _integrals(jumps: np.ndarray, plateaux: np.ndarray) -> np.ndarray:
    """int_0^s x at the jumps (J, d)."""
    pieces = np.zeros_like(plateaux)
    pieces[1:] = np.diff(jumps)[:, None] * plateaux[:-1]
    return np.cumsum(pieces, axis=0)


def _failing(problem: Quadratic, factor: np.ndarray) -> str:
    """Which assumption of the special algorithm fails; empty for none."""
    matrix = np.asarray(problem.matrix)
    off = matrix - np.diag(np.diag(matrix))
    if off.max() > OFF_DIAGONAL * np.abs(matrix).max():
        return f"the matrix has positive off-diagonal entries (up to {off.max():.3g})"
    if factor.shape[0] < factor.shape[1]:
        return f"the matrix is singular (rank at most {factor.shape[0]} of {factor.shape[1]})"
    values = np.linalg.eigvalsh(matrix)
    if values[0] <= DEFINITE * values[-1]:
        return f"the matrix is singular (least eigenvalue {values[0]:.3g})"
    return ""


class _Flow:
    """The state between two jumps: x and its signs over slots, a = r - M x and omega over coordinates."""

    def __init__(self, factor: np.ndarray, linear: np.ndarray, decay: float, positive: bool, keeps: bool) -> None:
        self.set = ActiveSet(factor)
        self.linear, self.decay, self.positive, self.keeps = linear, decay, positive, keeps
        size = len(self.set.index)
        self.x, self.signs = np.zeros(size), np.zeros(size)
        self.a, self.omega = linear.copy(), np.zeros(len(linear))
        self.floor = np.zeros(len(linear))  # rates up to this are rounding
        self.exhausted = False

    def run(self) -> dict[float, tuple[np.ndarray, ...]]:
        """For each jump the index and the values of those who are active from there on."""
        rows: dict[float, tuple[np.ndarray, ...]] = {}
        s, tied = 0.0, False
        while len(rows) < 200 + 50 * (self.set.dim + self.set.rank):
            rate = (self.a if self.positive else np.abs(self.a)) - self.decay
            hit = (rate > self.floor) & ~self.set.active & ~self.set.barred
            if self.set.count == self.set.rank or not hit.any():  # at full rank the others depend on the active ones
                break
            bound = 1.0 + self.decay * s
            places = hit.nonzero()[0]
            room = bound - (self.omega if self.positive else np.copysign(1.0, self.a) * self.omega)[places]
            waits = np.maximum(room, 0.0) / rate[places]
            wait = float(waits.min())
            s, bound = s + wait, bound + self.decay * wait
            newcomers = places[(waits - wait) * rate[places] <= TIE * bound]
            tied = tied or len(newcomers) > 1
            self.omega += wait * self.a
            holders = self.set.held.nonzero()[0]
            self.omega[self.set.index[holders]] = self.signs[holders] * bound
            self.omega[newcomers] = np.copysign(bound, self.a[newcomers])
            if self.keeps:
                for coordinate in newcomers:
                    self.add(coordinate)
            elif not self.settle(bound):
                break
            holders = np.flatnonzero(self.signs * self.x > 0.0)  # those at zero are there by a tie
            rows[s] = (self.set.index[holders], self.x[holders])
        else:
            self.exhausted = True
        if tied:
            warnings.warn(
                "several coordinates reach the bound together, so the limit may depend on the layers at the start; "
                "this is one of the limits",
                stacklevel=3,
            )
        return rows

    def settle(self, bound: float) -> bool:
        """Minimise over the coordinates at the bound, with their signs, by the active-set method of Lawson and Hanson
        from the last plateau; whether that ended."""
        at_bound = (self.omega if self.positive else np.abs(self.omega)) >= bound * (1.0 - TIE)
        for _ in range(100 + 10 * self.set.dim):
            if self.set.count == self.set.rank:
                return True
            rate = np.copysign(self.a, self.a * self.omega) - self.decay
            gains = np.where(at_bound & ~self.set.active & ~self.set.barred & (rate > self.floor), rate, 0.0)
            best = int(gains.argmax())
            if gains[best] == 0.0:
                return True
            self.add(best)
        self.exhausted = True
        return False

    def add(self, coordinate: int) -> None:
        """Let a coordinate in and go to the minimum; who would change sign on the way leaves."""
        self.x, self.signs = self.set.grown(self.x, self.signs)
        entered = self.set.enter(coordinate)
        if entered is None:
            return
        slot, direction, square, _ = entered
        sign = float(np.copysign(1.0, self.omega[coordinate]))
        self.signs[slot] = sign
        direction = (self.a[coordinate] - self.decay * sign) / square * direction
        while True:
            wrong = self.signs * (self.x + direction) < 0.0
            if self.keeps or not wrong.any():
                break
            shares = np.where(wrong, self.x, np.inf)
            shares[wrong] /= -direction[wrong]
            share = float(shares.min())
            self.x += share * direction
            for gone in np.flatnonzero(shares <= share * (1.0 + TIE)):
                self.set.leave(int(gone))
                self.x[gone] = self.signs[gone] = 0.0
            rate = self.linear[self.set.index] * self.set.held - self.set.columns @ (self.x @ self.set.columns)
            direction = self.set.inverse @ (rate - self.decay * self.signs)
        self.x, self.a = self.set.refined(self.x + direction, self.linear, self.decay * self.signs)
        self.floor = self.set.precision(self.x, self.linear, self.a) * self.set.lengths


def _certify(path: LimitPath, flow: _Flow) -> None:
    """Raise SolveError unless the optimality conditions hold at up to 64 plateaux, the last among them."""
    if len(path.jumps) == 0:
        raise_unless_successful(Result.MAX_STEPS if flow.exhausted else Result.SUCCESSFUL, "limit path")
        return
    looked = np.unique(np.linspace(0, len(path.jumps) - 1, 64).astype(int))
    x, omega, bound = path.plateaux[looked], path.duals[looked], 1.0 + flow.decay * path.jumps[looked, None]
    fit = x @ flow.set.rows
    rate = flow.linear - fit @ flow.set.rows.T
    signs = np.sign(omega)
    sums = SUMS * (np.abs(x) @ flow.set.lengths)
    slack = (CERTIFIED * np.linalg.norm(fit, axis=1) + sums)[:, None] * flow.set.lengths
    size = omega if flow.positive else np.abs(omega)
    known = CERTIFIED * bound + (path.jumps[looked] * sums)[:, None] * flow.set.lengths
    tight = (size >= bound - known) & (x * signs > 0.0) & (np.abs(rate - flow.decay * signs) <= slack)
    still = (signs * rate - flow.decay <= slack) | (size < bound * (1.0 - 0.1 * TIE))
    inside = size <= bound + known
    optimal = not flow.exhausted and bool(np.all(inside & still & (tight | (x == 0.0))))
    raise_unless_successful(Result.SUCCESSFUL if optimal else Result.MAX_STEPS, "limit path")
