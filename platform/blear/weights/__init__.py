"""Readers of weight files: safetensors, PyTorch, Caffe; conversion of their layout and names."""
