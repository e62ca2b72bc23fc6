"""A network in an ONNX file as a model: pictures in, probabilities and values by target out (needs onnxruntime)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from blear.contracts import ClipSpec, Target
from blear.errors import RunError
from blear.imaging import Framing
from blear.models.card import ModelCard
from blear.models.images import ClipConverter, Images
from blear.storage.file_digest import file_digest

SUFFIX = ".onnx"
_CHUNK = 64
_METADATA = "blear."


class OnnxFacts(BaseModel):
    """What an ONNX file does not state by itself; metadata properties `blear.KEY` of the file, or given by the user."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    labels: tuple[str, ...] = Field((), description="class names in the order of the output; empty: outputs are values")
    target: str = Field("emotion", description="name of the class target")
    size: tuple[int, ...] = Field((), description="height and width, where the file leaves them open; one: a square")
    color: Literal["rgb", "bgr", "grey"] = Field("rgb", description="channels of the input")
    range: tuple[float, float] = Field((0.0, 1.0), description="values of black and white")
    mean: tuple[float, ...] = Field((), description="is subtracted from the values, for each channel")
    std: tuple[float, ...] = Field((), description="divides the values, for each channel")
    output: Literal["auto", "probabilities", "logits"] = Field(
        "auto", description="auto: from the values of the output"
    )
    framing: dict[str, Any] | None = Field(None, description="how faces are cut out, fields of `Framing`")

    @field_validator("labels", "size", "range", "mean", "std", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("framing", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        value = json.loads(value) if isinstance(value, str) else value
        unknown = set(value or ()) - {field.name for field in fields(Framing)}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return value


class OnnxModel:
    """A network in an ONNX file, used as a `blear.models.model.Model`.

    Its first input is float32 pictures [N, C, H, W] or [N, H, W, C], or clips [N, T, C, H, W]; N must be open or 1.
    With `labels`, the output of as many columns is the class target; else every output is a regression target of its
    name.

    Args:
        file: the file.
        given: fields of `OnnxFacts` that go before the metadata of the file.

    Attributes:
        card: facts of the model.

    Raises:
        RunError: onnxruntime is missing, the file is damaged, or facts are missing or wrong.
    """

    def __init__(self, file: Path, given: Mapping[str, Any] | None = None) -> None:
        self._file = file
        self._session = _open(file, "cpu")
        self.facts = self._read_facts(given or {})
        self._one_by_one = self._input_shape()[0] == 1
        self._last, clip = self._clip()
        self._convert = ClipConverter(clip, "full")
        names = [output.name for output in self._session.get_outputs()]
        labels = {self.facts.target: self.facts.labels} if self.facts.labels else {}
        targets = [Target(name, "class", classes) for name, classes in labels.items()]
        self.card = ModelCard(
            name=file.stem,
            network={},
            clip=clip,
            targets=tuple(targets or [Target(name, "value") for name in names]),
            labels=labels,
            framing=self.facts.framing,
            weights_sha256=file_digest(file),
        )
        self._outputs = self._find_outputs()

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """See `Model.labels`."""
        return dict(self.card.labels)

    @property
    def framing(self) -> Framing | None:
        """See `Model.framing`."""
        return None if self.card.framing is None else Framing(**self.card.framing)

    def to(self, device: str) -> OnnxModel:
        """Moves the network to a device, `cpu` or `cuda`."""
        self._session = _open(self._file, device)
        return self

    def __call__(self, images: Images) -> dict[str, Tensor]:
        """Predicts every target of N pictures of faces; see `Model.forward`. All tensors are on the CPU."""
        parts = [self._predict(chunk) for chunk in self._convert.chunks(images, 1 if self._one_by_one else _CHUNK)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}

    def _predict(self, clips_NTCHW: Tensor) -> dict[str, Tensor]:
        outputs = self._run(clips_NTCHW)
        found = {}
        for target, (place, softmax) in self._outputs.items():
            values = torch.from_numpy(outputs[place]).float()
            values = values if target in self.labels else values.reshape(len(values), -1)[:, 0]
            found[target] = values.softmax(dim=1) if softmax else values
        return found

    def _run(self, clips_NTCHW: Tensor) -> list[np.ndarray]:
        low, high = self.facts.range
        scale = 255 if clips_NTCHW.dtype == torch.uint8 else 1
        x = clips_NTCHW.float() / scale * (high - low) + low
        x = x.flip(2) if self.facts.color == "bgr" else x
        shape = (-1, 1, 1)
        x = x - torch.tensor(self.facts.mean).reshape(shape) if self.facts.mean else x
        x = x / torch.tensor(self.facts.std).reshape(shape) if self.facts.std else x
        x = x if len(self._input_shape()) == 5 else x[:, -1]
        x = x.movedim(-3, -1) if self._last else x
        name = self._session.get_inputs()[0].name
        return list(self._session.run(None, {name: np.ascontiguousarray(x.numpy())}))

    def _read_facts(self, given: Mapping[str, Any]) -> OnnxFacts:
        stored = self._session.get_modelmeta().custom_metadata_map
        known = {key.removeprefix(_METADATA): value for key, value in stored.items() if key.startswith(_METADATA)}
        try:
            return OnnxFacts.model_validate(known | dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            keys = ", ".join(OnnxFacts.model_fields)
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise RunError(what, str(self._file), f"give --onnx KEY=VALUE; keys: {keys}") from error

    def _input_shape(self) -> list[int | None]:
        return [side if isinstance(side, int) else None for side in self._session.get_inputs()[0].shape]

    def _clip(self) -> tuple[bool, ClipSpec]:
        """Whether the channels are the last axis; and the shape of the clips."""
        shape, channels = self._input_shape(), 1 if self.facts.color == "grey" else 3
        if len(shape) not in (4, 5):
            what = f"its input has the shape {self._session.get_inputs()[0].shape}, not that of pictures or clips"
            raise RunError(what, str(self._file), "give a network of pictures [N, C, H, W] or clips [N, T, C, H, W]")
        last = shape[-1] == channels and shape[-3] != channels
        if (shape[-1] if last else shape[-3]) not in (channels, None):
            found = shape[-1] if last else shape[-3]
            raise RunError(f"its input has {found} channels", str(self._file), "give --onnx color=grey, rgb or bgr")
        height, width = (shape[-3], shape[-2]) if last else (shape[-2], shape[-1])
        if self.facts.size:
            height, width = self.facts.size[0], self.facts.size[-1]
        if height is None or width is None:
            raise RunError("the file does not state the size of its input", str(self._file), "give --onnx size=H,W")
        length = (shape[1] or 1) if len(shape) == 5 else 1
        return last, ClipSpec(length, channels, height, width)

    def _find_outputs(self) -> dict[str, tuple[int, bool]]:
        """Target -> number of its output, and whether it needs softmax; from the outputs for two pictures."""
        clip = self.card.clip
        shape = (clip.length, clip.channels, clip.height, clip.width)
        noise = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))
        tried = [self._run(picture) for picture in (torch.zeros(1, *shape), noise)]
        if not self.facts.labels:
            return {output.name: (place, False) for place, output in enumerate(self._session.get_outputs())}
        count = len(self.facts.labels)
        places = [place for place, output in enumerate(tried[0]) if output.shape == (1, count)]
        if not places:
            shapes = ", ".join(str(list(output.shape)) for output in tried[0])
            what = f"{count} labels, but its outputs have the shapes {shapes}"
            raise RunError(what, str(self._file), "give one label for each class with --onnx labels=A,B,...")
        found = np.concatenate([outputs[places[0]] for outputs in tried])
        sums_to_one = bool((found >= 0).all() and np.allclose(found.sum(axis=1), 1, atol=1e-3))
        softmax = not sums_to_one if self.facts.output == "auto" else self.facts.output == "logits"
        return {self.facts.target: (places[0], softmax)}


def _open(file: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RunError("onnxruntime is not installed", str(file), "pip install 'blear[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    try:
        return onnxruntime.InferenceSession(file, options, providers=providers)
    except Exception as error:
        raise RunError(f"cannot be read: {str(error).splitlines()[0]}", str(file), "export it again") from error
