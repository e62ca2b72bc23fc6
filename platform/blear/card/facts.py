"""The facts of a card, the content of its run.json: models, data, suite, versions."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blear.card.predictions import TestedModel
from blear.card.samples import CardData
from blear.card.suites import Suite
from blear.contracts import BuildContext, ClipSpec
from blear.evaluate.sweep import levels
from blear.metrics import CLASSIFICATION
from blear.models.foreign import ForeignModel
from blear.pipeline.run_info import installed_versions
from blear.plugin.catalog import Catalog
from blear.plugin.fingerprints import component_fingerprints
from blear.train.macs import count_macs

_PATHS = ("source", "root")
"""Parameters of a dataset that name places of this machine."""


def card_info(
    models: Sequence[TestedModel],
    data: CardData,
    suite: Suite,
    catalog: Catalog,
    command: str,
    started: float,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Returns the content of run.json, which `blear compare` and the report read too."""
    names = [model.label for model in models]
    macs = {model.label: _macs(model) for model in models}
    used = [("degradation", sweep.use) for sweep in suite.evaluate.sweeps.values()]
    components = component_fingerprints(catalog, sorted({("dataset", data.use), *used}))
    return {
        "name": f"Report card: {', '.join(names)}",
        "description": f"Suite {suite.name}, version {suite.version}: {suite.summary}",
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "command": command,
        "seed": suite.seed,
        "suite": suite.identity,
        "split": data.split,
        "cluster": None,
        "models": {model.label: _model(model, macs[model.label]) for model in models},
        "warnings": list(warnings),
        "arms": {
            model.label: {"stage": model.label, "note": model.model.card.summary, "macs": macs[model.label]}
            for model in models
        },
        "headline": {
            "target": data.target,
            "metric": CLASSIFICATION[0].name,
            "label": CLASSIFICATION[0].label,
            "higher_is_better": True,
        },
        "sweeps": _sweeps(suite, data, catalog),
        "data": {
            "data": {
                "use": data.use,
                "params": {key: value for key, value in data.params.items() if key not in _PATHS and _is_plain(value)},
                "terms": data.terms,
                "counts": {data.split: len(data.truth_N)},
                "classes": _class_counts(data),
                "left_out": dict(data.left_out),
                "pictures": "x".join(map(str, data.frames_NTHWC.shape[1:])),
                "sha256": data.sha256,
                "framing": None if data.framing is None else asdict(data.framing),
            }
        },
        "versions": {"python": platform.python_version()} | installed_versions(),
        "host": {"system": platform.system(), "machine": platform.machine(), "cpus": os.cpu_count()},
        "components": components,
    }


def _macs(model: TestedModel) -> int | None:
    """Multiply-accumulates for one picture, or frame of a clip; None where the network does not run in torch."""
    clip = model.model.card.clip
    frames = torch.zeros(1, clip.length, clip.channels, clip.height, clip.width)
    return count_macs(model.network("cpu"), frames) // clip.length or None


def _model(model: TestedModel, macs: int | None) -> dict[str, Any]:
    card, clip = model.model.card, model.model.card.clip
    facts: dict[str, Any] = {
        "name": card.name,
        "sha256": card.weights_sha256,
        "input": f"{clip.length} x {clip.channels} x {clip.height} x {clip.width}",
        "macs": macs,
        "labels": list(model.model.labels[model.target]),
        "matched": model.labels.changed,
        "framing": card.framing,
        "terms": card.terms,
    }
    if isinstance(model.model, ForeignModel):
        given = model.model.facts.model_dump(mode="json", exclude_defaults=True, exclude={"labels", "framing"})
        facts["preprocessing"] = given
    else:
        facts["parameters"] = card.parameters
    return facts


def _sweeps(suite: Suite, data: CardData, catalog: Catalog) -> list[dict[str, Any]]:
    _, length, height, width, channels = data.frames_NTHWC.shape
    swept = levels(suite.evaluate, catalog, BuildContext(clip=ClipSpec(length, channels, height, width)))
    return [
        {
            "condition": condition,
            "use": sweep.use,
            "group": sweep.group,
            "parameter": next(level.parameter for level in swept if level.condition == condition),
            "levels": [level.severity for level in swept if level.condition == condition],
        }
        for condition, sweep in suite.evaluate.sweeps.items()
    ]


def _class_counts(data: CardData) -> dict[str, int]:
    counts = np.bincount(data.truth_N, minlength=len(data.classes))
    return {name: int(count) for name, count in zip(data.classes, counts, strict=True)}


def _is_plain(value: Any) -> bool:
    """Whether a parameter is JSON and names no absolute path."""
    if isinstance(value, str):
        return not Path(value).is_absolute()
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float)
