"""`blear export`: models as ONNX files, `torch.export` files and model folders, checked against the model."""
