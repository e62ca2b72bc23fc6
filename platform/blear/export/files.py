"""Writes traced models as ONNX and `torch.export` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from blear.errors import RunError, first_line
from blear.export.trace import Traced
from blear.models.quiet import quiet

OPSET = 20
"""Version of ONNX's operators in exported files."""


def write_torch_export(traced: Traced, file: Path) -> None:
    """Writes a `torch.export` file; `Traced.metadata` are its extra files."""
    with quiet():
        torch.export.save(traced.program, file, extra_files=traced.metadata)


def write_onnx(traced: Traced, file: Path, *, fold_weights: bool = True) -> None:
    """Writes one ONNX file with its weights and `Traced.metadata`, without traces of this machine.

    Args:
        traced: the model.
        file: the file.
        fold_weights: whether batch normalisations are folded into convolutions; otherwise the file has the weights of
            the model, under their names.

    Raises:
        RunError: onnx or onnxscript is missing, or the network has an operation that ONNX has not.
    """
    onnx = import_onnx(file)
    names = list(traced.module.outputs)
    try:
        with quiet():
            program: Any = torch.onnx.export(
                traced.program,
                dynamo=True,
                input_names=[traced.input],
                output_names=names,
                opset_version=OPSET,
                optimize=fold_weights,
                verbose=False,
            )
            if not fold_weights:
                _fold_constants(program.model, set(traced.program.state_dict))
            program.save(file, external_data=False)
    except Exception as error:
        what = f"cannot be written as ONNX: {first_line(error)}"
        raise RunError(what, traced.module.model.card.name, "export --to torch-export") from error
    model = onnx.load(file)
    clean_graph(model.graph)
    for function in model.functions:
        clean_graph(function)
    _name_axes(model, traced)
    set_metadata(model, traced.metadata)
    onnx.save(model, file)


def _fold_constants(model: Any, weights: set[str]) -> None:
    """Computes what does not depend on the input, except nodes that change weights."""
    from onnxscript import optimizer

    def changes_weights(node: Any) -> bool:
        return node.op_type != "CastLike" and any(one is not None and one.name in weights for one in node.inputs)

    optimizer.fold_constants(model, should_fold=lambda node: False if changes_weights(node) else None)
    optimizer.remove_unused_nodes(model)


def import_onnx(file: Path) -> Any:
    """The package onnx.

    Raises:
        RunError: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RunError(f"{error.name} is not installed", str(file), "pip install 'blear[onnx]'") from error
    return onnx


def set_metadata(model: Any, properties: dict[str, str]) -> None:
    """Replaces the metadata properties of an ONNX model."""
    del model.metadata_props[:]
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name = "blear"


def clean_graph(graph: Any) -> None:
    """Removes stack traces and names of source files."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in graph.value_info:
        del value.metadata_props[:]


def _name_axes(model: Any, traced: Traced) -> None:
    """Names the open axes: `batch`, `frames`."""
    names: dict[str, str] = {}
    for place, name in enumerate(("batch", "frames") if traced.open_time else ("batch",)):
        axis = model.graph.input[0].type.tensor_type.shape.dim[place]
        names[axis.dim_param] = name
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in names:
                axis.dim_param = names[axis.dim_param]
            elif axis.dim_param:
                axis.ClearField("dim_param")
