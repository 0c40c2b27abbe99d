"""The tests; they mirror src/. Helpers shared by several files are imported as `from tests.lab.toy import ...`."""
