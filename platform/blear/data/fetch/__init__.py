"""Shards that lie elsewhere: remote storage and the checked copies of a node."""
