"""Evaluation as Ray tasks: one for each block of an arm, a level and a range of samples."""
