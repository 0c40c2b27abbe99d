"""Cells computed: what is missing, by which engine, with progress."""
