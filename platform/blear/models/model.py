"""A trained model as a `torch.nn.Module`: pictures in, probabilities and values by target out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from blear.contracts import BuildContext, Categories, Decoded, Target, Values
from blear.degradation.build import resizing_entries
from blear.degradation.chain import as_float
from blear.errors import BlearError, RunError, first_line
from blear.evaluate.transform import evaluation_transform
from blear.imaging import Framing
from blear.models.card import CARD_FILE, STAGE, WEIGHTS_FILE, ModelCard, read_card, weights_digest
from blear.models.images import ClipConverter, Images, Pictures
from blear.models.memory_limit import limited_memory
from blear.models.save import embedded_card, save_model
from blear.models.select_targets import card_of_heads, weights_of_heads
from blear.plugin.discovery import load_plugins
from blear.train.head_group import HeadGroup
from blear.train.model import Recognizer, build_for_loading
from blear.train.state_copy import load_state

TRUSTED_PLUGINS = "BLEAR_MODEL_PLUGINS"
"""Environment variable with the one-file plugins that model files may run, separated as in PATH."""
CHUNK = 256
"""Pictures of an array or a list that pass through the network together."""


class Model(nn.Module):
    """A trained model with its labels, its preprocessing and its card. `blear.load` returns one, in evaluation mode.

    Example:
        model = blear.load("runs/vlqr")
        model(pictures)["emotion"].argmax(1)

    Attributes:
        card: facts of the model. Of the augmentations of its training, it lists those that change the frames' size.
        network: backbone and head.
        transform: the deterministic preprocessing, from frames in the shape of `card.clip` to the network's input.
    """

    def __init__(self, card: ModelCard) -> None:
        """Builds the network of a card with random weights.

        Raises:
            PluginError: a component of the network is not installed.
        """
        super().__init__()
        self.card = card
        catalog, job = load_plugins(card.plugins), card.job()
        targets = {target.name: target for target in card.targets}
        self.transform, context = evaluation_transform(job, STAGE, catalog, card.clip, targets)
        self.network: Recognizer = build_for_loading(catalog, job.stages[STAGE], STAGE, context)
        self._convert = ClipConverter(card.clip, card.grey)
        self.eval()
        decoded = self._decode_zeros()
        labels = {name: one.classes for name, one in decoded.items() if isinstance(one, Categories)}
        count = sum(parameter.numel() for parameter in self.network.parameters())
        network = dict(card.network)
        if given := network.pop("augment", ()):
            clip = BuildContext(job.seed, card.clip, targets)
            if kept := resizing_entries(catalog, job.stages[STAGE].augment, clip):
                network["augment"] = [given[number] for number in kept]
        self.card = card.model_copy(update={"labels": labels, "parameters": count, "network": network})

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Class target -> names of the classes, in the order of the columns of the probabilities."""
        return dict(self.card.labels)

    @property
    def targets(self) -> dict[str, Target]:
        """Target -> its kind, classes and bounds, of all targets of the training data."""
        return {target.name: target for target in self.card.targets}

    @property
    def framing(self) -> Framing | None:
        """How the faces of the training data were cut out of their frames; None: the data do not state it."""
        return None if self.card.framing is None else Framing(**self.card.framing)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    def forward(self, images: Images) -> dict[str, Tensor]:
        """Predicts every target of N pictures of faces.

        Pictures of the size and the channels of `card.clip` reach the network unchanged, as value / 255. Others are
        resized to it, whatever their aspect ratio, so cut squares around faces; colour becomes grey, or grey colour,
        as the model needs it.

        Args:
            images: a uint8 array [N, H, W], [N, H, W, 3], or [N, T, H, W, C] for a model of clips; a list of arrays
                [H, W] or [H, W, 3], pictures of Pillow, or paths, of any sizes; or a tensor [N, H, W], [N, C, H, W] or
                [N, T, C, H, W], uint8 or float in [0, 1]. Colours are RGB.

        Returns:
            Class target -> probabilities, float32 [N, K], in the order of `labels`. Regression target -> values,
            float32 [N]. Of clips with a decision for each frame, that of the last frame. Of arrays and lists, the
            tensors are on the CPU and without gradients; of a tensor, on the model's device, with gradients where
            torch records them.

        Raises:
            ValueError: the pictures have another form.
            DataError: a path names no readable picture.
        """
        if isinstance(images, Tensor):
            (chunk,) = self._convert.chunks(images, CHUNK)
            return self._predict(chunk)
        with torch.no_grad():
            parts = [self._predict(chunk) for chunk in self._convert.chunks(images, CHUNK)]
            if not parts:
                empty = torch.zeros(1, self.card.clip.channels, self.card.clip.height, self.card.clip.width)
                return {name: value[:0].cpu() for name, value in self(empty).items()}
        return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}

    def predict_arrays(self, images: Pictures) -> dict[str, np.ndarray]:
        """The predictions of `forward` as float32 arrays."""
        return {name: value.float().numpy() for name, value in self(images).items()}

    def save(self, folder: str | Path, *, half: bool = False, text: str | None = None, **facts: Any) -> Path:
        """Writes the model as a folder that `blear.load` reads: model.safetensors, card.json and card.md.

        The weights file carries a copy of the card, and can be loaded without the folder.

        Args:
            folder: the folder; its name is the model's name unless `facts` has one. Existing files are replaced.
            half: whether the weights are stored as float16.
            text: content of card.md; None: written from the card.
            facts: fields of the card to set: `summary`, `terms`, `metrics`, `framing`, or keys of your own.

        Returns:
            The folder.

        Raises:
            ValueError: a fact is no JSON, or a field has a wrong type.
        """
        return save_model(self.network, self.card, Path(folder), half=half, text=text, facts=facts)

    def select_targets(self, *names: str) -> Model:
        """Returns the model with the heads of some targets only, for example without a head that only helped training.

        Args:
            names: the targets to keep.

        Returns:
            This model if it has no other head; otherwise a new one, whose card states no results. Where one head
            remains, its weights are called `head.NAME` instead of `head.HEAD.NAME`.

        Raises:
            ValueError: the model has no such target, or a head decodes a named and another target.
        """
        head, wanted = self.network.head, set(names)
        if not isinstance(head, HeadGroup):
            decoded = {"": set(self._decode_zeros())}
        else:
            decoded = {name: set(targets) for name, targets in head.head_targets.items()}
        known = set().union(*decoded.values())
        if not wanted or not wanted <= known:
            raise ValueError(f"targets {', '.join(names) or 'none'}: the model has {', '.join(sorted(known))}")
        kept = [name for name, targets in decoded.items() if targets & wanted]
        if also := set().union(*(decoded[name] for name in kept)) - wanted:
            raise ValueError(f"targets {', '.join(names)}: their head also has {', '.join(sorted(also))}; name it too")
        if len(kept) == len(decoded):
            return self
        selected = Model(card_of_heads(self.card, decoded, kept))
        selected.network.load_state_dict(weights_of_heads(self.network.state_dict(), kept))
        return selected.to(self.device)

    def __repr__(self) -> str:
        clip, targets = self.card.clip, ", ".join(target.name for target in self.card.targets)
        return f"Model({self.card.name!r}, {clip.channels} x {clip.height} x {clip.width} -> {targets})"

    def _predict(self, clips_NTCHW: Tensor) -> dict[str, Tensor]:
        decoded = self._decode(as_float(clips_NTCHW, self.device))
        return {name: self.result(name, one) for name, one in decoded.items()}

    def _decode(self, frames_NTCHW: Tensor) -> Mapping[str, Decoded]:
        numbers = torch.arange(len(frames_NTCHW)).numpy()
        outputs = self.network(self.transform(frames_NTCHW, numbers * 0, numbers))
        return self.network.head.decode(outputs)

    @torch.no_grad()
    def _decode_zeros(self) -> Mapping[str, Decoded]:
        """The decoded targets of one clip of zeros: their names and kinds."""
        clip = self.card.clip
        return self._decode(torch.zeros(1, clip.length, clip.channels, clip.height, clip.width, device=self.device))

    def result(self, name: str, decoded: Decoded) -> Tensor:
        """The result of one target, as `forward` returns it."""
        if isinstance(decoded, Values):
            return decoded.values_BT[:, -1].float()
        if not isinstance(decoded, Categories):
            return decoded.frames_BTCHW.float()
        probabilities = decoded.probabilities_BTK[:, -1].float()
        temperature = self.card.temperatures.get(name, 1.0)
        return probabilities if temperature == 1.0 else (probabilities.log() / temperature).softmax(dim=-1)


def load_model_files(path: Path) -> Model:
    """Loads a model folder, or its weights file alone.

    One-file plugins that the card names are code: they are run only where the variable BLEAR_MODEL_PLUGINS lists them.

    Raises:
        RunError: a file is missing or damaged, the weights are not those of the card, the network cannot be built or
            needs too much memory, or the card names a one-file plugin that is not listed.
    """
    if path.is_dir():
        card, weights = read_card(path / CARD_FILE), path / WEIGHTS_FILE
        if not weights.is_file():
            raise RunError("the model has no weights", str(weights), "copy the whole folder")
        weights_digest(card, weights)
    else:
        weights = path
        card = embedded_card(path)
    _require_listed(card.plugins, path)
    with limited_memory(weights):
        try:
            model = Model(card)
        except BlearError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            what = f"the network of its card cannot be built: {type(error).__name__}: {lines[0]}"
            raise RunError(what, str(path), "copy the model again, or install the plugins of its training") from error
        load_weights(model.network, weights)
    return model


def _require_listed(plugins: Sequence[str], path: Path) -> None:
    """Refuses one-file plugins that the user has not listed, because their code would be run."""
    listed = {Path(one).resolve() for one in os.environ.get(TRUSTED_PLUGINS, "").split(os.pathsep) if one}
    for plugin in plugins:
        if Path(plugin).resolve() not in listed:
            do = f"read the file; if you trust it, set {TRUSTED_PLUGINS}={plugin}"
            raise RunError(f"its card names the plugin {plugin!r}, whose code would be run", str(path), do)


def load_weights(network: nn.Module, file: Path) -> None:
    """Copies the weights of a safetensors file into a network; float16 becomes the network's type.

    Raises:
        RunError: the file is damaged, or the weights do not fit.
    """
    try:
        load_state(network, file)
    except (OSError, RuntimeError, ValueError, MemoryError, KeyError, SafetensorError) as error:
        what = f"the weights do not fit: {first_line(error)}"
        raise RunError(what, str(file), "copy the model again, or install the plugins of its training") from error
