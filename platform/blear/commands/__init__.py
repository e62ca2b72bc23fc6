"""The commands of `blear`, one module for each; each command is one call into the core."""
