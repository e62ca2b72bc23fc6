"""Where runs and shards lie: local folders, run folders, files below a URL."""
