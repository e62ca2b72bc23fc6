"""The card of a model: card.json, from which the network is built and in which people look up its facts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blear.contracts import ClipSpec, Target
from blear.errors import RunError
from blear.imaging import Framing
from blear.job.schema import Job
from blear.models.calibration import Calibration
from blear.storage.file_digest import file_digest

FORMAT = 1
"""Version of card.json."""
CARD_FILE, TEXT_FILE, WEIGHTS_FILE, GRAPH_FILE = "card.json", "card.md", "model.safetensors", "model.onnx"
MOST_VALUES = 1 << 26
"""Largest number of values of a model's input clip: 256 MiB of float32."""
STAGE = "model"
"""Name of the stage in the job that `ModelCard.job` returns."""


class Training(BaseModel):
    """Where the weights come from."""

    model_config = ConfigDict(extra="allow", frozen=True)
    run: str = Field("", description="name of the run")
    stage: str = Field("", description="name of the stage")
    job_sha256: str = Field(
        "",
        description="digest of the job without its name, its evaluation and the places of its data; "
        "`blear check JOB --digest` prints it",
    )
    job: str = Field("", description="arguments of `blear run` and `blear check --digest` that name the job")
    data: str = Field("", description="dataset component of the training data")
    params: dict[str, Any] = Field({}, description="parameters of the dataset, without paths")


class ModelCard(BaseModel):
    """Content of card.json. Further keys are kept.

    A model folder holds `card.json`, the weights `model.safetensors`, for people `card.md`, and perhaps the network as
    `model.onnx`, an ONNX graph that refers to the weights.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    format: int = Field(FORMAT, description="version of this file")
    name: str = Field(description="name of the model")
    summary: str = Field("", description="one sentence")
    default: bool = Field(False, description="whether commands use this model where none is named")
    blear: str = Field("", description="version of blear that wrote the model")
    plugins: tuple[str, ...] = Field((), description="one-file plugins that the network needs")
    seed: int = Field(0, description="seed of the job")
    network: dict[str, Any] = Field(
        description="the keys of a job's stage that define the network: backbone, head or heads, and of `augment` the "
        "operations that change the frames' size"
    )
    clip: ClipSpec = Field(description="shape of the pictures or clips that the model was trained on")
    targets: tuple[Target, ...] = Field(description="targets of the training data")
    labels: dict[str, tuple[str, ...]] = Field({}, description="class target of the model -> class names, in order")
    grey: Literal["full", "studio"] = Field(
        "full", description="luma of colour pictures in a grey model: full range 0 to 255, or studio range 16 to 235"
    )
    framing: dict[str, Any] | None = Field(
        None, description="how the faces of the training data were cut out of their frames; null: not stated"
    )
    temperatures: dict[str, float] = Field(
        {}, description="class target -> temperature: probabilities p become p^(1/T), normalised; missing: 1"
    )
    calibration: dict[str, Calibration] = Field(
        {}, description="class target -> temperature by degradation of the face, which `blear predict` applies"
    )
    terms: str = Field("", description="licence and source of the training data")
    training: Training = Field(Training(), description="where the weights come from")
    parameters: int = Field(0, description="number of parameters")
    dtype: Literal["float32", "float16"] = Field("float32", description="type of the stored weights")
    weights_sha256: str = Field("", description="SHA-256 of model.safetensors; empty: not checked")
    metrics: list[dict[str, Any]] = Field(
        [], description="results: arm, condition, severity, metric, value, low, high, n"
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}, this blear reads {FORMAT}; install a newer blear")
        if self.framing is not None:
            try:
                Framing(**self.framing)
            except TypeError as error:
                raise ValueError(f"framing: {error}") from error
        sides = (self.clip.length, self.clip.channels, self.clip.height, self.clip.width)
        if min(sides) < 1 or math.prod(sides) > MOST_VALUES:
            raise ValueError(f"a clip of {' x '.join(map(str, sides))} is empty, or has over {MOST_VALUES:,} values")
        return self

    def job(self) -> Job:
        """Returns a job whose only stage, `STAGE`, has this model's network. Its data cannot be prepared.

        Raises:
            pydantic.ValidationError: `network` is no part of a stage.
        """
        stage = {"data": "data", "optimizer": {"lr": 1.0}, "steps": 1, **self.network}
        return Job.model_validate(
            {
                "name": "model",
                "seed": self.seed,
                "plugins": list(self.plugins),
                "data": {"data": {"use": self.training.data or "none/none"}},
                "stages": {STAGE: stage},
            }
        )

    def to_json(self) -> str:
        """Formats the card as card.json holds it."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def parse_card(data: bytes | str, where: str) -> ModelCard:
    """Reads the content of a card.json.

    Raises:
        RunError: it is damaged, or of a newer format.
    """
    try:
        card = ModelCard.model_validate_json(data)
        card.job()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(f"no valid model card: {field}: {first['msg']}", where, "copy the model again") from error
    return card


def weights_digest(card: ModelCard, weights: Path) -> str:
    """Returns the SHA-256 of a weights file.

    Raises:
        RunError: the card states another one.
    """
    digest = file_digest(weights)
    if card.weights_sha256 not in ("", digest):
        raise RunError("the weights are not those of card.json: another SHA-256", str(weights), "copy it again")
    return digest


def read_card(file: Path) -> ModelCard:
    """Reads a card.json.

    Raises:
        RunError: it is missing or damaged, or of a newer format.
    """
    try:
        return parse_card(file.read_bytes(), str(file))
    except OSError as error:
        do = "give a folder with card.json and model.safetensors, as `Model.save` writes it"
        raise RunError(f"the model has no card: {error.strerror}", str(file), do) from error
