"""How solves and runs end: integer codes that travel through jit and vmap, each with a text that says what to do."""

from __future__ import annotations

from typing import Any, ClassVar, SupportsInt

import jax
import numpy as np
from jax.core import Tracer


class code:  # noqa: N801 - it reads like `property`
    """Declares one code in the body of `Result` or of a subclass: its number, and its message (see `Result`)."""

    def __init__(self, number: int, message: str) -> None:
        self.number, self.message = number, message

    def __get__(self, instance: object, owner: type) -> Result:
        return Result(self.number)


class Result(int):
    """How a solve, or one replicate of a run, ended: an integer, 0 for success, with a `name` and a `message`.

    The message is one sentence, empty for a success: what happened and what to do. A system adds codes of its own:

        class SelectionResult(Result):
            UNSATURATED = code(10, "the attention has not saturated; train for more steps")

    `Result(10)` finds it once the system is imported. Before, and for any other number, it is a code named UNKNOWN
    whose message gives the number.

    Raises: ValueError where a class declares a number or a name that another one has.
    """

    name: str
    message: str
    _known: ClassVar[dict[int, Result]] = {}

    # Numbers are written into stores, so that none may change its meaning. 5, 6 and 10 to 12 belong to systems; a new
    # general code takes the next number below 100, a system that needs codes the next block: self-attention has 100 to
    # 199, token selection 200 to 299.
    SUCCESSFUL = code(0, "")
    MAX_STEPS = code(
        1,
        "the iteration stopped before it met its tolerance; allow more steps where they can be set, or move the "
        "setting away from the threshold where its solution ceases to exist",
    )
    NONFINITE = code(
        2,
        "a value that is not finite appeared; take smaller steps, raise the ridge or move the setting away from its "
        "boundary",
    )
    NO_MINIMISER = code(
        3,
        "the training loss has no finite minimiser because the data are separable; use a ridge above 0 (1e-9 gives the "
        "maximum margin for hinge, not for logistic) or a ratio above the capacity",
    )
    UNDER_RESOLVED = code(
        4,
        "the quadrature is under-resolved, a finer rule moves the result by more than its tolerance; raise the number "
        "of quadrature points",
    )
    FAILED = code(7, "the run raised an error")
    INFEASIBLE = code(
        8,
        "the constraints cannot all be met, which the returned multipliers prove; relax or drop rows, or use a larger "
        "dimension",
    )
    ZERO_GRADIENT = code(9, "the gradient is zero at the start, so nothing moves; start elsewhere")
    DIVERGED = code(
        13, "the iterates grew without bound; take smaller steps, or move the setting to where it is stable"
    )
    CYCLING = code(14, "the iteration repeats itself without settling; damp its steps, or start elsewhere")
    NO_FIXED_POINT = code(15, "the iteration has no fixed point at this setting; move the setting to where one exists")
    NOT_UNIQUE = code(16, "more than one solution exists and none is distinguished; say which one is meant")

    def __new__(cls, number: SupportsInt) -> Result:
        """The code that has this number."""
        found = Result._known.get(int(number))
        if found is not None:
            return found
        return cls._made(
            int(number), "UNKNOWN", f"result code {int(number)} is unknown here; import the system that declares it"
        )

    def __init_subclass__(cls) -> None:
        """Register the codes of the class, all or none."""
        origin = f"{cls.__module__}.{cls.__qualname__}"
        # A class that is defined anew, as in a reloaded module, takes the place of the old one.
        known = {number: one for number, one in Result._known.items() if _origin(one) != origin}
        for name, declared in vars(cls).items():
            if isinstance(declared, code):
                for one in known.values():
                    if one.name == name or one == declared.number:
                        raise ValueError(
                            f"{origin}.{name} = {declared.number}, but {_origin(one)}.{one.name} = {int(one)}; "
                            "accepted: a name and a number that no other result code has"
                        )
                known[declared.number] = cls._made(declared.number, name, declared.message)
        Result._known = known

    @classmethod
    def _made(cls, number: int, name: str, message: str) -> Result:
        made = int.__new__(cls, number)
        made.name, made.message = name, message
        return made

    @classmethod
    def known(cls) -> list[Result]:
        """Every code that is declared by what has been imported, in the order of the numbers."""
        return [Result._known[number] for number in sorted(Result._known)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by number, and with its class, so that the system that declares it is imported."""
        return type(self), (int(self),)

    def __repr__(self) -> str:
        """`<SelectionResult.UNSATURATED: 10>`."""
        return f"<{type(self).__name__}.{self.name}: {int(self)}>"

    __str__ = int.__repr__


def _origin(one: Result) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"


Result.__init_subclass__()  # Python calls it for subclasses only


class SolveError(RuntimeError):
    """A solve did not succeed; the message says which one, why, and what to do."""


def is_traced(*trees: object) -> bool:
    """Whether any leaf of the trees is being traced by a JAX transformation (its value is then unknown)."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree_util.tree_leaves(trees))


def raise_unless_successful(result: object, what: str, detail: str = "") -> None:
    """Raise `SolveError` naming `what` when a concrete result code is not a success; traced codes pass."""
    if is_traced(result):
        return
    codes = np.ravel(np.asarray(result))
    for index in np.flatnonzero(codes != Result.SUCCESSFUL):
        where = f" (element {index})" if codes.size > 1 else ""
        raise SolveError(f"{what}{where}: {Result(int(codes[index])).message}{detail}")
