"""`blear budget`: the lowest bit rate of a video at which a model decides as on the original, without labels."""
