"""Which samples a batch holds: a pure function of (seed, counts, position)."""
