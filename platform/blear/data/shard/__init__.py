"""One shard: its archive, its index, and what its samples hold."""
