"""The papers' optimisers: optax transformations and a solved last layer; torch twins are in `solvable.optim.torch`."""

from solvable.optim.closed_form_head import ClosedFormHead as ClosedFormHead
from solvable.optim.closed_form_head import closed_form_head as closed_form_head
from solvable.optim.closed_form_head import closed_form_head_from_moments as closed_form_head_from_moments
from solvable.optim.continuized import ContinuizedState as ContinuizedState
from solvable.optim.continuized import continuized as continuized
from solvable.optim.continuized import continuized_params as continuized_params
from solvable.optim.finite import raise_if_nonfinite as raise_if_nonfinite
from solvable.optim.mirror_descent import MirrorDescentState as MirrorDescentState
from solvable.optim.mirror_descent import mirror_descent as mirror_descent
from solvable.optim.mirror_descent import resync as resync
from solvable.optim.mirror_map import inverse_mirror_map as inverse_mirror_map
from solvable.optim.mirror_map import mirror_map as mirror_map
