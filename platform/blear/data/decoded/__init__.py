"""Decoded shards: their files, the cache that holds them, and the store that takes batches from both."""
