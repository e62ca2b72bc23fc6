"""The data path: raw files -> shards -> sampler -> memory-mapped store -> batches."""
