"""Writes the shards of a dataset from raw data, in processes or Ray tasks."""
