"""Responses of the API."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, Field

from blear.serve.controls import Control
from blear.serve.faces import Face, FaceOutput, ServedModel

_DIGITS = 4


class TargetPrediction(BaseModel):
    """One target: probabilities of the classes, or a value."""

    label: str | None = Field(None, description="class with the largest probability")
    probabilities: dict[str, float] | None = Field(None, description="class -> calibrated probability")
    value: float | None = Field(None, description="value of a regression target")


class ModelPrediction(BaseModel):
    """The predictions of one model for a face."""

    targets: dict[str, TargetPrediction] = Field(description="target -> prediction")
    input: str | None = Field(None, description="data URL (PNG): the model's input, after the controls; with show=true")


class FaceBox(BaseModel):
    """A box in pixels of the frame."""

    left: float
    top: float
    width: float
    height: float


class FaceAnswer(BaseModel):
    """One face."""

    person: int | str = Field(description="number of the person in the upload")
    box: FaceBox = Field(description="of the face in its frame")
    face_px: float = Field(description="smaller side of the box in pixels")
    score: float | None = Field(description="confidence of the detector")
    degradation: dict[str, float] = Field(description="estimated blur, blockiness and noise of the face in the upload")
    models: dict[str, ModelPrediction] = Field(description="model -> predictions")


class FrameAnswer(BaseModel):
    """One frame."""

    frame: int = Field(description="number of the frame in the upload, from 0")
    seconds: float
    width: int
    height: int
    damaged: bool = Field(description="the frame is damaged, or frames before it are missing")
    faces: list[FaceAnswer]


class Answer(BaseModel):
    """The faces of a picture or a video."""

    kind: Literal["picture", "video"]
    notes: list[str] = Field(description="facts about the upload, such as damage")
    frames: list[FrameAnswer]


class ModelFacts(BaseModel):
    """One model."""

    name: str
    summary: str
    labels: dict[str, tuple[str, ...]] = Field(description="class target -> classes")
    height: int
    width: int
    channels: int
    needs_landmarks: bool = Field(description="faces are aligned by landmarks: the parameter `box` cannot be used")


class Facts(BaseModel):
    """Models and controls."""

    models: list[ModelFacts]
    controls: list[Control]


class ErrorAnswer(BaseModel):
    """An upload or a parameter that is refused."""

    error: str


def model_facts(model: ServedModel) -> ModelFacts:
    """The facts of a model."""
    clip = model.card.clip
    return ModelFacts(
        name=model.name,
        summary=model.card.summary,
        labels=model.labels,
        height=clip.height,
        width=clip.width,
        channels=clip.channels,
        needs_landmarks=model.framing.shape == "landmarks",
    )


def face_answer(models: Sequence[ServedModel], face: Face, outputs: Sequence[FaceOutput], show: bool) -> FaceAnswer:
    """The answer for one face."""
    box = face.box
    return FaceAnswer(
        person=face.person,
        box=FaceBox(left=box.left, top=box.top, width=box.width, height=box.height),
        face_px=round(face.face_px, 1),
        score=None if face.score is None else round(face.score, _DIGITS),
        degradation={name: round(value, _DIGITS) for name, value in face.degradation.items()},
        models={
            model.name: ModelPrediction(
                targets={name: _target(model, name, values) for name, values in output.values.items()},
                input=_data_url(output.image_HWC) if show else None,
            )
            for model, output in zip(models, outputs, strict=True)
        },
    )


def _target(model: ServedModel, name: str, values: np.ndarray) -> TargetPrediction:
    if name not in model.labels:
        return TargetPrediction(value=round(float(values.reshape(-1)[-1]), _DIGITS))
    labels = model.labels[name]
    probabilities = {label: round(float(p), _DIGITS) for label, p in zip(labels, values, strict=True)}
    return TargetPrediction(label=labels[int(values.argmax())], probabilities=probabilities)


def _data_url(image_HWC: np.ndarray) -> str:
    ordered = image_HWC[..., ::-1] if image_HWC.shape[2] == 3 else image_HWC
    _, png = cv2.imencode(".png", np.ascontiguousarray(ordered))
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
