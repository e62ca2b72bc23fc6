"""One predictions table; intervals, differences and the report are pure functions of it."""
