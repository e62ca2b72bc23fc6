"""The data path: raw files -> shards -> order -> memory-mapped store -> batches."""
