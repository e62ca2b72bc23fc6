"""Predicts uploads: decoding in limited processes, detection in one thread, networks in batches over requests."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from blear.imaging import Box
from blear.predict.appearance_tracker import AppearanceTracker
from blear.predict.detectors import DetectedFace, Detector
from blear.predict.video import FrameWindow
from blear.serve.answers import Answer, Facts, FrameAnswer, face_answer, model_facts
from blear.serve.batcher import Batcher
from blear.serve.controls import Control, Setting
from blear.serve.decoder_pool import DecoderPool, Upload
from blear.serve.faces import Face, FaceOutput, ServedModel, cut_face, predict_faces, whole_frame
from blear.serve.held_bytes import Claim, HeldBytes
from blear.serve.limits import UploadError, UploadLimits

_BATCH = 64
_FACES = 32  # of one frame, the most prominent ones
_BOX_SIDES, _BOX_AREAS = 2, 4  # largest side of a given box, and area of all of them, relative to the picture


@dataclass(frozen=True)
class Question:
    """What is asked about an upload.

    Attributes:
        setting: of the controls.
        crops: the frames are cut faces.
        boxes: the faces of a picture; empty: they are detected.
        show: whether the inputs of the models are a part of the answer.
    """

    setting: Setting = ()
    crops: bool = False
    boxes: tuple[Box, ...] = ()
    show: bool = False


class Service:
    """Models, detector and decoding processes. Nothing of an upload is kept.

    Args:
        models: the models.
        controls: the controls.
        detector: detects faces.
        limits: of an upload.
        processes: decoding processes.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        controls: Sequence[Control],
        detector: Detector,
        limits: UploadLimits,
        processes: int = 2,
    ) -> None:
        self.models, self.controls, self.limits = models, controls, limits
        self._detector = detector
        self.held = HeldBytes(limits.held)
        self._decoders = DecoderPool(limits, max(model.card.clip.length for model in models), processes, self.held)
        self._detection = ThreadPoolExecutor(1, "detector")
        self._predict: Batcher[Face, list[FaceOutput]] = Batcher(functools.partial(predict_faces, models), _BATCH)

    @property
    def facts(self) -> Facts:
        """Models and controls."""
        return Facts(models=[model_facts(model) for model in self.models], controls=list(self.controls))

    async def answer(self, data: bytes, question: Question) -> Answer:
        """Predicts the faces of a picture or a video.

        Raises:
            UploadError: the upload is refused, damaged or too large, or a box lies outside the picture.
        """
        with self.held.claim() as claim:
            return await self._answer(data, question, claim)

    async def _answer(self, data: bytes, question: Question, claim: Claim) -> Answer:
        upload = await self._decoders.decode(data, claim)
        if question.boxes and upload.kind != "picture":
            raise UploadError("boxes are of pictures only", do="leave `box` out")
        find: Callable[[], list[list[Face]]] = functools.partial(self._faces, upload, question)
        loop = asyncio.get_running_loop()
        by_frame = await loop.run_in_executor(self._detection, find)
        faces = [face for faces_ in by_frame for face in faces_]
        outputs = iter(await self._predict(faces) if faces else [])
        frames = []
        for window, found in zip(upload.windows, by_frame, strict=True):
            height, width, _ = window.image_HWC.shape
            answers = [face_answer(self.models, face, next(outputs), question.show) for face in found]
            frames.append(
                FrameAnswer(
                    frame=window.frame,
                    seconds=round(window.seconds, 4),
                    width=width,
                    height=height,
                    damaged=window.damaged,
                    faces=answers,
                )
            )
        return Answer(kind="video" if upload.kind == "video" else "picture", notes=upload.notes, frames=frames)

    def close(self) -> None:
        """Ends threads and processes."""
        self._decoders.close()
        self._detection.shutdown(cancel_futures=True)
        self._predict.close()

    def _faces(self, upload: Upload, question: Question) -> list[list[Face]]:
        """The faces of each frame, cut for each model."""
        if question.crops:
            return [
                [whole_frame(self.models, window, 1, question.setting, number)]
                for number, window in enumerate(upload.windows)
            ]
        if question.boxes:
            _require_size(question.boxes, upload.windows[0])
        tracker, found, number = AppearanceTracker(), [], 0
        for window in upload.windows:
            detected = [DetectedFace(box) for box in question.boxes] or self._detector([window])[0]
            by_box = {face.box: face for face in detected[:_FACES]}
            faces = []
            for tracked in tracker(window, list(by_box.values())):
                try:
                    face = by_box[tracked.box]
                    faces.append(cut_face(self.models, window, face, tracked.id, question.setting, number))
                except ValueError as error:
                    raise UploadError(str(error), do="give boxes of this picture") from error
                number += 1
            found.append(faces)
        return found


def _require_size(boxes: Sequence[Box], window: FrameWindow) -> None:
    """Refuses boxes whose faces need far more memory and time than the picture.

    Raises:
        UploadError: a box is more than twice as wide or high as the picture, or all boxes have more than four times its
            area.
    """
    height, width, _ = window.image_HWC.shape
    if any(box.width > _BOX_SIDES * width or box.height > _BOX_SIDES * height for box in boxes):
        what = f"a box is more than {_BOX_SIDES} times as wide or high as the picture ({width} x {height} pixels)"
        raise UploadError(what, do="give boxes in pixels of this picture")
    if sum(box.width * box.height for box in boxes) > _BOX_AREAS * width * height:
        what = f"the boxes have together more than {_BOX_AREAS} times the area of the picture"
        raise UploadError(what, do="give each face once")
