"""A network in an ONNX file as a model, run by onnxruntime."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blear.contracts import ClipSpec, thread_count
from blear.errors import RunError, first_line
from blear.models.facts import NetworkFacts, read_facts
from blear.models.foreign import FLAG, ForeignModel, channels_of, refuse_facts, split_metadata
from blear.models.memory_limit import limited_memory
from blear.models.onnx_check import external_files
from blear.models.time_limit import TimeLimit, TimeLimitError
from blear.storage.file_digest import file_digest

_SILENT = 4  # onnxruntime's log level for fatal errors only
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class OnnxModel(ForeignModel):
    """A network in an ONNX file, used as a `blear.models.model.Model`.

    Its first input is pictures [N, C, H, W] or [N, H, W, C], or clips [N, T, C, H, W], as float32, float16 or uint8;
    N must be open or 1.

    Args:
        file: the file.
        given: fields of `NetworkFacts` that go before the metadata of the file.

    Attributes:
        metadata: the metadata properties of the file.

    Raises:
        RunError: onnxruntime is missing, the file is damaged or needs too much memory or time, its external data are
            not beside it, or facts are missing or wrong.
    """

    def __init__(self, file: Path, given: Mapping[str, Any] | None = None) -> None:
        try:
            with limited_memory(file, *external_files(file)):
                self._read(file, given or {})
        except UnicodeDecodeError as error:
            raise RunError(f"its names or metadata are no UTF-8: {error}", str(file), "export it again") from error

    def _read(self, file: Path, given: Mapping[str, Any]) -> None:
        self._file, self.time_limit = file, TimeLimit(str(file))
        self._session = _open(file, "cpu", self.time_limit)
        self._options: Any = None  # of the present run
        self._input = self._session.get_inputs()[0]
        if self._input.type not in _TYPES:
            do = f"its first input must be one of: {', '.join(_TYPES)}"
            raise RunError(f"its input is {self._input.type}", str(file), do)
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        stored, card = split_metadata(self.metadata)
        if card:
            refuse_facts(given, str(file))
        facts = read_facts(stored, given, str(file), FLAG)
        self._last, clip = self._clip(facts)
        if not self._session.get_outputs():
            raise RunError("it has no output", str(file), "export it again")
        names = [output.name for output in self._session.get_outputs()]
        one_by_one = self._input_shape()[0] == 1
        super().__init__(file.stem, str(file), facts, clip, names, file_digest(file), one_by_one, card)

    def to(self, device: str) -> OnnxModel:
        """Moves the network to a device, `cpu` or `cuda`."""
        self._session = _open(self._file, device, self.time_limit or TimeLimit(str(self._file)))
        return self

    def run(self, prepared_NTCHW: np.ndarray) -> list[np.ndarray]:
        """See `ForeignModel.run`."""
        x = prepared_NTCHW if len(self._input_shape()) == 5 else prepared_NTCHW[:, -1]
        x = np.moveaxis(x, -3, -1) if self._last else x
        kind = _TYPES[self._input.type]
        array = (x.round().clip(0, 255) if kind == np.uint8 else x).astype(kind, order="C", copy=False)
        self._options = _run_options()
        return list(self._session.run(None, {self._input.name: np.ascontiguousarray(array)}, self._options))

    def stop(self) -> None:
        """See `ForeignModel.stop`: onnxruntime ends after the present node of the graph or of a loop's body."""
        self._options.terminate = True

    def _input_shape(self) -> list[int | None]:
        return [side if isinstance(side, int) else None for side in self._input.shape]

    def _clip(self, facts: NetworkFacts) -> tuple[bool, ClipSpec]:
        """Whether the channels are the last axis; and the shape of the clips."""
        shape, channels = self._input_shape(), channels_of(facts)
        if len(shape) not in (4, 5):
            what = f"its input has the shape {self._input.shape}, not that of pictures or clips"
            raise RunError(what, str(self._file), "give a network of pictures [N, C, H, W] or clips [N, T, C, H, W]")
        last = shape[-1] == channels and shape[-3] != channels
        if (shape[-1] if last else shape[-3]) not in (channels, None):
            found = shape[-1] if last else shape[-3]
            raise RunError(f"its input has {found} channels", str(self._file), f"give {FLAG} color=grey, rgb or bgr")
        height, width = (shape[-3], shape[-2]) if last else (shape[-2], shape[-1])
        if facts.size:
            height, width = facts.size[0], facts.size[-1]
        if height is None or width is None:
            raise RunError("the file does not state the size of its input", str(self._file), f"give {FLAG} size=H,W")
        length = (shape[1] or 1) if len(shape) == 5 else 1
        return last, ClipSpec(length, channels, height, width)


def _run_options() -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = _SILENT
    return options


def _open(file: Path, device: str, limit: TimeLimit) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RunError("onnxruntime is not installed", str(file), "pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores free
    options.log_severity_level = _SILENT
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    session = functools.partial(onnxruntime.InferenceSession, file, options, providers=providers, enable_fallback=0)
    try:
        return limit(session, "opening the file")
    except TimeLimitError:
        raise
    except Exception as error:
        raise RunError(f"cannot be read: {first_line(error)}", str(file), "export it again") from error
