"""A trained stage of a run, loaded for prediction: face clips in, class probabilities out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError

from blear.contracts import Categories, ClipSpec
from blear.data.dataset_info import TrainedOn
from blear.degradation.chain import Chain, as_float
from blear.errors import DataError, RunError, first_line
from blear.evaluate.transform import evaluation_transform
from blear.imaging import Box, Framing
from blear.job.reader import read_job
from blear.models.images import resize_face
from blear.plugin.catalog import Catalog
from blear.predict.video import FrameWindow
from blear.storage.run_folder import RunFolder
from blear.train.model import Recognizer, build_for_loading
from blear.train.plan import seed_runs
from blear.train.state_copy import load_state
from blear.train.worker import local_device


@dataclass(frozen=True)
class FaceModel:
    """A classifier of face clips.

    Attributes:
        clip: shape of the clips in the stage's training data.
        transform: evaluation transform of the stage, from such a clip to the network's input.
        framing: how the faces of the training data were cut out of their frames.
        device: where the network runs.
        catalog: the plugins of the run's job.
    """

    recognizer: Recognizer
    clip: ClipSpec
    transform: Chain
    framing: Framing
    device: torch.device
    catalog: Catalog

    def crop_clip(self, window: FrameWindow, box: Box, framing: Framing, where: str) -> np.ndarray:
        """Cuts a face out of all frames of a window, at the same place in each.

        Args:
            box: the face in the window's last frame.
            where: the frame, for error messages.

        Returns:
            uint8 [T, H, W, C] in the model's clip shape; pixels outside the frame are black.

        Raises:
            DataError: the face does not overlap the frame, or the framing needs landmarks.
        """
        try:
            faces = [framing.cut(image_HWC, box) for image_HWC in window.images]
        except ValueError as error:
            raise DataError(str(error), where, "give boxes of this video") from error
        resized = np.stack([resize_face(face, self.clip.height, self.clip.width) for face in faces])
        if self.clip.channels == 3:
            return resized
        return np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in resized])[..., None]

    @torch.no_grad()
    def __call__(self, clips: Sequence[np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
        """Class probabilities of N clips.

        Returns:
            The names of the K classes, and float32 [N, K]. Of a head that decides for each frame, the last frame's.

        Raises:
            RunError: the stage's head is no classifier.
        """
        frames = torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).contiguous()
        numbers = np.arange(len(clips))
        outputs = self.recognizer(self.transform(as_float(frames, self.device), np.zeros_like(numbers), numbers))
        found = self.recognizer.head.decode(outputs).values()
        decoded = next((each for each in found if isinstance(each, Categories)), None)
        if decoded is None:
            do = "choose a stage with a classification head, with --stage"
            raise RunError("the stage's head gives no classes", do=do)
        return decoded.classes, decoded.probabilities_BTK[:, -1].float().cpu().numpy()


def open_stage(root: Path, stage: str | None, buffer: int | None) -> FaceModel:
    """Loads the final weights of a stage onto the GPU, where the job allows it and there is one, else the CPU.

    Args:
        root: the run folder.
        stage: name of the stage; None: the last one.
        buffer: frames of a clip; None: the number that the stage samples of each clip (`frames.take`), or else the
            length of its data's clips.

    Raises:
        RunError: there is no such run or stage, its training is not complete, or the weights do not fit.
    """
    run = RunFolder.open(root)
    job, catalog = read_job(root / "job.yaml")
    name = stage or list(job.stages)[-1]
    if name not in job.stages:
        raise RunError(f"there is no stage {name!r}", str(root), f"choose one of: {', '.join(job.stages)}")
    _, run = next(iter(seed_runs(job, run).values()))  # the first one of several seeds
    weights, spec = run.weights(name), job.stages[name]
    data = _trained_on(run.stage(name) / "stage.json")
    length = buffer or (spec.frames.take if spec.frames is not None else data.clip.length)
    clip = replace(data.clip, length=length, shortest=None)
    targets = {target.name: target for target in data.targets}
    transform, context = evaluation_transform(
        job.model_copy(update={"stages": {name: spec.model_copy(update={"frames": None})}}),
        name,
        catalog,
        clip,
        targets,
    )
    recognizer = build_for_loading(catalog, spec, name, context)
    try:
        load_state(recognizer, weights)
    except (RuntimeError, SafetensorError) as error:
        what = f"the weights do not fit: {first_line(error)}"
        raise RunError(what, str(weights), "run the job again, or leave --buffer out") from error
    device = local_device("auto" if job.cluster.gpu else False)  # trained on a GPU, perhaps used without one
    return FaceModel(recognizer.eval().to(device), clip, transform, _framing(data), device, catalog)


def _trained_on(file: Path) -> TrainedOn:
    try:
        return TrainedOn.model_validate(json.loads(file.read_bytes())["dataset"])
    except (ValueError, KeyError) as error:
        raise RunError(f"does not state the stage's training data: {error}", str(file), "run the job again") from error


def _framing(data: TrainedOn) -> Framing:
    """The framing of the training data; of data that do not state it, the parameters `margin` and `room` as VTT's."""
    if data.framing is not None:
        return data.framing
    names = {"margin": "margin", "room": "crop_scale"}
    given = {
        ours: float(value) for key, ours in names.items() if isinstance(value := data.params.get(key), int | float)
    }
    return Framing(**given)  # type: ignore[arg-type]
