"""Bags of tokens with a label a bag: estimators, honest evaluation and diagnosis for a user's own data."""

from solvable.bags.container import Bags as Bags
