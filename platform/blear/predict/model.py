"""A trained stage of a run as a function from faces to probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model

from blear.contracts import Categories, ClipSpec
from blear.data.dataset_info import TrainedOn
from blear.degrade.chain import Chain, as_float
from blear.errors import DataError, RunError
from blear.evaluate.fitting import fitted
from blear.imaging import Box, crop, face_square
from blear.job.reader import read_job
from blear.predict.video import Moment
from blear.storage.run_folder import RunFolder
from blear.train.model import Recognizer, build_recognizer
from blear.train.worker import local_device

MARGIN = 0.5


@dataclass(frozen=True)
class Framing:
    """How a face is cut out of a frame: a square of `room` times the side sqrt((w + m)(h + m)), m = margin (w + h)."""

    margin: float = MARGIN
    room: float = 1.0

    def square(self, box: Box) -> Box:
        """The square about the box's centre, whole pixels."""
        return face_square(box, self.margin, self.room)


@dataclass(frozen=True)
class FaceModel:
    """A recogniser of classes.

    Attributes:
        clip: shape of a face as its training data was stored.
        fit: what its stage makes of such a face before the network sees it.
        framing: how the faces of its training data were cut.
    """

    recognizer: Recognizer
    clip: ClipSpec
    fit: Chain
    framing: Framing
    device: torch.device

    def clip_of(self, moment: Moment, box: Box, framing: Framing, where: str) -> np.ndarray:
        """A face in all frames of a moment, the same box in each: uint8 [T, H, W, C]; outside the frame is black.

        Raises:
            DataError: the square lies wholly outside the frame.
        """
        square = framing.square(box)
        try:
            faces = [crop(image_HWC, square) for image_HWC in moment.past]
        except ValueError as error:
            raise DataError(str(error), where, "give boxes that were found in this very video") from error
        size = (self.clip.width, self.clip.height)
        how = cv2.INTER_AREA if square.width > self.clip.width else cv2.INTER_LINEAR
        resized = np.stack([cv2.resize(face, size, interpolation=how) for face in faces])
        if self.clip.channels == 3:
            return resized
        return np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in resized])[..., None]

    @torch.no_grad()
    def __call__(self, clips: Sequence[np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of the classes, and their probabilities [N, K] for N clips; of several decisions, the last frame's."""
        frames = torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).contiguous()
        numbers = np.arange(len(clips))
        outputs = self.recognizer(self.fit(as_float(frames, self.device), np.zeros_like(numbers), numbers))
        decoded = next(iter(self.recognizer.head.decode(outputs).values()))
        if not isinstance(decoded, Categories):
            do = "choose a stage whose head names one class, with --stage"
            raise RunError("the stage's head gives no classes, so that there is nothing to name", do=do)
        return decoded.classes, decoded.probabilities_BTK[:, -1].float().cpu().numpy()


def open_stage(root: Path, stage: str | None, buffer: int | None) -> FaceModel:
    """The final weights of a stage of a run, on the device that is there.

    Args:
        stage: name of the stage; None: the last one.
        buffer: frames of a clip; None: as many as the stage takes of each clip, or as its data's clips have.

    Raises:
        RunError: no such run or stage, it is not trained to its end, or the weights do not fit.
    """
    run = RunFolder.open(root)
    job, catalog = read_job(root / "job.yaml")
    name = stage or list(job.stages)[-1]
    if name not in job.stages:
        raise RunError(f"there is no stage {name!r}", str(root), f"choose one of: {', '.join(job.stages)}")
    weights, spec = run.weights(name), job.stages[name]
    data = _trained_on(run.stage(name) / "stage.json")
    length = buffer or (spec.frames.take if spec.frames is not None else data.clip.length)
    clip = replace(data.clip, length=length, shortest=None)
    targets = {target.name: target for target in data.targets}
    fit, context = fitted(
        job.model_copy(update={"stages": {name: spec.model_copy(update={"frames": None})}}),
        name,
        catalog,
        clip,
        targets,
    )
    recognizer = build_recognizer(catalog, spec, name, context)
    try:
        load_model(recognizer, str(weights))
    except (RuntimeError, SafetensorError) as error:
        what = f"the weights do not fit: {str(error).splitlines()[0]}"
        raise RunError(what, str(weights), "run the job again, or leave --buffer out") from error
    device = local_device(job.cluster.gpu)
    return FaceModel(recognizer.eval().to(device), clip, fit, _framing(data), device)


def _trained_on(file: Path) -> TrainedOn:
    try:
        return TrainedOn.model_validate(json.loads(file.read_bytes())["dataset"])
    except (ValueError, KeyError) as error:
        raise RunError(
            f"does not say what the stage was trained on: {error}", str(file), "run the job again"
        ) from error


def _framing(data: TrainedOn) -> Framing:
    """As the dataset says it in parameters called `margin` and `room`; otherwise the default."""
    given = {key: float(value) for key in ("margin", "room") if isinstance(value := data.params.get(key), int | float)}
    return Framing(**given)
