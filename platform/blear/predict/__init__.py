"""Video in, timeline out: faces are found, followed, cut out of the last frames, recognised, written as records."""
