"""The job file: its schema, its reader, and the resolution of names and paths."""
