"""Attention on bags of real data, against pooling: every table and figure of docs/bags/real_data.md.

    python examples/bags_of_real_data.py [classical] [digits] [series] [--figures docs/figures] [--quick]

Without a part, all of them. The data are read from shared/data beside the checkout, or from --data.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bags_tables import DATA

PARTS = ("classical", "digits", "series")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of the parts asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help="some of " + ", ".join(PARTS))
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--figures", type=Path, help="folder that the figures are written to; without it, none are")
    parser.add_argument("--quick", action="store_true", help="few bags, few repeats: to see that it runs")
    given = parser.parse_args(arguments)
    if given.figures is not None and not given.figures.is_dir():
        raise SystemExit(f"figures={str(given.figures)!r} is no folder; accepted: a folder that exists")
    for part in given.parts or PARTS:
        try:
            importlib.import_module(f"bags_{part}").run(given.data, given.figures, given.quick)
        except FileNotFoundError as error:
            raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
