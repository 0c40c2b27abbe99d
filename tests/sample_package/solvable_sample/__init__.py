"""Coins: the smallest system that simulates and predicts."""

from solvable_sample.coins import Coin, predict, simulate, theories

__all__ = ["Coin", "predict", "simulate", "theories"]
