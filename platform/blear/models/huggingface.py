"""An image-classification pipeline of Hugging Face's transformers as a model (needs transformers)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blear.contracts import ClipSpec
from blear.errors import RunError, first_line
from blear.models.facts import read_facts
from blear.models.foreign import FLAG, ForeignModel
from blear.models.memory_limit import limited_memory
from blear.models.time_limit import TimeLimit

PREFIX = "hf:"
_OWN = ("labels", "color", "range", "mean", "std", "output")


class HuggingFaceModel(ForeignModel):
    """A pipeline: colour pictures of Pillow in, probabilities of the labels of its configuration out.

    The pipeline resizes and normalises the pictures itself. Only weights in safetensors files are read, and no code of
    the repository is run.

    Args:
        path: folder of `save_pretrained`, or a name on the hub, which transformers downloads.
        given: the fields `target`, `size` and `framing` of `NetworkFacts`.
        clip: shape of the pictures where the facts have no size; None: 224 x 224.

    Raises:
        RunError: transformers is missing, the pipeline cannot be loaded, its folder needs too much memory or time, or a
            fact belongs to the pipeline.
    """

    def __init__(self, path: str, given: Mapping[str, Any] | None = None, clip: ClipSpec | None = None) -> None:
        where = f"{PREFIX}{path}"
        if own := [key for key in given or {} if key in _OWN]:
            raise RunError(f"the pipeline has its own {own[0]}", where, f"leave {FLAG} {own[0]} out")
        self.time_limit, folder = TimeLimit(where), Path(path)
        if folder.is_dir():
            with limited_memory(*(file for file in folder.iterdir() if file.is_file())):
                self._pipeline = self.time_limit(functools.partial(_load, path, where), "reading the folder")
                self._describe(path, where, given, clip)
        else:  # transformers may download it
            self._pipeline = _load(path, where)
            self._describe(path, where, given, clip)

    def _describe(self, path: str, where: str, given: Mapping[str, Any] | None, clip: ClipSpec | None) -> None:
        names = self._pipeline.model.config.id2label
        self._labels = [str(names[index]) for index in sorted(names)]
        facts = read_facts({"labels": self._labels}, given or {}, where, FLAG)
        side = facts.size or ((clip.height, clip.width) if clip is not None else (224,))
        super().__init__(
            path.rstrip("/").rpartition("/")[2], where, facts, ClipSpec(1, 3, side[0], side[-1]), ["scores"]
        )

    def to(self, device: str) -> HuggingFaceModel:
        """Moves the network to a device, `cpu` or `cuda`."""
        self._pipeline.model.to(device)
        self._pipeline.device = self._pipeline.model.device
        return self

    def run(self, prepared_NTCHW: np.ndarray) -> list[np.ndarray]:
        """See `ForeignModel.run`."""
        arrays = np.moveaxis((prepared_NTCHW[:, -1].clip(0, 1) * 255).round().astype(np.uint8), 1, -1)
        found = self._pipeline([Image.fromarray(np.ascontiguousarray(array)) for array in arrays], top_k=None)
        scores = [{str(one["label"]): float(one["score"]) for one in row} for row in found]
        return [np.array([[row[label] for label in self._labels] for row in scores], np.float32)]


def _load(path: str, where: str) -> Any:
    try:
        from transformers import pipeline
    except ImportError as error:
        raise RunError("transformers is not installed", where, "pip install 'blear[transformers]'") from error
    try:
        return pipeline(
            "image-classification",
            model=path,
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:
        do = "give a folder of save_pretrained with model.safetensors and preprocessor_config.json"
        raise RunError(f"cannot be loaded: {first_line(error)}", where, do) from error
