"""Solvable models of learning: train them, predict them from theory, overlay the two."""


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Looked up when asked for: it takes longer than all else that comes before the command line hears Ctrl-C.
        from importlib.metadata import version

        return version("solvable")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
