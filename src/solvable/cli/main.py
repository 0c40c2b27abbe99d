"""The entry point of the console script. Ctrl-C is answered before anything else is imported."""

from __future__ import annotations

import sys

from solvable.cli.interrupt import end_on_interrupt


def main() -> None:
    """Run the verb that the command line names, and exit with its code."""
    as_json = "--json" in sys.argv[1:]
    end_on_interrupt("interrupted", as_json)
    from solvable.cli import verbs

    sys.exit(verbs.run_one(as_json))
