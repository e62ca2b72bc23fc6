"""A model by its name, whoever trained it: those of `blear.load`, ONNX and `torch.export` files, callables, ...

torch is imported only for the models that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from blear.contracts import ClipSpec
from blear.errors import RunError
from blear.models.callable_model import CallableModel, is_callable_path
from blear.models.foreign import FLAG, ForeignModel, refuse_facts
from blear.models.huggingface import PREFIX, HuggingFaceModel
from blear.models.onnx import OnnxModel

if TYPE_CHECKING:
    from blear.models.model import Model

AnyModel: TypeAlias = Union["Model", ForeignModel]
"""Pictures in, probabilities and values by target out."""

ONNX, TORCH_EXPORT = ".onnx", ".pt2"
"""Suffixes of files."""
_EXPORT = "export it to ONNX (torch.onnx.export) or with torch.export.save"
_REFUSED = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib"), "is a pickle or TorchScript file"),
    **dict.fromkeys((".ts", ".jit", ".torchscript"), "is a TorchScript file"),
    **dict.fromkeys((".h5", ".keras", ".tflite", ".pb"), "is a file of TensorFlow"),
}
"""Ending of a file -> what it is."""


def open_model(
    name: str, *, stage: str | None = None, facts: Mapping[str, Any] | None = None, clip: ClipSpec | None = None
) -> AnyModel:
    """Loads a model.

    Args:
        name: a model of `blear.load` (shipped model, model folder, weights file, run, stage), FILE.onnx,
            FILE.pt2 (`torch.export`), MODULE:ATTRIBUTE of a callable, or hf:FOLDER (a pipeline).
        stage: the stage of a run; None: the last one.
        facts: fields of `NetworkFacts`, for networks that do not carry them.
        clip: shape of the pictures for callables whose facts have no size; None: they must have it.

    Raises:
        RunError: there is no such model, it is of a type that is not read, a fact is wrong, the model of `name`
            carries its facts itself, or it is no run and a stage is given.
    """
    suffix, path = Path(name).suffix.lower(), Path(name).expanduser()
    is_callable = is_callable_path(name) and not path.exists()
    if stage is not None and (name.startswith(PREFIX) or suffix in (ONNX, TORCH_EXPORT) or is_callable):
        raise RunError(f"is no run, so it has no stage {stage!r} to choose", name, "leave --stage out")
    if name.startswith(PREFIX):
        return HuggingFaceModel(name.removeprefix(PREFIX), facts, clip)
    if suffix in _REFUSED and (path.exists() or "/" in name):
        do = _EXPORT if "TensorFlow" not in _REFUSED[suffix] else "convert it to ONNX (tf2onnx)"
        unsafe = "" if "TensorFlow" in _REFUSED[suffix] else ", which can execute code when it is loaded"
        raise RunError(f"{_REFUSED[suffix]}{unsafe}; it is not read", name, do)
    if suffix in (ONNX, TORCH_EXPORT):
        if not path.is_file():
            raise RunError("there is no such file", name, "check the path")
        return OnnxModel(path, facts) if suffix == ONNX else _exported_program(path, facts)
    if is_callable:
        return CallableModel(name, facts, clip)
    refuse_facts(facts, name)
    from blear.models.load import load

    return load(name, stage=stage)


def _exported_program(file: Path, facts: Mapping[str, Any] | None) -> ForeignModel:
    from blear.models.exported_program import ExportedProgramModel

    return ExportedProgramModel(file, facts)


def parse_facts(texts: Sequence[str]) -> dict[str, str]:
    """Splits KEY=VALUE texts.

    Raises:
        RunError: a text has no `=`.
    """
    for text in texts:
        if "=" not in text:
            raise RunError("expected KEY=VALUE", f"{FLAG} {text}", f"for instance {FLAG} range=0,255")
    return {key.strip(): value for key, _, value in (text.partition("=") for text in texts)}
