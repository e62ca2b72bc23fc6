"""Near-duplicates within and across splits: perceptual hashes, neighbours within a radius, groups of them."""
