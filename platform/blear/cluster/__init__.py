"""Submits jobs to a remote Ray cluster: checks, upload, wheels of plugins, log."""
