"""Finds near-duplicate images within and across splits: perceptual hashes, pairs within a Hamming radius, groups."""
