"""The conformance suite: one check for each requirement of the contracts, for every component of a plugin."""
