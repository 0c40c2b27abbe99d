"""Mathematics that knows no model: losses, quadrature, solves with results, convex programs."""
