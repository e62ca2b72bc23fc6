"""Occlusion of the face."""
