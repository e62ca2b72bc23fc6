"""The settings of a server, and the service that follows from them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from blear.errors import RunError
from blear.models.callable_model import is_callable_path
from blear.models.foreign import FLAG, ForeignModel
from blear.models.huggingface import PREFIX
from blear.models.open_model import ONNX, TORCH_EXPORT, open_model, parse_facts
from blear.models.shipped import default_model
from blear.plugin.discovery import load_plugins
from blear.predict.detectors import LocatorDetector
from blear.predict.locators import find_locator
from blear.predict.options import chosen_framing
from blear.serve.controls import DEFAULT, Control, read_controls
from blear.serve.faces import ServedModel
from blear.serve.limits import UploadLimits
from blear.serve.service import Service


@dataclass(frozen=True)
class ServeSettings:
    """Settings of `blear serve`, see its help."""

    models: tuple[str, ...] = ()
    controls: Path = DEFAULT
    locator: str | None = None
    margin: float | None = None
    facts: tuple[str, ...] = ()
    limits: UploadLimits = field(default_factory=UploadLimits)

    def read_controls(self) -> list[Control]:
        """The controls.

        Raises:
            BlearError: the file is wrong.
        """
        return read_controls(self.controls, load_plugins())

    def build_service(self) -> Service:
        """Loads models and detector, and starts the decoding processes.

        Raises:
            BlearError: a model or the detector cannot be used.
        """
        catalog, controls = load_plugins(), self.read_controls()
        names = self.models or (default_model().name,)
        if self.facts and not any(map(_is_foreign, names)):
            raise RunError("no model is a network of others", FLAG, f"leave {FLAG} out")
        models: list[ServedModel] = []
        for name in names:
            model = open_model(name, facts=parse_facts(self.facts) if _is_foreign(name) else None)
            if isinstance(model, ForeignModel) and model.time_limit is not None:
                model.time_limit.seconds = min(model.time_limit.seconds or math.inf, self.limits.model_s)
            shown = model.card.name
            if shown in [other.name for other in models]:
                shown = name
            if shown in [other.name for other in models]:
                raise RunError("the model is named twice", name, "name each model once")
            models.append(ServedModel(shown, model, chosen_framing(model, self.margin), controls, catalog))
        detector = LocatorDetector(find_locator(self.locator, catalog))
        return Service(models, controls, detector, self.limits, max(1, min(4, os.cpu_count() or 1)))


def _is_foreign(name: str) -> bool:
    """Whether a model is a network of others, which may need facts."""
    is_file = Path(name).suffix.lower() in (ONNX, TORCH_EXPORT)
    return is_file or name.startswith(PREFIX) or (is_callable_path(name) and not Path(name).exists())
