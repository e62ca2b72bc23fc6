"""Faces of an upload, and their predictions by each model under a setting of the controls."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blear.contracts import BuildContext
from blear.degradation.chain import Chain, as_float, build_chain
from blear.imaging import Box, Framing
from blear.models.calibration import calibrated
from blear.models.images import ClipConverter
from blear.models.inference import for_inference
from blear.models.model import Model
from blear.models.open_model import AnyModel
from blear.plugin.catalog import Catalog
from blear.predict.degradation import estimate_face_degradation
from blear.predict.detectors import DetectedFace
from blear.predict.trackers import TrackId
from blear.predict.video import FrameWindow
from blear.serve.controls import Control, Setting, entries

_CHAINS = 256  # settings whose chains are kept


@dataclass(frozen=True)
class Face:
    """A face of an upload.

    Attributes:
        clips: for each model, uint8 RGB [T, h, w, 3]: the face as the model's framing cuts it.
        setting: of the controls.
        number: index of the face in its upload, from which the random numbers of the degradations follow.
        person: see `FacePrediction`.
        box: in pixels of the frame.
        score: confidence of the detector; None: it has none.
        degradation: see `estimate_degradation`.
    """

    clips: tuple[np.ndarray, ...]
    setting: Setting
    number: int
    person: TrackId
    box: Box
    score: float | None
    degradation: dict[str, float]

    @property
    def face_px(self) -> float:
        """The smaller side of the box, in pixels of the frame."""
        return min(self.box.width, self.box.height)


@dataclass(frozen=True)
class FaceOutput:
    """The predictions of one model for a face.

    Attributes:
        values: target -> probabilities [K] of a class target, or a value [1].
        image_HWC: uint8 [H, W, C], the last frame of the model's input, after the controls.
    """

    values: dict[str, np.ndarray]
    image_HWC: np.ndarray


class ServedModel:
    """A model with its framing and the chains of the controls.

    Args:
        name: name that people see.
        model: the model.
        framing: how faces are cut out of frames for it.
        controls: the controls.
        catalog: the components of the installed plugins.
    """

    def __init__(
        self, name: str, model: AnyModel, framing: Framing, controls: Sequence[Control], catalog: Catalog
    ) -> None:
        self.name, self.card, self.labels, self.framing = name, model.card, model.labels, framing
        self._model = for_inference(model) if isinstance(model, Model) else model
        self._convert = ClipConverter(model.card.clip, model.card.grey)
        self._controls, self._catalog = controls, catalog
        self._chain = functools.lru_cache(_CHAINS)(self._build_chain)

    def cut(self, window: FrameWindow, face: DetectedFace) -> np.ndarray:
        """uint8 [T, h, w, 3]: a face in all frames of a window that the model needs.

        Raises:
            ValueError: the face lies outside the frame, or has no landmarks and the model needs them.
        """
        images = window.images[-self.card.clip.length :]
        return np.stack([self.framing.cut(image_HWC, face.box, face.points_52) for image_HWC in images])

    @torch.no_grad()
    def __call__(self, clips: Sequence[np.ndarray], faces: Sequence[Face]) -> list[FaceOutput]:
        """The predictions for N faces.

        Args:
            clips: of each face, see `Face.clips`.
            faces: their settings, and the facts that the calibration needs.
        """
        (frames,) = self._convert.chunks(list(clips), len(clips))
        frames_NTCHW = as_float(frames, torch.device("cpu"))
        for setting in {face.setting for face in faces if face.setting}:
            numbers = [n for n, face in enumerate(faces) if face.setting == setting]
            samples = np.array([faces[n].number for n in numbers], dtype=np.int64)
            degraded = self._chain(setting)(frames_NTCHW[numbers], np.zeros_like(samples), samples)
            frames_NTCHW[numbers] = degraded.clamp(0, 1)
        outputs = {name: value.float().numpy() for name, value in self._model(frames_NTCHW).items()}
        return [
            FaceOutput(
                {name: self._calibrated(name, np.atleast_1d(values[n]), face) for name, values in outputs.items()},
                _to_bytes(frames_NTCHW[n, -1]),
            )
            for n, face in enumerate(faces)
        ]

    def _build_chain(self, setting: Setting) -> Chain:
        chain, _ = build_chain(
            self._catalog, entries(self._controls, setting), BuildContext(clip=self.card.clip), "controls"
        )
        return chain

    def _calibrated(self, target: str, values: np.ndarray, face: Face) -> np.ndarray:
        calibration = self.card.calibration.get(target)
        if calibration is None:
            return values
        return calibrated(values, calibration.temperature(face.face_px, face.degradation))


def predict_faces(models: Sequence[ServedModel], faces: Sequence[Face]) -> list[list[FaceOutput]]:
    """For each face, the predictions of each model."""
    if not faces:
        return []
    by_model = [model([face.clips[m] for face in faces], faces) for m, model in enumerate(models)]
    return [list(outputs) for outputs in zip(*by_model, strict=True)]


def cut_face(
    models: Sequence[ServedModel],
    window: FrameWindow,
    detected: DetectedFace,
    person: TrackId,
    setting: Setting,
    number: int,
) -> Face:
    """A detected face, cut for each model.

    Raises:
        ValueError: see `ServedModel.cut`.
    """
    clips = tuple(model.cut(window, detected) for model in models)
    degradation = estimate_face_degradation(window.image_HWC, detected.box)
    return Face(clips, setting, number, person, detected.box, detected.score, degradation)


def whole_frame(
    models: Sequence[ServedModel], window: FrameWindow, person: TrackId, setting: Setting, number: int
) -> Face:
    """The face of a frame that is a cut face."""
    height, width, _ = window.image_HWC.shape
    clips = tuple(np.stack(window.images[-model.card.clip.length :]) for model in models)
    box = Box(0, 0, width, height)
    return Face(clips, setting, number, person, box, None, estimate_face_degradation(window.image_HWC, box))


def _to_bytes(frame_CHW: Tensor) -> np.ndarray:
    return (frame_CHW.movedim(0, -1) * 255).round().byte().numpy()
