"""Tiny AFEW folders in the original layouts, with procedural faces."""

from pathlib import Path

import cv2
import numpy as np

from blear.contracts import BuildContext
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams, Subjects

FPS = 25


def drawn_clips(count, frames, size=96):
    """uint8 RGB [count, frames, size, size, 3], one identity each."""
    subjects = Subjects(train=count, dev=1)
    params = ProceduralParams(size=size, subjects=subjects, per_subject=1, recordings=1, frames=frames, seed=3)
    dataset = ProceduralFaces(params, BuildContext())
    return np.stack([s.frames for part in dataset.parts("train") for s in dataset.samples("train", part)])


def on_scene(clip_THWC, left, top, width=160, height=128):
    """Each frame pasted into a grey scene at (left, top)."""
    scene = np.full((len(clip_THWC), height, width, 3), 90, np.uint8)
    side = clip_THWC.shape[1]
    scene[:, top : top + side, left : left + side] = clip_THWC
    return scene


def write_avi(path: Path, frames_THWC):
    """An avi of Motion JPEG at 25 frames per second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames_THWC.shape[1:3]
    video = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), FPS, (width, height))
    for frame in frames_THWC:
        video.write(np.ascontiguousarray(frame[..., ::-1]))
    video.release()
    return path


def write_pictures(folder: Path, frames_THWC, name="images{:04d}.jpg", grey=False):
    """Numbered pictures from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames_THWC, start=1):
        picture = frame if not grey else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        cv2.imwrite(str(folder / name.format(number)), picture[..., ::-1] if not grey else picture)
    return folder
