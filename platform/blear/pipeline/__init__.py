"""Runs a job from raw data to report, and the dry run that precedes it."""
