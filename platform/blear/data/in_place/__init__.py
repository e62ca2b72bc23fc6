"""Reads shards that somebody else wrote where they lie: local copies, and an index beside our cache."""
