"""Diagnosis of a user's bags: what the theory of sparse tokens says about them."""

from solvable.bags.diagnosis.diagnose import Diagnosis as Diagnosis
from solvable.bags.diagnosis.diagnose import diagnose as diagnose
