"""Storage of runs and shards: local folders, run folders, remote folders."""
