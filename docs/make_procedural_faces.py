# ruff: noqa: E501
"""Writes the shipped model `procedural-faces`: weights, card.json with its results, card.md.

    python docs/make_procedural_faces.py RUN FER2013.csv --job "jobs/procedural_faces.yaml --profile bfloat16"

RUN is the folder of a run of jobs/procedural_faces.yaml, whose summary has the results on drawn faces. The results on
real faces are those of FER2013's PublicTest under the conditions of the model's test.yaml, without training on it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from shipped_models import MODELS, check_job, half_precision_changes, read_fer2013, scores_of

import blear
from blear.export.graph import write_graph
from blear.models.conditions import read_conditions
from blear.models.score_tables import ScoreTables

FOLDER = MODELS / "procedural-faces"
STAGE = "robust"
ARM = "procedural-faces"
SUMMARY = (
    "Seven emotions, valence and arousal of a face of 48 x 48 pixels; trained on drawn faces only, weak on real ones"
)
TERMS = (
    "Trained on faces that a program draws from random numbers (`faces/procedural`); no picture of a person was used. "
    "Weights: Apache-2.0, as the rest of blear. Pictures of FER2013 served for testing only."
)
LIMITS = """## What it is for

Programs, tests and demonstrations that need a model of emotion, valence and arousal and must not use weights from pictures of
people. On real faces it is far below `robust-faces`: do not read its answers there as the expression of a person.

- Decisions about people: never. Inference of emotions at work and in education is forbidden by some laws (in the EU: Regulation
  2024/1689, article 5).
- Valence and arousal on real faces: not measured, since no real faces with these labels were available.
- The drawn faces follow one author's rules for each emotion (action units of Ekman and Friesen's FACS), so the model has learned
  these rules, with their biases."""


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--job", required=True, help="arguments of `blear run` that name the job of RUN")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    trained = blear.load(given.run, stage=STAGE)
    check_job(given.job, trained)
    trained.save(given.out, half=True)
    model = blear.load(given.out)  # the results on real faces are those of the stored half-precision weights
    evaluate = read_conditions(FOLDER / "test.yaml")
    data = read_fer2013(given.csv, "dev", model)
    scores = scores_of(model, data, evaluate, thin=1)
    drawn = drawn_results(given.run)
    facts: dict[str, Any] = {
        "name": "procedural-faces",
        "summary": SUMMARY,
        "terms": TERMS,
        "training": model.card.training.model_dump() | {"job": given.job},
        "tested_on": "drawn faces of other identities (`data: drawn`) and FER2013, PublicTest (`data: FER2013`)",
        "metrics": drawn + [{"data": "FER2013", **score.as_row()} for score in scores],
        "half_precision_changes": half_precision_changes(trained, model, data),
    }
    card = model.card
    text = f"""# procedural-faces

{SUMMARY}.

| fact | value |
| --- | --- |
| input | colour or grey, 48 x 48 pixels; other pictures are converted; cut a square around the face |
| emotion | {", ".join(model.labels["emotion"])} |
| valence, arousal | numbers from -1 to 1 |
| network | `robust/plain_resnet` at half width, two heads: {card.parameters:,} parameters |
| weights | float16; {100 * facts["half_precision_changes"]:.2f} % of the decisions on FER2013 differ from those of float32 |
| training | `{given.job}`, stage `{STAGE}` |
| digest of the job | {card.training.job_sha256}, printed by `blear check {given.job} --digest` |

## Terms

{TERMS}

## Results on drawn faces

Faces of identities that were not trained on. Brackets: 95 % intervals, identities resampled; one training, float32 weights.

{drawn_table(drawn)}

## Results on real faces

{len(data.truth_N)} faces of FER2013's PublicTest, of which none was trained on. Chance is {100 / len(model.labels["emotion"]):.0f} %; always answering the most
frequent class gives {100 * most_frequent(data.truth_N):.1f} %. Conditions: 16 px and the other sizes by area average, bilinear back; libjpeg; Gaussian blur (sigma in
pixels) and noise (sigma of 255).

{ScoreTables(scores, evaluate).accuracy()}

{ScoreTables(scores, evaluate).classes()}

{LIMITS}

## How to reproduce

| what | how |
| --- | --- |
| the weights and the results on drawn faces | `blear run {given.job}`: bit by bit with the same versions, kind of CPU and one thread (`OMP_NUM_THREADS=1`), otherwise another training of the same kind |
| the results on real faces | `blear models test procedural-faces FER2013.csv --dataset fer/fer2013 --split dev` |
| this folder | `python docs/make_procedural_faces.py RUN FER2013.csv --job "{given.job}"` |
"""
    model.save(given.out, half=True, text=text, **facts)
    write_graph(given.out)


def most_frequent(truth_N: Any) -> float:
    """Share of the most frequent class."""
    return float(max((truth_N == k).mean() for k in set(truth_N.tolist())))


def drawn_results(run: Path) -> list[dict[str, Any]]:
    """The estimates of the shipped arm from the run's summary, as rows of the card."""
    summary = json.loads((run / "summary.json").read_bytes())
    keys = ("condition", "severity", "metric", "value", "low", "high", "n")
    return [
        {"data": "drawn", "target": part["target"]} | {key: row[key] for key in keys}
        for part in (summary, *summary["other_targets"])
        for row in part["estimates"]
        if row["arm"] == ARM
    ]


def drawn_table(rows: list[dict[str, Any]]) -> str:
    """Markdown table: a row for each condition, a column for each metric of a target."""
    wanted = [("emotion", "accuracy"), ("valence", "ccc"), ("arousal", "ccc")]
    found = {(row["condition"], row["target"], row["metric"]): row for row in rows}
    lines = ["| condition | emotion: accuracy, % | valence: CCC | arousal: CCC |", "| --- | ---: | ---: | ---: |"]
    for condition in dict.fromkeys(row["condition"] for row in rows):
        cells = []
        for target, metric in wanted:
            row, scale, digits = found[condition, target, metric], *((100, 1) if metric == "accuracy" else (1, 2))
            value, low, high = (f"{scale * row[key]:.{digits}f}" for key in ("value", "low", "high"))
            cells.append(f"{value} [{low}, {high}]")
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
