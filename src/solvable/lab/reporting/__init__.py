"""The report: one self-contained HTML page over everything that is stored in a folder."""
