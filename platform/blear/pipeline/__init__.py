"""A job from raw data to report, and the dry run before it."""
