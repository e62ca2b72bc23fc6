"""Augmentations that move pixels or change the frames' size."""
