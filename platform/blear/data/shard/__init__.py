"""One shard: its tar archive, its index, and the encoding of its samples."""
