"""Figures of every experiment."""
