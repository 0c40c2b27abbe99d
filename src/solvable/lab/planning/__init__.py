"""Theory inverted: where an observable takes a value, and the answer in words."""
