"""Decoded shards: their files and byte-limited cache, the processes that decode, and the store that reads batches."""
