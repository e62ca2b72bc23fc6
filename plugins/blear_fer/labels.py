"""Names and orders of FER2013 and FERPlus. FER2013's csv order is not alphabetical; the folder mirror's listing is."""

from __future__ import annotations

FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""In the order of the csv's `emotion` column."""

FERPLUS_CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""In the order of the vote columns."""

VOTE_COLUMNS = (*FERPLUS_CLASSES, "unknown", "NF")
"""Ten taggers vote among these; NF is "not a face"."""

USAGES = ("Training", "PublicTest", "PrivateTest")
SPLITS = ("train", "dev", "test")
"""Our name of each usage."""

SIDE = 48
"""Rows and columns of a face, in pixels."""
