"""Plugins: discovery, catalog of components, documentation, conformance suite, and the template of a new plugin."""
