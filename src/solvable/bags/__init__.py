"""Bags of tokens with a label a bag: estimators, honest evaluation and diagnosis for a user's own data."""

from solvable.bags.comparison import compare as compare
from solvable.bags.container import Bags as Bags
from solvable.bags.diagnosis import diagnose as diagnose
from solvable.bags.estimators import AttentionClassifier as AttentionClassifier
from solvable.bags.estimators import PooledClassifier as PooledClassifier
from solvable.bags.estimators import SingleLocationRegressor as SingleLocationRegressor
from solvable.bags.estimators import load as load
from solvable.bags.evaluation import evaluate as evaluate
from solvable.bags.reading import ParquetBags as ParquetBags
