"""Writes the ONNX graph of `faces/retinaface`, which refers to the weights of the network in PyTorch.

    python docs/make_retinaface_graph.py

It is needed again only when the network or the operators of ONNX change.
"""

from __future__ import annotations

from typing import Any

import onnx
import torch

from blear.export.files import OPSET, clean_graph
from blear.export.graph import refer_to_weights
from blear.models.quiet import quiet
from blear_faces.retinaface.locator import STRIDES
from blear_faces.retinaface.onnx_network import GRAPH
from blear_faces.retinaface.torch_network import WEIGHTS, TorchNetwork


def main() -> None:
    """Writes the file."""
    network, step = TorchNetwork("cpu", "float32"), STRIDES[-1]
    images = torch.zeros(2, 5 * step + 2, 7 * step + 2, 3, dtype=torch.int8)
    axes = {0: torch.export.Dim("n"), 1: step * torch.export.Dim("h") + 2, 2: step * torch.export.Dim("w") + 2}
    with quiet(), torch.enable_grad():  # with gradients the network calls no operation of oneDNN
        traced = torch.export.export(network, (images,), dynamic_shapes=(axes,))
        program: Any = torch.onnx.export(
            traced,
            dynamo=True,
            input_names=["images"],
            output_names=["scores", "boxes", "points"],
            opset_version=OPSET,
            verbose=False,
        )
    model = program.model_proto
    clean_graph(model.graph)
    refer_to_weights(model.graph, WEIGHTS, "network.")
    GRAPH.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(GRAPH))


if __name__ == "__main__":
    main()
