"""The job file: its schema, its reader, the names in it."""
