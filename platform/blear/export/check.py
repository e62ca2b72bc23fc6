"""The comparison of exported files with their model: samples, conditions, calibration samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from blear.errors import RunError
from blear.export.check_data import (
    CheckData,
    Source,
    chosen_conditions,
    labelled_data,
    run_data,
    run_folder,
    seeded_pictures,
)
from blear.export.compare import TOLERANCE, LevelDifference, Predictor, compare
from blear.export.degraded import DegradedSamples
from blear.models.inference import for_inference
from blear.models.model import Model
from blear.plugin.discovery import load_plugins


class ExportCheck:
    """Compares exported files with a model.

    Args:
        model: the model.
        given: the name under which the model was loaded.
        stage: the stage of a run.
        source: labelled data; None: those of the run, else pictures of noise.
        split: the split to compare on.
        conditions: file of conditions.
        count: number of samples.

    Attributes:
        samples: the samples of the comparison under its conditions.
        name: what is compared, for the report.
    """

    def __init__(
        self,
        model: Model,
        given: str,
        stage: str | None,
        source: Source | None,
        split: str | None,
        conditions: Path | None,
        count: int,
    ) -> None:
        self._model, self._stage, self._source, self._split = model, stage, source, split
        self._catalog = load_plugins(model.card.plugins)
        self._run = run_folder(given)
        root = None if self._run is None else self._run[0]
        evaluate, where = chosen_conditions(conditions, given, root)
        data = self._read(count)
        self.samples = DegradedSamples(data, evaluate, self._catalog)
        self.name = f"compared on {len(data.frames_NTHWC)} samples ({data.name}), conditions of {where}"

    def calibration(self, count: int) -> list[Tensor]:
        """Samples of another split where there is one, each under one of the conditions, in turn."""
        data = self._read(count, other=True)
        return DegradedSamples(data, self.samples.evaluate, self._catalog).mixture()

    def differences(self, files: Mapping[str, Predictor]) -> dict[str, list[LevelDifference]]:
        """The differences of each file from the model, level by level."""
        return compare(for_inference(self._model), files, self.samples)

    def _read(self, count: int, *, other: bool = False) -> CheckData:
        """Samples of the compared split, or of another one."""
        if self._source is not None:
            return labelled_data(self._model, self._catalog, self._source, self._split or "test", count, other=other)
        if self._run is not None:
            root, stage = self._run
            name = self._stage or stage or self._model.card.training.stage
            return run_data(self._model, root, name, self._split, count, other=other)
        return seeded_pictures(self._model.card.clip)


def require_equal(found: list[LevelDifference], out: Path) -> None:
    """Checks that a file without quantization equals its model up to rounding.

    Raises:
        RunError: it does not.
    """
    worst = max(found, key=lambda one: math.inf if math.isnan(one.largest) else one.largest)
    if not worst.largest <= TOLERANCE:
        what = f"the exported file differs from the model by {worst.largest:.1e} at {worst.name}"
        raise RunError(what, str(out), "choose another format with --to; this file was not kept")
