"""A model in its fastest form for a device; on the CPU without torch where the model folder has an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blear.models.card import CARD_FILE, GRAPH_FILE, WEIGHTS_FILE, read_card, weights_digest
from blear.models.foreign import ForeignModel
from blear.models.onnx import OnnxModel
from blear.models.open_model import AnyModel, open_model
from blear.models.shipped import find_model, is_shipped

WEIGHTS_DIGEST = "blear.weights_sha256"
"""Metadata of a graph: SHA-256 of the weights file that it refers to."""


def open_for_prediction(
    name: str, device: str, *, stage: str | None = None, facts: Mapping[str, Any] | None = None
) -> AnyModel:
    """Loads a model for evaluation on a device.

    Args:
        name: see `open_model`.
        device: torch device, `cpu` or `cuda`.
        stage: see `open_model`.
        facts: see `open_model`.

    Raises:
        RunError: see `open_model`.
    """
    if device == "cpu" and not facts and stage is None and (graph := open_graph(name)) is not None:
        return graph
    model = open_model(name, stage=stage, facts=facts)
    if isinstance(model, ForeignModel):
        return model.to(device)
    from blear.models.inference import for_inference

    return for_inference(model).to(device)


def open_graph(name: str) -> OnnxModel | None:
    """Loads the ONNX graph of a model folder; it has no weights of its own but refers to those of the folder.

    Args:
        name: a model folder, or the name of a shipped model.

    Returns:
        None: the name is something else, or the folder has no graph, or that of other weights.

    Raises:
        RunError: the weights are not those of the card, or the graph cannot be read.
    """
    folder = find_model(name).folder if is_shipped(name) else Path(name).expanduser()
    graph, weights = folder / GRAPH_FILE, folder / WEIGHTS_FILE
    if not (graph.is_file() and weights.is_file() and (folder / CARD_FILE).is_file()):
        return None
    card = read_card(folder / CARD_FILE)
    digest, model = weights_digest(card, weights), OnnxModel(graph)
    if model.metadata.get(WEIGHTS_DIGEST) != digest:
        return None
    model.card = card
    return model
