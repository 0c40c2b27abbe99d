"""The lasso path of a quadratic loss, in the inverse penalty: what a diagonal network's average follows."""

from __future__ import annotations

import itertools
import warnings
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float

from solvable.networks.diagonal.inverse import NOISE, SUMS, ActiveSet, spread
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.threads import one_blas_thread
from solvable.numerics.validation import floating, instance, number, on_the_host, real_array, truth

TIE = 1e-9  # times that agree to this share are one event
MONOTONE = 1e-9  # a slope below this share of the coordinate's largest has no sign
CERTIFIED = 1e-7  # how far the optimality conditions may be missed, in units of the penalty
DRIFTED = 1e-10  # how much of omega, in units of the penalty, may be lost until it is
REFRESH = 25  # events after which everything but the inverse is computed anew
MOST = 12  # coordinates, of whose subsets each is looked at
LARGEST = 1e150  # inverse penalty of which a bound is asked, for its square is a number
SINGULAR = 1e-10  # eigenvalues below this share of the largest make a submatrix singular


class LassoPath(eqx.Module):
    """The minimisers x(mu) of l(x) + (weight_decay + 1/mu) |x|_1 for all mu > 0; z(mu) = mu x(mu) is piecewise affine.

    kinks (K,): increasing inverse penalties mu at which the active set changes; values (K, d): z there; slopes (K, d):
    dz/dmu on [kinks[k], kinks[k+1]), the last of which never ends; active (K, d): who may be nonzero there.
    `monotone`: every coordinate of z only grows or only falls, the assumption of Theorem 2.1 of arXiv:2509.18766.

    Called with mu, a number or an array (...,), it returns x(mu) (..., d), zero up to the first kink.
    Raises: ValueError for a mu that is not above 0.
    """

    kinks: Float[np.ndarray, "K"]
    values: Float[np.ndarray, "K d"]
    slopes: Float[np.ndarray, "K d"]
    active: Bool[np.ndarray, "K d"]

    @property
    def monotone(self) -> bool:
        """Whether every coordinate of z is monotone, the last segment included (slopes below 1e-9 of the coordinate's
        largest count as zero)."""
        if len(self.kinks) == 0:
            return True
        up, down = self.slopes.max(axis=0), -self.slopes.min(axis=0)
        least = NOISE * max(up.max(), down.max())
        return bool(np.all(np.minimum(up, down) <= np.maximum(MONOTONE * np.maximum(up, down), least)))

    def __call__(self, mu: Any) -> Float[np.ndarray, "... d"]:
        """x(mu) (..., d)."""
        return mean_slope(self.kinks, self.values, self.slopes, above_zero("mu", mu))


class MonotonicityBound(NamedTuple):
    """How far a path is from monotone: `z_down` and `eta`, of the shape of the inverse penalties asked for."""

    z_down: Any
    eta: Any


def lasso_path(problem: Quadratic, weight_decay: Any = 0.0, positive: bool = False) -> LassoPath:
    """The whole lasso path of a problem, by following it from kink to kink (derived; the LARS-lasso homotopy).

    On a segment with active set A and signs sigma, z_A = mu p - q with p = M_AA^-1 (r_A - weight_decay sigma) and
    q = M_AA^-1 sigma, and omega = mu r - M z obeys |omega_i| <= 1 + weight_decay mu. A coordinate enters where its
    omega reaches that bound and leaves where its z reaches zero. The first kink is 1 / (max |r_i| - weight_decay); if
    that is not above 0 there is no kink. `positive` restricts x to x >= 0.

    The path follows one solution; where two coordinates enter together it may not be the only one (UserWarning). A
    column whose distance from the span of the active ones is below 1e-7 of its length counts as dependent on them: its
    coordinate stays out (the same warning), which is exact for copies and wrong for 1/mu below about that distance.
    Runs on the host in NumPy, outside JAX's transformations; O(n d) a kink for a factor F (n, d).

    Raises: TypeError for what is no `Quadratic`; ValueError for a weight_decay < 0; SolveError when the path misses
    its optimality conditions at one of up to 64 kinks or beyond the last, which happens for condition numbers of F
    above about 1e6.
    """
    followed = _Homotopy(*parts(problem, weight_decay, positive), positive)
    with one_blas_thread():
        rows = followed.run()
    kinks = np.array(list(rows))
    slopes, intercepts, signs = (spread(rows, place, followed.set.dim) for place in (1, 2, 3))
    active = signs != 0.0
    values = kinks[:, None] * slopes - intercepts
    # z is continuous: the segment with fewer active coordinates knows it better, as who enters or leaves is not in it
    count = active.sum(axis=1)
    before = np.flatnonzero(count[:-1] < count[1:])
    values[before + 1] = kinks[before + 1, None] * slopes[before] - intercepts[before]
    steady = active[1:] & active[:-1]
    values[:1], values[1:][~steady] = 0.0, 0.0
    values[signs * values < 0.0] = 0.0
    if followed.tied:  # who is held at zero by a tie is there but for rounding
        for table in (values, slopes):
            table[np.abs(table) <= NOISE * np.abs(table).max(axis=1, keepdims=True)] = 0.0
    slopes[(values == 0.0) & (signs * slopes < 0.0)] = 0.0
    path = LassoPath(kinks, values, slopes, active)
    with one_blas_thread():
        _certify(path, followed)
    return path


def lasso_objective(problem: Quadratic, x: Any, at: Any, weight_decay: Any = 0.0) -> Any:
    """l(x) + (weight_decay + 1/at) |x|_1, with the problem's constant (arXiv:2509.18766).

    x (..., d); `at`, the inverse penalties mu > 0, broadcasts against (...,), as does the result. NumPy on the host.

    Raises: TypeError for what is no `Quadratic`; ValueError for an x whose last axis is not d, and an `at` not above 0.
    """
    factor, linear, decay = parts(problem, weight_decay)
    x, at = floating("x", x, np.float64), above_zero("at", at)
    if x.shape[-1:] != linear.shape:
        raise ValueError(f"x has shape {x.shape}; accepted: (..., {len(linear)})")
    return objective(factor, linear, float(np.asarray(problem.constant)), x, decay + 1.0 / at)


def objective(factor: np.ndarray, linear: np.ndarray, constant: float, x: np.ndarray, penalty: Any) -> Any:
    """|F x|^2 / 2 - r.x + constant + penalty |x|_1 (...), NaN where x (..., d) is that of a run that failed."""
    inner = x @ factor.T
    loss = 0.5 * np.sum(inner * inner, axis=-1) - x @ linear + constant
    return loss + penalty * np.sum(np.abs(x), axis=-1)


def monotonicity_bound(
    problem: Quadratic, at: Any, weight_decay: Any = 0.0, positive: bool = False
) -> MonotonicityBound:
    """The z_down and eta of Theorem 2.2 of arXiv:2509.18766 (3.2 for `positive`) at the inverse penalties `at` (...,).

    z_down(mu) = sum_i int_0^mu (1 + u) ([d(z_i)_+/du]_- + [d(z_i)_-/du]_-) du (for `positive` [dz_i/du]_-), a sum over
    the segments of the path, and eta = (1 + weight_decay mu) (sqrt(z_down) / mu + z_down / mu^2) (stated). As the
    initialisation vanishes, the lasso suboptimality of a diagonal network's average is at most C eta, with a constant
    C that the theorem does not give. Both are 0 for a monotone path. NumPy on the host.

    Raises: as `lasso_path`; ValueError for an `at` that is not above 0.
    """
    at = above_zero("at", at)
    if not np.all(at <= LARGEST):
        raise ValueError(f"at holds {np.max(at):g}; accepted: finite numbers > 0, up to {LARGEST:g}")
    path = lasso_path(problem, weight_decay, positive)
    down = np.zeros(at.shape)
    if len(path.kinks):
        # inside a segment z keeps its sign; the last segment is looked at where mu has doubled
        length = np.append(np.diff(path.kinks), path.kinks[-1])
        signs = np.sign(path.values + 0.5 * length[:, None] * path.slopes)
        rates = np.sum(np.maximum(-signs * path.slopes, 0.0), axis=1)
        weight = path.kinks + 0.5 * path.kinks**2  # the integral of 1 + u
        before = np.append(0.0, np.cumsum(rates[:-1] * np.diff(weight)))
        place = np.searchsorted(path.kinks, at, side="right") - 1
        known = np.maximum(place, 0)
        within = before[known] + rates[known] * (at + 0.5 * at**2 - weight[known])
        down = np.where(place >= 0, within, 0.0)
    eta = (1.0 + float(weight_decay) * at) * (np.sqrt(down) / at + down / at / at)
    return MonotonicityBound(down[()], eta[()])


def guarantees_monotone_path(problem: Quadratic) -> bool:
    """Whether M alone makes the lasso path monotone, whatever r: S (M_II)^-1 S 1 >= 0 for all I and all signs S.

    That is, the inverse of every principal submatrix is diagonally dominant. Stated by arXiv:2509.18766 as sufficient;
    singular submatrices are left out here, as no path of a problem without ties has them for its active set. Costs
    2^d inverses.

    Raises: TypeError for what is no `Quadratic`; ValueError for more than 12 coordinates.
    """
    matrix = np.asarray(instance("problem", problem, (Quadratic,)).matrix)
    if problem.dim > MOST:
        raise ValueError(f"problem has {problem.dim} coordinates, too many subsets; accepted: at most {MOST}")
    for size in range(2, problem.dim + 1):
        for subset in itertools.combinations(range(problem.dim), size):
            values, vectors = np.linalg.eigh(matrix[np.ix_(subset, subset)])
            if values[0] <= SINGULAR * values[-1]:
                continue
            inverse = (vectors / values) @ vectors.T
            if np.any(2.0 * np.diag(inverse) < np.abs(inverse).sum(axis=1) * (1.0 - 1e-12)):
                return False
    return True


def parts(problem: Any, weight_decay: Any, positive: Any = False) -> tuple[np.ndarray, np.ndarray, float]:
    """The factor, the linear term and the weight decay, checked."""
    on_the_host("a path or objective", instance("problem", problem, (Quadratic,)), weight_decay)
    truth("positive", positive)
    decay = float(number("weight_decay", weight_decay, at_least=0.0))
    return np.asarray(problem.factor, dtype=np.float64), np.asarray(problem.linear, dtype=np.float64), decay


def mean_slope(knots: np.ndarray, values: np.ndarray, slopes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """f(at) / at (..., d) of a piecewise affine f with f = 0 up to the first of its knots (K,)."""
    if len(knots) == 0:
        return np.zeros((*at.shape, values.shape[1]))
    place = np.searchsorted(knots, at, side="right") - 1
    known = np.maximum(place, 0)
    since = np.where(place >= 0, 1.0 - knots[known] / at, 0.0)[..., None]
    return values[known] / at[..., None] + slopes[known] * since


def above_zero(name: str, value: Any, or_zero: bool = False) -> np.ndarray:
    """`value` as an array of numbers above 0 (or 0 too) whose inverse, a penalty, is finite.

    Raises: ValueError naming the argument, the first wrong value and what is accepted.
    """
    value = np.asarray(real_array(name, value), dtype=np.float64)
    right = value >= 0.0 if or_zero else value > 0.0
    if not right.all():
        accepted = ">= 0" if or_zero else "> 0"
        raise ValueError(f"{name} holds {value[~right].ravel()[0]:g}; accepted: numbers {accepted}")
    tiny = (value > 0.0) & (value < np.finfo(np.float64).tiny)
    if tiny.any():
        raise ValueError(
            f"{name} holds {value[tiny].ravel()[0]:g}, with no finite penalty; accepted: numbers >= 2.3e-308"
        )
    return value


class _Homotopy:
    """The state between two kinks: p and q over slots, a = r - M p and e = M q over coordinates."""

    def __init__(self, factor: np.ndarray, linear: np.ndarray, decay: float, positive: bool) -> None:
        self.set = ActiveSet(factor)
        self.linear, self.decay, self.positive = linear, decay, positive
        size = len(self.set.index)
        self.p, self.q, self.signs = np.zeros(size), np.zeros(size), np.zeros(size)
        self.a, self.e = linear.copy(), np.zeros(len(linear))
        self.floor = 0.0  # what a is known to, in units of the lengths of the columns
        self.left = -1  # who left in the last event, if that was at this mu
        self.tied = self.exhausted = False

    def run(self) -> dict[float, tuple[np.ndarray, ...]]:
        """For each kink the index, p, q and the signs of those who are active from there on."""
        rows: dict[float, tuple[np.ndarray, ...]] = {}
        mu, refresh = 0.0, REFRESH
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for event in range(1, 200 + 50 * (self.set.dim + self.set.rank)):
                entering, coming = self.next_entry(mu)
                slot, going = self.next_exit()
                at = max(min(coming, going), mu)
                if at == np.inf:
                    break
                if at > mu * (1.0 + NOISE):
                    self.left = -1
                    mu = at
                if going <= coming:
                    self.leave(slot)
                elif not self.enter(entering):
                    continue
                self.floor = self.set.precision(self.p, self.linear, self.a)
                if event >= refresh:
                    refresh = event + (REFRESH if self.refresh(mu) else 1)
                holders = self.set.held.nonzero()[0]
                rows[mu] = tuple(each[holders] for each in (self.set.index, self.p, self.q, self.signs))
            else:
                self.exhausted = True
        if self.tied:
            warnings.warn(
                "several coordinates reach the penalty together, so the lasso path may not be unique; this is one of "
                "the paths",
                stacklevel=3,
            )
        return rows

    def next_entry(self, mu: float) -> tuple[int, float]:
        """Which coordinate reaches the bound next, and when."""
        if self.set.count == self.set.rank:  # everything else depends on the active columns
            return -1, np.inf
        if self.positive:
            rate, room = self.a - self.decay, 1.0 - self.e
        else:
            rate = np.abs(self.a)
            rate -= self.decay
            room = 1.0 - np.copysign(self.e, self.e * self.a)
        room /= rate
        room[self.set.active | self.set.barred | (rate <= self.floor * self.set.lengths)] = np.inf
        if self.left >= 0 and room[self.left] <= mu * (1.0 + TIE):  # who has just left stays out
            room[self.left] = np.inf
        first = int(room.argmin())
        at = float(room[first])
        if not self.tied and at < np.inf and np.count_nonzero(room <= max(at, mu) * (1.0 + TIE)) > 1:
            self.tied = True
        return first, at

    def next_exit(self) -> tuple[int, float]:
        """Which slot's z reaches zero next, and when."""
        falling = self.signs * self.p < -NOISE * np.abs(self.p).max()
        if not falling.any():
            return -1, np.inf
        at = np.where(falling, self.q / self.p, np.inf)
        first = int(at.argmin())
        return first, float(at[first])

    def enter(self, coordinate: int) -> bool:
        """Let a coordinate in, unless its column depends on those that are."""
        self.p, self.q, self.signs = self.set.grown(self.p, self.q, self.signs)
        entered = self.set.enter(coordinate)
        if entered is None:
            self.tied = True
            return False
        self.left = -1
        slot, direction, square, image = entered
        sign = 1.0 if self.positive or self.a[coordinate] > 0.0 else -1.0
        step, back = (self.a[coordinate] - self.decay * sign) / square, (sign - self.e[coordinate]) / square
        self.move(step, back, direction, image)
        self.signs[slot] = sign
        return True

    def leave(self, slot: int) -> None:
        """Take the coordinate of a slot out."""
        self.left = int(self.set.index[slot])
        self.move(-self.p[slot], -self.q[slot], *self.set.leave(slot))
        self.p[slot] = self.q[slot] = self.signs[slot] = 0.0

    def move(self, step: float, back: float, direction: np.ndarray, image: np.ndarray) -> None:
        """Change p and q along a direction over slots, whose image under F_A is given, and a and e with them."""
        moved = self.set.rows @ image
        self.p += step * direction
        self.q += back * direction
        self.a -= step * moved
        self.e += back * moved

    def refresh(self, mu: float) -> bool:
        """p and q refined, a and e computed anew; whether little of omega had been lost since the last time."""
        a, e = self.a, self.e
        self.p, self.a = self.set.refined(self.p, self.linear, self.decay * self.signs)
        self.q, negative = self.set.refined(self.q, np.zeros_like(self.linear), -self.signs)
        self.e = -negative
        return float(np.abs(mu * (self.a - a) + self.e - e).max()) < DRIFTED * (1.0 + self.decay * mu)


def _certify(path: LassoPath, followed: _Homotopy) -> None:
    """Raise SolveError unless the optimality conditions hold, at up to 64 kinks and beyond the last."""
    count = len(path.kinks)
    if count == 0:
        return
    columns = followed.set
    looked = np.unique(np.linspace(0, count - 1, 64).astype(int))
    z = np.concatenate([path.values[looked], path.values[-1:] + path.kinks[-1] * path.slopes[-1:]])
    mu = np.append(path.kinks[looked], 2.0 * path.kinks[-1])[:, None]
    fit = z @ columns.rows
    omega = mu * followed.linear - fit @ columns.rows.T
    bound = 1.0 + followed.decay * mu
    known = NOISE * np.linalg.norm(fit, axis=1) + SUMS * (np.abs(z) @ columns.lengths)
    slack = CERTIFIED * bound + known[:, None] * columns.lengths
    nonzero = np.concatenate([path.active[looked], path.active[-1:]])
    low = (omega if followed.positive else np.abs(omega)) - bound <= slack
    tight = np.abs(omega - np.where(nonzero, np.sign(z), 0.0) * bound) <= slack
    optimal = not followed.exhausted and np.all(low & (tight | ~nonzero | (z == 0.0)))
    raise_unless_successful(Result.SUCCESSFUL if optimal else Result.MAX_STEPS, "lasso path")
