"""ImageNet-P."""
