"""Base class of networks in the files and objects of others: pictures in, probabilities and values by target out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from blear.contracts import ClipSpec, Target
from blear.errors import RunError
from blear.imaging import Framing
from blear.models.card import MOST_VALUES, ModelCard, parse_card
from blear.models.facts import NetworkFacts
from blear.models.images import ClipConverter, Images, Pictures
from blear.models.time_limit import TimeLimit

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 64
FLAG = "--facts"
"""Option that gives the facts of a network, for messages."""
METADATA = "blear."
"""Prefix of the metadata of a file that holds fields of `NetworkFacts`, and `blear.card`."""
CARD = "blear.card"
"""Metadata with the card of the exported model as JSON; the outputs then have the names of its targets."""


class ForeignModel(ABC):
    """A network of others, used as a `blear.models.model.Model`. A subclass runs the network.

    An exported model of blear carries its card, and each output is the target of its name. Otherwise: with labels, the
    output of as many columns is the class target; else every output, of one column, is a regression target of its name.

    Args:
        name: of the model.
        where: the file or object, for messages.
        facts: labels and preprocessing.
        clip: shape of the pictures or clips that the network receives.
        outputs: names of the outputs.
        sha256: digest of the file; empty: there is no file.
        one_by_one: whether the network takes one picture at a time.
        card: content of card.json of an exported model; empty: it is no exported model.

    Attributes:
        card: facts of the model.
        facts: labels and preprocessing.

    Raises:
        RunError: the network cannot be run in the time limit, or its outputs do not fit the labels.
    """

    time_limit: TimeLimit | None = None
    """Limits the seconds of each `run`. A subclass for files sets it before `__init__`; None: there is no limit."""

    def __init__(
        self,
        name: str,
        where: str,
        facts: NetworkFacts,
        clip: ClipSpec,
        outputs: Sequence[str],
        sha256: str = "",
        one_by_one: bool = False,
        card: str = "",
    ) -> None:
        self.facts, self._where, self._names = facts, where, list(outputs)
        self._chunk = 1 if one_by_one else _CHUNK
        if card:
            self.card = parse_card(card, where).model_copy(update={"weights_sha256": sha256})
            self._outputs = {output: (place, False) for place, output in enumerate(outputs)}
            self._convert = ClipConverter(self.card.clip, self.card.grey)  # the file may leave the length open
            self._require_outputs_of_card()
            return
        sides = (clip.length, clip.channels, clip.height, clip.width)
        if min(sides) < 1 or math.prod(sides) > MOST_VALUES:
            what = f"its input {' x '.join(map(str, sides))} is empty, or has over {MOST_VALUES:,} values"
            raise RunError(what, where, f"give {FLAG} size=H,W")
        self._convert = ClipConverter(clip, "full")
        labels = {facts.target: facts.labels} if facts.labels else {}
        targets = [Target(target, "class", classes) for target, classes in labels.items()]
        self.card = ModelCard(
            name=name,
            network={},
            clip=clip,
            targets=tuple(targets or [Target(output, "value") for output in outputs]),
            labels=labels,
            framing=facts.framing,
            weights_sha256=sha256,
        )
        self._outputs = self._find_outputs()

    @abstractmethod
    def run(self, prepared_NTCHW: np.ndarray) -> list[np.ndarray]:
        """Runs the network on prepared clips, float32; returns its outputs, [N, ...] each."""

    def stop(self) -> None:  # noqa: B027 - not every library can
        """Asks the library that runs the network to end early. It is called from another thread than `run`."""

    def to(self, device: str) -> ForeignModel:
        """Moves the network to a device, `cpu` or `cuda`, if it can be moved."""
        return self

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """See `Model.labels`."""
        return dict(self.card.labels)

    @property
    def framing(self) -> Framing | None:
        """See `Model.framing`."""
        return None if self.card.framing is None else Framing(**self.card.framing)

    def __call__(self, images: Images) -> dict[str, Tensor]:
        """Predicts every target of N pictures of faces; see `Model.forward`. All tensors are on the CPU."""
        import torch

        parts = [
            self._predict((part if part.dtype == torch.uint8 else part.float()).detach().cpu().numpy())
            for chunk in self._convert.chunks(images, self._chunk)
            for part in chunk.split(self._chunk)
        ]
        return {name: torch.from_numpy(value) for name, value in _joined(parts).items()}

    def predict_arrays(self, images: Pictures) -> dict[str, np.ndarray]:
        """See `Model.predict_arrays`. It needs torch only where the network does."""
        return _joined([self._predict(chunk) for chunk in self._convert.arrays(images, self._chunk)])

    def _predict(self, clips_NTCHW: np.ndarray) -> dict[str, np.ndarray]:
        outputs = self._run(self._prepared(clips_NTCHW))
        found = {}
        for target, (place, softmax) in self._outputs.items():
            values = np.ascontiguousarray(outputs[place], dtype=np.float32)
            values = values if target in self.labels else values.reshape(len(values), -1)[:, 0]
            found[target] = _softmax(values) if softmax else values
        return found

    def _run(self, prepared_NTCHW: np.ndarray) -> list[np.ndarray]:
        """`run` in the time limit."""
        if self.time_limit is None:
            return self.run(prepared_NTCHW)
        count = len(prepared_NTCHW)
        what = "one picture" if count == 1 else f"a batch of {count} pictures"
        return self.time_limit(lambda: self.run(prepared_NTCHW), f"{what} through the network", self.stop)

    def _prepared(self, clips_NTCHW: np.ndarray) -> np.ndarray:
        """Clips with the channels and the values that the network expects, float32."""
        low, high = self.facts.range
        x: np.ndarray = clips_NTCHW.astype(np.float32)
        if clips_NTCHW.dtype == np.uint8:
            x = x / 255 * (high - low) + low
        elif (low, high) != (0.0, 1.0):
            x = x * (high - low) + low
        x = x[:, :, ::-1] if self.facts.color == "bgr" else x
        shape = (-1, 1, 1)
        x = x - np.array(self.facts.mean, np.float32).reshape(shape) if self.facts.mean else x
        return x / np.array(self.facts.std, np.float32).reshape(shape) if self.facts.std else x

    def _require_outputs_of_card(self) -> None:
        """Runs one picture, and checks that each class target of the card has an output of as many columns.

        Raises:
            RunError: the network cannot be run, or an output is missing or has another size.
        """
        clip = self.card.clip
        tried = self._tried(np.zeros((1, clip.length, clip.channels, clip.height, clip.width), np.float32))
        shapes = {name: list(tried[place].shape) for name, (place, _) in self._outputs.items() if place < len(tried)}
        for target, (place, _) in self._outputs.items():
            if target not in self.labels and place < len(tried):
                self._require_one_value(target, tried[place])
        for target, classes in self.labels.items():
            if shapes.get(target) != [1, len(classes)]:
                what = f"{len(classes)} classes of {target}, but outputs {shapes}"
                raise RunError(what, self._where, "export the model again")

    def _find_outputs(self) -> dict[str, tuple[int, bool]]:
        """Target -> number of its output, and whether it needs softmax; from the outputs for two pictures."""
        clip = self.card.clip
        shape = (1, clip.length, clip.channels, clip.height, clip.width)
        noise = np.random.default_rng(0).random(shape, np.float32)
        tried = [self._tried(picture) for picture in (np.zeros(shape, np.float32), noise)]
        if not self.facts.labels:
            for name, output in zip(self._names, tried[0], strict=False):
                self._require_one_value(name, output)
            return {name: (place, False) for place, name in enumerate(self._names)}
        count = len(self.facts.labels)
        places = [place for place, output in enumerate(tried[0]) if output.shape == (1, count)]
        if not places:
            shapes = ", ".join(str(list(output.shape)) for output in tried[0])
            what = f"{count} labels, but its outputs have the shapes {shapes}"
            raise RunError(what, self._where, f"give one label for each class with {FLAG} labels=A,B,...")
        found = np.concatenate([outputs[places[0]] for outputs in tried])
        sums_to_one = bool((found >= 0).all() and np.allclose(found.sum(axis=1), 1, atol=1e-3))
        softmax = not sums_to_one if self.facts.output == "auto" else self.facts.output == "logits"
        return {self.facts.target: (places[0], softmax)}

    def _require_one_value(self, name: str, output: np.ndarray) -> None:
        """Raises a RunError where an output for one picture, which is a regression target, has several columns."""
        if output.size > 1:
            what = f"its output {name!r} has {output.size} columns, but a regression target is one number"
            classes = f"if they are classes, give {FLAG} labels=A,B,... with {output.size} names"
            raise RunError(what, self._where, f"{classes}; else export one output for each value")

    def _tried(self, picture: np.ndarray) -> list[np.ndarray]:
        """The outputs for one picture.

        Raises:
            RunError: the network cannot be run, or returns no numbers.
        """
        try:
            outputs = [np.asarray(output) for output in self._run(self._prepared(picture))]
        except RunError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            what = f"cannot be run on a picture {list(picture.shape[2:])}: {type(error).__name__}: {lines[0]}"
            raise RunError(what, self._where, f"check {FLAG} size and color, or export it again") from error
        if not outputs or not all(map(_is_row, outputs)):
            shapes = ", ".join(f"{output.dtype} {list(output.shape)}" for output in outputs) or "nothing"
            do = "export a network whose outputs have one row of numbers for each picture"
            raise RunError(f"returns {shapes} for one picture", self._where, do)
        return outputs


def _joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _softmax(scores_NK: np.ndarray) -> np.ndarray:
    powers = np.exp(scores_NK - scores_NK.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _is_row(output: np.ndarray) -> bool:
    """Whether an output has one row of at least one number."""
    return output.ndim > 0 and output.shape[0] == 1 and output.size > 0 and output.dtype.kind in "fiub"


def split_metadata(stored: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The fields of `NetworkFacts` in the metadata of a file, and the card of an exported model, or ""."""
    known = {key.removeprefix(METADATA): value for key, value in stored.items() if key.startswith(METADATA)}
    return {key: value for key, value in known.items() if key in NetworkFacts.model_fields}, stored.get(CARD, "")


def refuse_facts(given: object, where: str) -> None:
    """Raises a RunError if facts are given for a model whose card states them."""
    if given:
        raise RunError("the model carries its labels and preprocessing itself", where, f"leave {FLAG} out")


def channels_of(facts: NetworkFacts) -> int:
    """Channels of the network's input."""
    return 1 if facts.color == "grey" else 3
