"""Wing 1: attention."""
