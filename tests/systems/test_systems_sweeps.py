"""A system of clips is evaluated on a sweep over every registered degradation, in one run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from test_systems_resume import DATA, SMALL

from blear.contracts import BuildContext, ClipSpec
from blear.evaluate.predictions import read_predictions
from blear.job.reader import read_job
from blear.pipeline.run import run_job
from blear.plugin.discovery import load_plugins
from blear.storage.run_folder import RunFolder

STAGES, CLIPS = ("still", "vgg_gru"), 4


def worst() -> dict[str, tuple[str, float]]:
    """Each degradation that names levels of one number: the number, and its value at the last level."""
    found = {}
    for name, registered in load_plugins().components["degradation"].items():
        given = registered.component.examples[0]
        built = registered.build(given, BuildContext(clip=ClipSpec(12, 3, 48, 48)))
        levels = [dict(level) for level in built.levels()]
        varied = [key for key in (levels[-1] if levels else {}) if levels[0][key] != levels[-1][key]]
        if len(varied) == 1 and isinstance(levels[-1][varied[0]], int | float):
            found[name] = (varied[0], levels[-1][varied[0]])
    return found


def test_a_clip_system_is_swept_over_every_degradation(repository: Path, storage: Path) -> None:
    degradations = worst()
    assert {"codec/jpeg", "codec/h264", "corruptions/downscale", "corruptions/gaussian_noise"} < degradations.keys()
    assert len(degradations) >= 28
    examples = {name: dict(load_plugins().get("degradation", name).component.examples[0]) for name in degradations}
    sweeps = [
        {"use": name, "label": name, "over": {parameter: [value]}}
        | {key: given for key, given in examples[name].items() if key != parameter}
        for name, (parameter, value) in degradations.items()
    ]
    changes = [f"stages.{stage}.{change}" for stage in STAGES for change in (*SMALL, "backbone.width=0.03125")]
    changes += [f"data.{data}.stand_in.{change}" for data in ("faces", "clips") for change in DATA]
    changes += [f"evaluate.sweep={json.dumps(sweeps)}", "evaluate.clean=true", "evaluate.resamples=10"]
    job, catalog = read_job(repository / "jobs" / "fer_vgg_gru.yaml", profile="demo", overrides=changes)
    run_job(job, catalog, runner="local", fresh=False, command="blear run", profile="demo")
    run = RunFolder.open(storage / "runs" / "fer_vgg_gru").root
    estimates = [e for e in json.loads((run / "summary.json").read_text())["estimates"] if e["metric"] == "accuracy"]
    assert {e["condition"]: e["severity"] for e in estimates if e["condition"] != "clean"} == {
        name: value for name, (_, value) in degradations.items()
    }
    assert {e["n"] for e in estimates} == {CLIPS}
    assert all(0 <= e["value"] <= 1 for e in estimates)
    table = read_predictions(run / "predictions.parquet").to_pandas()
    shares = {name: np.stack(rows["probabilities"].to_list()) for name, rows in table.groupby("condition")}
    untouched = [name for name in degradations if np.array_equal(shares[name], shares["clean"])]
    assert untouched == []
