"""`blear …`: one small file for each command, each one call into the core."""
