"""Whether theory and simulation agree: cell by cell, over sizes, all scores together."""
