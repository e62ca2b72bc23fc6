"""Weights from files that others made: safetensors, PyTorch's without code, Caffe's. Nothing in a file is executed."""
