"""Sparse-token classification (arXiv:2509.25153)."""
