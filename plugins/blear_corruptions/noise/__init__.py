"""Noise and low light."""
