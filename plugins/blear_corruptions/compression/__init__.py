"""Differentiable compression."""
