"""Bags of tokens with a label a bag: estimators, honest evaluation and diagnosis for a user's own data."""

from solvable.bags.comparison import compare as compare
from solvable.bags.container import Bags as Bags
from solvable.bags.evaluation import evaluate as evaluate
