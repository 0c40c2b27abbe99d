"""Wing 3: iterations."""
