"""Covers in front of the face."""
