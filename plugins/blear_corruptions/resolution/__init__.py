"""Loss of resolution."""
