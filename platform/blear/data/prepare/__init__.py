"""Raw data -> shards, by whoever has a core."""
