"""Statistics of an evaluation: pure functions of the predictions table."""
