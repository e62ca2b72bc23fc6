"""Recipes of blind restoration."""
