# ruff: noqa: E501
"""Writes the shipped model `robust-faces`: weights, card.json with its results, card.md.

    python docs/make_robust_faces.py RUN FER2013.csv --job "jobs/robust_faces.yaml --profile release" [--thin N]

RUN is the folder of a run of jobs/robust_faces.yaml. The split is tested once, under the conditions of the model's
test.yaml; 4 min 40 s of CPU time with `--thin 5`, about 16 minutes with `--thin 1`. Or `--results FILE` is the
output of `blear models test FOLDER FER2013.csv --out FILE` on the same weights.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shipped_models import MODELS, check_job, half_precision_changes, read_fer2013, scores_of

import blear
from blear.export.graph import write_graph
from blear.job.schema import Evaluate
from blear.models.conditions import read_conditions
from blear.models.inference import for_inference
from blear.models.model import Model
from blear.models.score_tables import ScoreTables
from blear.models.scores import Score, from_row
from blear.predict.calibrate import CalibrationResult, calibrate
from blear_fer.datasets.fer2013 import FRAMING

FOLDER = MODELS / "robust-faces"
SUMMARY = "Seven emotions of a face of 48 x 48 grey pixels: clean, small, blurred, compressed or noisy"
TERMS = (
    "Trained on FER2013 (Goodfellow et al. 2013): pictures from the web, collected for a Kaggle challenge, without a "
    "licence of their owners. The weights hold no picture. The rights that the authors of blear have in the weights are granted under "
    "Apache-2.0; they have none in the pictures, and grant none. For research and evaluation."
)
LIMITS = """## What it must not be used for

- Decisions about people: hiring, teaching, policing, borders, insurance, health, access. An expression is not a feeling.
- Inference of emotions at work and in education is forbidden by some laws (in the EU: Regulation 2024/1689, article 5).
- Identification. It was not tested for it.

## Known limits and biases

- FER2013 has wrong labels: people agree with them on 65 +- 5 % of the faces (Goodfellow et al. 2013).
- The classes differ in frequency (`disgust` has 1.5 % of the training faces) and in accuracy, see above.
- FER2013 states neither age nor sex nor origin of a person: accuracy by group is unknown, and unequal in other work.
- About 280 PublicTest faces are copies of training faces; the results include them.
- Trained on frontal and near-frontal faces that a detector cut out, without colour, at 48 pixels.
- Clips: the model judges each frame by itself.
"""
CONDITIONS = """16 px and the other sizes: area average to that many rows and columns, bilinear back to 48. JPEG: libjpeg, quality 10.
Blur: Gaussian, sigma 1.5 pixels. Noise: Gaussian, sigma 25 of 255. 19 corruptions: ImageNet-C (Hendrycks and Dietterich 2019) at 48
pixels; `saturate` leaves grey faces as they are. Intervals: 95 %, bootstrap over the faces; they do not cover the chance of training. Calibration error: expected error of the
probabilities in 15 bins of equal width (Guo et al. 2017)."""


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--job", required=True, help="arguments of `blear run` that name the job of RUN")
    parser.add_argument("--stage")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--conditions", type=Path, default=FOLDER / "test.yaml")
    parser.add_argument("--thin", type=int, default=5)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    trained = blear.load(given.run, stage=given.stage)
    check_job(given.job, trained)
    trained.save(given.out, half=True)
    model = blear.load(given.out)  # the results are those of the stored half-precision weights
    data = read_fer2013(given.csv, given.split, model)
    evaluate = read_conditions(given.conditions)
    if given.results is not None:
        scores = [from_row(row) for row in json.loads(given.results.read_text())]
    else:
        scores = scores_of(model, data, evaluate, given.thin)
    fitted = calibrate(for_inference(model), data.frames_NTHWC[:, 0, :, :, 0], data.truth_N, data.target)
    facts: dict[str, Any] = {
        "name": "robust-faces",
        "summary": SUMMARY,
        "default": True,
        "terms": TERMS,
        "training": model.card.training.model_dump() | {"job": given.job},
        "framing": asdict(FRAMING),  # shards of an older version do not state it
        "tested_on": f"FER2013, {'PublicTest' if given.split == 'dev' else given.split}",
        "metrics": [score.as_row() for score in scores],
        "half_precision_changes": half_precision_changes(trained, model, data),
        "calibration": ({data.target: fitted.calibration.model_dump()} if lowers_error(fitted) else {}),
        "calibration_errors": {name: [fitted.before[name], fitted.after[name]] for name in fitted.before},
    }
    model.save(given.out, half=True, text=text(model, facts, scores, evaluate), **facts)
    write_graph(given.out)


def lowers_error(fitted: CalibrationResult) -> bool:
    """Whether the temperatures lower the mean calibration error of the faces that they were not fitted on."""
    return sum(fitted.after.values()) < sum(fitted.before.values())


def results_text(facts: dict[str, Any], scores: list[Score], evaluate: Evaluate) -> str:
    """The section of the card with all tables."""
    tables = ScoreTables(scores, evaluate)
    faces = next(score.n for score in scores if score.condition == "clean")
    thinned = min(score.n for score in scores if score.metric == "accuracy")
    note = (
        ""
        if thinned == faces
        else f" Each of the 95 conditions of the mean is tested on {thinned} of them; together they test all."
    )
    return f"""## Results

One pass for each face, {facts["tested_on"]} ({faces} faces).{note}
{CONDITIONS}

{tables.accuracy()}

{tables.parts()}

{tables.severities()}

{tables.classes()}

Flip rate: share of the faces whose class changes from one severity to the next one of the same corruption with the same random
numbers, clean faces first; `shift 1 px`: from the face to the same face shifted by up to one pixel in each direction.

{tables.flips()}
"""


def calibration_table(errors: dict[str, list[float]]) -> str:
    """Calibration errors as Markdown: condition, before and after the temperature."""
    lines = ["| condition | without temperature, % | with temperature, % |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {100 * before:.1f} | {100 * after:.1f} |" for name, (before, after) in errors.items()]
    return "\n".join(lines)


def text(model: Model, facts: dict[str, Any], scores: list[Score], evaluate: Evaluate) -> str:
    """The model card as Markdown."""
    card, job = model.card, facts["training"]["job"]
    return f"""# robust-faces

{SUMMARY}.

| fact | value |
| --- | --- |
| input | grey, 48 x 48 pixels; other pictures are converted; cut a square around the face |
| emotion | {", ".join(model.labels["emotion"])} |
| network | `robust/plain_resnet`: {card.parameters:,} parameters, 160 million multiply-accumulates for each face |
| weights | float16; {100 * facts["half_precision_changes"]:.2f} % of the decisions differ from those of float32 |
| training | `{job}`, stage `{card.training.stage}`, on FER2013 Training |
| digest of the job | {card.training.job_sha256}, printed by `blear check {job} --digest` |

## Terms

{TERMS}

{results_text(facts, scores, evaluate)}
## Calibration

{"`blear predict` divides the logits by a temperature that depends on the estimated degradation of the face (size, blur, blockiness, noise), `calibration` in card.json." if facts["calibration"] else "The model has no temperatures: those tried, by the estimated degradation of the face (size, blur, blockiness, noise), do not lower the mean error of the faces that they were not fitted on."}
Fitted on every second face of the split; expected calibration errors (15 bins) of the others:

{calibration_table(facts["calibration_errors"])}

{LIMITS}
## How to reproduce

| what | how | agrees |
| --- | --- | --- |
| the results of these weights | `blear models test robust-faces FER2013.csv --split dev` (`--split test`: PrivateTest) | decisions with equal probabilities up to float32 rounding may differ |
| the weights | `blear run {job} --set data.faces.source=FER2013.csv` | with the same versions of blear and torch, the same kind of CPU and one thread (`OMP_NUM_THREADS=1`) bit by bit, interrupted or not (tested for short trainings); otherwise it is another training of the same kind, whose spread was not measured |
| this folder | `python docs/make_robust_faces.py RUN FER2013.csv --job "{job}"` | as above |
"""


if __name__ == "__main__":
    main()
