"""Evaluation as Ray tasks: one for each arm, level and block of samples."""
