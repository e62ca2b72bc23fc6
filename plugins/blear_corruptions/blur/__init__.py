"""Blur with one kernel for each clip."""
