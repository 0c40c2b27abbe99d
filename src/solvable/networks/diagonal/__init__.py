"""Diagonal linear networks: the lasso path they follow, and the coordinates they learn one by one."""

from solvable.networks.diagonal.quadratic import Quadratic as Quadratic
