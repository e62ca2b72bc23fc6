"""Samplers: which samples each batch holds, as a pure function of (seed, counts, position)."""
