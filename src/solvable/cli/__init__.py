"""The command line: parses, calls the lab, prints."""
