"""Hard-margin programs in any p-norm and in the nuclear norm, each answer with a certificate."""

from solvable.numerics.minimum_norm.programs import MinimumNorm as MinimumNorm
from solvable.numerics.minimum_norm.programs import minimum_norm as minimum_norm
from solvable.numerics.minimum_norm.programs import minimum_nuclear_norm as minimum_nuclear_norm
