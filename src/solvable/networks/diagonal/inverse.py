"""The inverse of a principal block of M = F^T F while coordinates enter and leave it, one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs

INDEPENDENT = 1e-14  # a column depends on others if its squared distance is below this share of its squared length
DRIFT = 1e-13  # relative error of a direction from which on it is refined
ROUNDING = 2e-15  # what a product of two columns is known to, as a share of their lengths
NOISE = 1e-12  # a rate below this share of what it is the difference of is zero
SUMS = 4e-15  # what a sum is known to, as a share of the sum of its absolute terms
EPSILON = 2.2e-16  # of float64
GER: Any = get_blas_funcs("ger", dtype=np.float64)
START = 32  # slots at first


class ActiveSet:
    """The active coordinates A, each in a slot, with the columns F_A and the inverse of M_AA = F_A^T F_A.

    A slot that nobody holds has index 0 and zeros everywhere else, so that no vector over slots needs a mask. Entering
    adds v v^T / s to the inverse, v = (-M_AA^-1 m, 1) with m = M_Aj and s = |F v|^2; leaving subtracts g g^T / g_i, g
    the column of the inverse. Directions are checked by M_AA v and refined or, at worst, the inverse is computed
    anew. NumPy on the host: nothing here can be traced by JAX.
    """

    def __init__(self, factor: np.ndarray) -> None:
        self.rows = np.ascontiguousarray(factor.T)
        self.dim, self.rank = self.rows.shape[0], min(factor.shape)
        self.lengths = np.sqrt(np.einsum("ij,ij->i", self.rows, self.rows))
        self.active = np.zeros(self.dim, dtype=bool)
        self.barred = np.zeros(self.dim, dtype=bool)  # columns that depend on the active ones
        self.count = 0
        size = min(START, self.rank)
        self.index = np.zeros(size, dtype=np.intp)
        self.held = np.zeros(size)
        self.units = np.zeros(size)  # one over the lengths of the columns
        self.columns = np.zeros((size, factor.shape[0]))
        self.inverse = np.zeros((size, size), order="F")

    def grown(self, *vectors: np.ndarray) -> tuple[np.ndarray, ...]:
        """Make sure that a slot is free; the vectors over slots, longer by zeros where that was necessary."""
        old = len(self.index)
        if self.count < old:
            return vectors
        more = (0, min(2 * old, self.rank) - old)
        self.inverse = np.asfortranarray(np.pad(self.inverse, more))
        self.columns = np.pad(self.columns, (more, (0, 0)))
        self.index = np.pad(self.index, more)
        self.held, self.units, *longer = (np.pad(vector, more) for vector in (self.held, self.units, *vectors))
        return tuple(longer)

    def precision(self, x: np.ndarray, linear: np.ndarray, rate: np.ndarray) -> float:
        """What the rate linear - M x, x over slots, is known to in units of the lengths of the columns.

        |F x|^2 is <x, M x>; where x is large and F x is not, the rounding of x counts.
        """
        fitted = max(float(x @ (linear[self.index] - rate[self.index])), 0.0) ** 0.5
        return NOISE * fitted + EPSILON * float(np.abs(x) @ self.lengths[self.index])

    def along(self, direction: np.ndarray) -> np.ndarray:
        """M_{:,A} direction (d,)."""
        return self.rows @ (direction @ self.columns)

    def enter(self, coordinate: int) -> tuple[int, np.ndarray, float, np.ndarray] | None:
        """Add a coordinate: its slot, v, s and F_A v; None if it depends on the active ones, and is barred."""
        column = self.rows[coordinate]
        length, solved, before = float(self.lengths[coordinate]), np.zeros(len(self.held)), np.inf
        rest, square = column, 0.0  # replaced at once
        error = self.columns @ column
        for attempt in range(6):
            solved = solved + self.inverse @ error
            rest = column - solved @ self.columns
            square = float(rest @ rest)
            error = self.columns @ rest
            size = float(np.abs(error * self.units).max())
            # a step along the direction is at most as long as the targets over |rest|
            if size <= DRIFT * square**0.5 or size <= ROUNDING * length:
                break
            if size > 0.1 * before:  # refining helps no more
                if attempt > 3 or size < 1e-9 * length:
                    break
                self.refactorise()
            before = size
        if not square > INDEPENDENT * length**2:
            self.barred[coordinate] = True
            return None
        slot = self.count if self.count < len(self.held) and self.held[self.count] == 0.0 else int(self.held.argmin())
        direction = np.negative(solved, out=solved)
        direction[slot] = 1.0
        GER(1.0 / square, direction, direction, a=self.inverse, overwrite_a=1)
        self.index[slot], self.held[slot], self.columns[slot] = coordinate, 1.0, column
        self.units[slot] = 1.0 / length
        self.active[coordinate] = True
        self.count += 1
        return slot, direction, square, rest

    def leave(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Remove who holds the slot: w = g / g_slot, 1 at the slot, with (M_AA w) zero elsewhere; and F_A w."""
        direction = self.inverse[:, slot] / self.inverse[slot, slot]
        image, before = direction @ self.columns, np.inf
        for attempt in range(6):
            error = self.columns @ image
            error[slot] = 0.0
            size = float(np.abs(error * self.units).max())
            if size <= DRIFT * float(image @ image) ** 0.5 or size > 0.1 * before:
                break
            if attempt == 2:
                self.refactorise()
            before = size
            direction -= self.inverse @ error
            direction -= (direction[slot] - 1.0) / self.inverse[slot, slot] * self.inverse[:, slot]
            image = direction @ self.columns
        GER(-self.inverse[slot, slot], direction, direction, a=self.inverse, overwrite_a=1)
        self.inverse[slot], self.inverse[:, slot] = 0.0, 0.0
        self.active[self.index[slot]] = False
        self.barred[:] = False
        self.index[slot], self.held[slot], self.units[slot], self.columns[slot] = 0, 0.0, 0.0, 0.0
        self.count -= 1
        return direction, image

    def refined(self, x: np.ndarray, linear: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The solution x of linear_A - M_AA x = target, over slots, as good as rounding allows; and linear - M x."""
        best, before = x, np.inf
        aim = linear[self.index] * self.held - target
        for attempt in range(5):
            image = x @ self.columns
            error = aim - self.columns @ image
            size = float(np.abs(error * self.units).max())
            if size < before:
                best = x
            known = EPSILON * float(np.abs(x) @ self.lengths[self.index]) + EPSILON * float(image @ image) ** 0.5
            if size <= 2.0 * known:
                break
            if size > 0.1 * before:
                if size < before or attempt > 2:
                    break
                self.refactorise()
            before = min(size, before)
            x = x + self.inverse @ error
        return best, linear - self.along(best)

    def refactorise(self) -> None:
        """Compute the inverse anew, from a QR factorisation of F_A; it stays as it is where that is singular."""
        holders = np.flatnonzero(self.held)
        try:
            triangle = np.linalg.inv(np.linalg.qr(self.columns[holders].T, mode="r"))
        except np.linalg.LinAlgError:
            return
        self.inverse[np.ix_(holders, holders)] = triangle @ triangle.T


def spread(rows: dict[float, tuple[np.ndarray, ...]], place: int, dim: int) -> Any:
    """The vectors over slots number `place` of the rows, of which number 0 is the index, as an array (rows, d)."""
    wide = np.zeros((len(rows), dim))
    for line, row in zip(wide, rows.values(), strict=True):
        line[row[0]] = row[place]
    return wide
