"""The name that `solvable.lab.declare` had, for declarations that import from here."""

from solvable.lab.declare import Dimension as Dimension
from solvable.lab.declare import Experiment as Experiment
from solvable.lab.declare import Observable as Observable
from solvable.lab.declare import Overlay as Overlay
from solvable.lab.declare import Status as Status
from solvable.lab.declare import Theory as Theory
from solvable.lab.declare import axis as axis
from solvable.lab.declare import parameter as parameter
