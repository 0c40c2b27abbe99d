"""The papers' optimisers as optax transformations; their torch twins are in `solvable.optim.torch`."""

from solvable.optim.finite import raise_if_nonfinite as raise_if_nonfinite
from solvable.optim.mirror_descent import MirrorDescentState as MirrorDescentState
from solvable.optim.mirror_descent import mirror_descent as mirror_descent
from solvable.optim.mirror_descent import resync as resync
from solvable.optim.mirror_map import inverse_mirror_map as inverse_mirror_map
from solvable.optim.mirror_map import mirror_map as mirror_map
