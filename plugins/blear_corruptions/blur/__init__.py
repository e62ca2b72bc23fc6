"""Blur of one kernel for each clip."""
