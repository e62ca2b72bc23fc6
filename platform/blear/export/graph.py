"""Writes the network of a model folder as `model.onnx`, an ONNX graph that refers to the weights file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from blear.export.files import import_onnx, set_metadata, write_onnx
from blear.export.trace import trace_model
from blear.models.card import GRAPH_FILE, WEIGHTS_FILE, ModelCard
from blear.models.for_prediction import WEIGHTS_DIGEST
from blear.models.foreign import CARD
from blear.models.load import load
from blear.storage.durable import durable_file

_PREFIX = "model.network."
"""Prefix of the names of the network's weights in a traced model."""


def write_graph(folder: Path) -> Path:
    """Writes `model.onnx` into a model folder. `blear predict` then needs no torch on the CPU.

    The graph holds batch normalisations and weights as the network does; onnxruntime folds them when it opens it.

    Raises:
        RunError: onnx is missing, the folder has no model, or its network cannot be traced or written as ONNX.
    """
    onnx, file, model = import_onnx(folder), folder / GRAPH_FILE, load(folder)
    traced = trace_model(model)
    with durable_file(file, file.with_suffix(".partial")) as partial:
        write_onnx(traced, partial, fold_weights=False)
        graph = onnx.load(partial)
        refer_to_weights(graph.graph, folder / WEIGHTS_FILE, _PREFIX)
        card = model.card.model_copy(update={"metrics": [], "weights_sha256": ""})
        properties = traced.metadata | {CARD: _short(card, traced.module.outputs)}
        set_metadata(graph, properties | {WEIGHTS_DIGEST: model.card.weights_sha256})
        partial.write_bytes(graph.SerializeToString(deterministic=True))
    return file


def _short(card: ModelCard, outputs: tuple[str, ...]) -> str:
    """The fields of a card that running the network needs."""
    kept = ("name", "network", "clip", "targets", "labels", "grey", "framing", "temperatures", "training", "plugins")
    return json.dumps(card.model_dump(mode="json", include=set(kept)) | {"outputs": list(outputs)}, ensure_ascii=False)


def refer_to_weights(graph: Any, weights: Path, prefix: str) -> None:
    """Replaces initializers of an ONNX graph by references into a safetensors file beside it.

    Those that equal a tensor of the file are replaced; float16 is cast to float32 by a node.

    Args:
        graph: `onnx.GraphProto`.
        weights: the safetensors file.
        prefix: prefix of the names of the weights in the graph.
    """
    import onnx

    places, stored, casts = _places(weights), load_file(weights), []
    for tensor in graph.initializer:
        key = tensor.name.removeprefix(prefix)
        if key not in places or not np.array_equal(onnx.numpy_helper.to_array(tensor), stored[key]):
            continue  # a constant, or weights that were changed for the graph
        tensor.ClearField("raw_data")
        if stored[key].dtype == np.float16:
            casts.append(onnx.helper.make_node("Cast", [f"{key}.half"], [tensor.name], to=tensor.data_type))
            tensor.name, tensor.data_type = f"{key}.half", onnx.TensorProto.FLOAT16
        tensor.data_location = onnx.TensorProto.EXTERNAL
        offset, length = places[key]
        for name, value in (("location", weights.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=name, value=str(value))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _places(file: Path) -> dict[str, tuple[int, int]]:
    """Name -> first byte and number of bytes of each tensor of a safetensors file."""
    with file.open("rb") as opened:
        first = 8 + int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(first - 8))
    header.pop("__metadata__", None)
    bounds = {name: one["data_offsets"] for name, one in header.items()}
    return {name: (first + start, end - start) for name, (start, end) in bounds.items()}
