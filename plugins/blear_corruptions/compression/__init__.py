"""Compression with a gradient."""
