"""The observables that simulation and theory of single-location regression share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from solvable.attention.single_location.theories import OBSERVABLES, OVER_STEPS
from solvable.lab.outcome import Outcome

Observable = Any  # Float[AnyArray, "..."], or None on the side that does not speak of it


class SingleLocationOutcome(Outcome):
    """Measures of training, one value a replicate (and step of `at`); of a theory only what it speaks of.

    Over the steps t of `at`, after t updates: the overlaps `query_alignment` kappa, `value_alignment` nu, `value_leak`
    theta, `query_leak` eta and `coupling` rho; `value_norm` |v|; `distance` sqrt(theta^2 + eta^2 + rho^2); `risk`, the
    population's excess risk of these overlaps at the inverse temperature lam_t.
    Once a run, at the end: `final_risk`; `aligned` 1 where |kappa| and |nu|/|v| exceed 1/2 with equal signs, else 0;
    `swapped` 1 where |eta| exceeds 1/2, so that the query reads the label.
    Rates a step (see `rates`): `escape_rate`, the growth of the unstable combination of nu and kappa on the manifold,
    measured up to its doubling; `value_rate` and `query_rate`, the fall of log(1 - |nu|/|v|) and of log(1 - |kappa|),
    measured between the last two recorded steps where these exceed 1e-10. NaN where fewer than two steps serve.
    """

    query_alignment: Observable = None
    value_alignment: Observable = None
    value_leak: Observable = None
    query_leak: Observable = None
    coupling: Observable = None
    value_norm: Observable = None
    distance: Observable = None
    risk: Observable = None
    final_risk: Observable = None
    aligned: Observable = None
    swapped: Observable = None
    escape_rate: Observable = None
    value_rate: Observable = None
    query_rate: Observable = None
    at: Any = None
    start: Any = None

    observables: ClassVar[tuple[str, ...]] = OBSERVABLES
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(OVER_STEPS, ("at",))
