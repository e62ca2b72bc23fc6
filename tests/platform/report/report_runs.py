"""Synthetic run folders with every file that a report reads."""

import json
from dataclasses import replace

import cv2
import numpy as np
import torch

from blear.contracts import Categories, Metric, Values
from blear.evaluate.mistakes import MAX_MISTAKES, worst_mistakes_by_arm
from blear.evaluate.prediction_rows import ClipColumns, PredictionContext, prediction_rows
from blear.evaluate.predictions import read_predictions, write_predictions
from blear.evaluate.summarise import SummaryOptions, summarise
from blear.metrics import CLASSIFICATION

LEVELS = [1, 2, 3, 4, 6, 8, 12, 16]
QUALITIES = [20, 24, 28, 32, 36, 40]
CONDITION = "corruptions/downscale"
CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def _pearson(truth, prediction):
    return float(np.corrcoef(truth, prediction)[0, 1])


def _rmse(truth, prediction):
    return float(np.sqrt(((truth - prediction) ** 2).mean()))


REGRESSION = (Metric("cc", "CC", _pearson, True), Metric("rmse", "RMSE", _rmse, False))


def _decoded(rng, truth, noise, kind):
    if kind == "value":
        return Values(torch.tensor(truth + noise * rng.normal(size=len(truth)))[:, None])
    logits = rng.normal(size=(len(truth), 1, 7)) * (0.3 + noise)
    logits[np.arange(len(truth)), 0, truth.astype(int)] += 1.5
    return Categories(CLASSES, torch.tensor(logits).softmax(-1))


def make_run(
    root,
    kind="value",
    arms=("clean-trained", "mix-trained"),
    videos=12,
    clips=240,
    conditions=(CONDITION,),
    levels=LEVELS,
    clean=False,
    missed=0.0,
    seed=5,
    codecs=(),
    resamples=60,
    options=None,
):
    """A run folder with every file, as the training and evaluation commands write them.

    Each condition is harder than the previous one; `clean` adds clean frames.
    """
    rng = np.random.default_rng(seed)
    places = [(condition, level) for condition in conditions for level in levels]
    places = [("clean", 0.0)] * clean + places
    sweeps = [{"condition": c, "use": c, "parameter": "factor", "levels": list(levels)} for c in conditions]
    for codec, shrink in codecs:
        condition = f"{codec}, shrink {shrink}"
        group = {"codec": codec, "shrink": shrink}
        sweeps.append({"condition": condition, "use": codec, "group": group, "parameter": "crf", "levels": QUALITIES})
        places += [(condition, quality) for quality in QUALITIES]
    truth = rng.integers(7, size=clips).astype(float) if kind == "class" else rng.uniform(-1, 1, clips)
    keys = [f"dev/{i:04}" for i in range(clips)]
    tables = [
        prediction_rows(
            PredictionContext(
                arm, arm.replace(" ", "_"), condition, level, "expression" if kind == "class" else "valence"
            ),
            ClipColumns(
                keys,
                kbps=_kbps(condition, level),
                videos=[f"video {i % videos}" for i in range(clips)] if videos else None,
                face_px=96 / max(level, 1),
                found=np.arange(clips) >= missed * clips,
            ),
            truth,
            _decoded(rng, truth, 0.3 + _strength(condition, level, conditions) / (1 + number), kind),
        )
        for number, arm in enumerate(arms)
        for condition, level in places
    ]
    root.mkdir()
    write_predictions(root / "predictions.parquet", tables)
    metrics = CLASSIFICATION if kind == "class" else REGRESSION
    table = read_predictions(root / "predictions.parquet")
    groups = {sweep["condition"]: sweep.get("group", {}) for sweep in sweeps}
    options = replace(options or SummaryOptions(), groups=groups)
    summary = summarise(table, metrics, reference=arms[0], seed=0, resamples=resamples, options=options)
    (root / "summary.json").write_text(summary.model_dump_json())
    _write_faces(root, keys, places, table, levels[0])
    _write_facts(root, metrics[0], kind, arms, rng)
    info = json.loads((root / "run.json").read_text())
    info["sweeps"] = sweeps
    (root / "run.json").write_text(json.dumps(info))
    return root


def _strength(condition, level, conditions):
    """How hard a level is: more with the severity, the place of the condition, the quality and the shrinking."""
    if condition in conditions:
        return level * (0.12 + 0.03 * conditions.index(condition))
    return 0.0 if condition == "clean" else 0.05 * (level - 20) + 0.15 * float(condition.split()[-1])


def _kbps(condition, level):
    """A rate that halves with every six steps of the quality, and with shrinking."""
    return 400 * 2 ** (-level / 6) / float(condition.split()[-1]) if "shrink" in condition else None


def _write_faces(root, keys, places, table, mildest):
    y, x = np.mgrid[:48, :48] / 48
    face = np.stack([200 - 90 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 > 0.16)] * 3, axis=-1).astype(np.uint8)
    face[16:20, [14, 15, 32, 33]] = face[34:36, 18:30] = 40
    by_level = {level: _blurred(face, max(level, 1)) for _, level in places}
    shown = keys[::80]
    clean = places[0] if places[0][0] == "clean" else (places[0][0], mildest)
    parts = [part for arm in worst_mistakes_by_arm(table, clean, MAX_MISTAKES).values() for part in arm]
    found = list(dict.fromkeys((m.sample, m.condition, m.severity) for part in parts for m in part))
    samples, conditions, severities = zip(*found, strict=True)
    np.savez_compressed(
        root / "faces.npz",
        frames=np.stack([np.stack([by_level[level] for _, level in places])] * len(shown)),
        samples=np.array(shown),
        severities=np.array([level for _, level in places], dtype=float),
        conditions=np.array([condition for condition, _ in places]),
        mistake_frames=np.stack([by_level[level] for level in severities]),
        mistake_samples=np.array(samples),
        mistake_conditions=np.array(conditions),
        mistake_severities=np.array(severities, dtype=float),
    )


def _blurred(face, factor):
    small = cv2.resize(face, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, face.shape[:2], interpolation=cv2.INTER_CUBIC)


def _write_facts(root, headline, kind, arms, rng):
    stages = "".join(f", {arm.replace(' ', '_')}: {{}}" for arm in arms)
    (root / "job.yaml").write_text(f"name: made-up\nstages: {{a<b: 1{stages}}}\n")
    info = {
        "name": "made-up",
        "description": "Downscaled faces, clean against mixed training.",
        "started": "2026-03-01T10:00:00+00:00",
        "finished": "2026-03-01T10:05:30+00:00",
        "seconds": 330.4,
        "command": "blear run jobs/made-up.yaml --profile small",
        "profile": "small",
        "seed": 17,
        "runner": "local",
        "world": 1,
        "device": "CPU",
        "versions": {"blear": "0.1.0", "torch": "2.11.0"},
        "host": {"system": "Linux", "cpus": 2},
        "components": {"faces/procedural": "0.1.0:0123456789ab"},
        "data": {
            "faces": {
                "use": "faces/procedural",
                "for": "vlqr/avec2016",
                "source": None,
                "stand_in": True,
                "terms": "Drawn by this program; free to use.",
                "counts": {"train": 4000, "dev": 240},
            }
        },
        "arms": {arm: {"stage": arm.replace(" ", "_"), "note": f"about {arm}"} for arm in arms},
        "headline": {
            "target": "expression" if kind == "class" else "valence",
            "metric": headline.name,
            "label": headline.label,
            "higher_is_better": headline.higher_is_better,
        },
        "split": "dev",
    }
    (root / "run.json").write_text(json.dumps(info))
    for number, arm in enumerate(arms):
        folder = root / "stages" / arm.replace(" ", "_")
        folder.mkdir(parents=True)
        decay = np.exp(-np.arange(1, 501) / 80) * 2 + 0.05
        lines = [
            json.dumps({"step": 10 * i, "loss": float(v * rng.uniform(0.8, 1.2)), "lr": 0.01})
            for i, v in enumerate(decay, 1)
        ]
        lines += [
            json.dumps({"step": s, "validation_loss": float(decay[s // 10 - 1] * 1.2)}) for s in (1000, 3000, 5000)
        ]
        (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
        stage = {
            "name": folder.name,
            "data": "faces",
            "backbone": {"use": "vlqr/cnn5x5", "start_from": {"stage": "sr", "take": ["conv1"]}},
            "head": {"use": "vlqr/valence", "dropout": 0.5},
            "degrade": [{"use": "corruptions/scale_mix", "factors": {"3": 1, "4": 1}}] if number else [],
            "steps": 5000,
            "batch_size": 128,
            "parameters": 2946649,
            "trainable": 2946649 - 1664 * number,
            "seconds": 165.2,
            "samples_per_s": 3874.1,
            "transfer": {"from": "sr", "taken": ["conv1.weight"], "skipped": {"conv4.weight": "not in this backbone"}}
            if number
            else None,
        }
        (folder / "stage.json").write_text(json.dumps(stage))
