"""Wing 2: networks."""
