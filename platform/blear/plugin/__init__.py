"""Plugins: discovery, names, components and the descriptions of them, the conformance suite, the scaffold."""
