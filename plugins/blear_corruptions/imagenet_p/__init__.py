"""The perturbation sequences of ImageNet-P."""
